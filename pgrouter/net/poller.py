"""The poller: one epoll set for every socket of the data plane, in which the event loop (`net.loop`) waits.

One wait returns up to 256 events, and each goes to its stream: no task, no future, no object per event. asyncio gets
its turn when it has something to do: one of its own sockets, a timer that is due, a callback that was scheduled.

What all streams share is here, too: the clock's last reading, the receive buffer, and the two send buffers in which the
bytes of one send are collected.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cython

from pgrouter.net.send_buffer import SendBuffer

log = logging.getLogger("pgrouter.net")

# 256 KiB: above it larger reads no longer made a 230 KB result cheaper; HAProxy and PgBouncer use 16 and 4 KiB.
BUFFER = 256 * 1024
# How long one round of events may take before work that can wait is put off: every client may have to wait that long.
SHARE_S = 0.002
# A round that is late by more than this: the process was stopped (SIGSTOP, a frozen container or machine).
STALL_S = 1.0
# Space in front of the received bytes, for an incomplete frame kept from the last read.
HEADROOM = 8 * 1024
NICE = 5  # of the background thread: its work can wait, the clients that it would slow down cannot


class Pollable:
    """The owner of a socket in the set."""

    def event(self, mask: cython.uint) -> int:
        """Handle one epoll event, compiled; for classes that are not compiled it calls `on_event`."""
        return self.on_event(mask)

    def on_event(self, mask: cython.uint) -> int:
        """Handle one epoll event."""
        raise NotImplementedError

    def turn(self) -> int:
        """Continue the work that was put off to this round."""
        return 0

    def close(self) -> int:
        """Close the socket, whatever state it is in."""
        raise NotImplementedError


class Poller:
    """One epoll set for all streams; created by the loop that waits in it."""

    def __init__(self, loop, *, clock=time.monotonic, on_bug=None) -> None:
        self.loop = loop
        self.clock = clock
        self.on_bug = on_bug
        self.on_stall = None  # called by the loop, with the seconds, after the process was stopped; see `stalled`
        self.paused = False  # see `stalled`
        self.epoll = select.epoll()
        self.epoll_fd = self.epoll.fileno()
        self.streams = []
        self.size = HEADROOM + BUFFER
        self.buffer = bytearray(self.size)
        if cython.compiled:
            self.memory = cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(self.buffer))
            self.interpreter = libc.PyInterpreterState_Get()
        self.real = clock is time.monotonic
        self.update_clock()
        self.called = False
        self.at = 0  # events of this round that have been handled
        self.count = 0
        self.current = None  # whose event is being handled
        self.turns = deque()  # streams that have put off work to the next round, first come, first served
        self.waiting = 0  # how many: read twice a round
        self.round_at = self.now
        self.thread = None  # see `aside`
        self.works = 0  # how many calls it has to make
        self.to_client = SendBuffer()
        self.to_server = SendBuffer()

    def close(self) -> None:
        """Stop watching; the owner must close streams that are still open."""
        if self.thread is not None:
            self.thread.shutdown(wait=False, cancel_futures=True)
            self.thread = None
        self.epoll.close()
        self.epoll_fd = -1

    def update_clock(self) -> float:
        """Read the clock; one reading (`now`, in seconds) serves a whole round of events."""
        if cython.compiled and self.real:
            libc.clock_gettime(libc.CLOCK_MONOTONIC, cython.address(self.reading))
            self.now = self.reading.tv_sec + self.reading.tv_nsec * 1e-9
        else:
            self.now = self.clock()
        return self.now

    def late(self) -> cython.bint:
        """Whether this round has taken so long that work that can wait should be put off to the next one."""
        if cython.compiled and self.real:
            moment: libc.timespec
            libc.clock_gettime(libc.CLOCK_MONOTONIC, cython.address(moment))
            return moment.tv_sec + moment.tv_nsec * 1e-9 - self.round_at > SHARE_S
        return self.clock() - self.round_at > SHARE_S

    def put_off(self, stream: Pollable) -> int:
        """Give a stream its `turn` in the next round, after those that are waiting already."""
        self.turns.append(stream)
        self.waiting += 1
        return 0

    def aside(self, work, then) -> None:
        """Call `work` in a thread, one call at a time, then `then` in the loop with its result.

        For work that takes long and releases the GIL. The thread ends with its work: as long as there is one, the GIL
        is released around every wait.
        """
        if self.thread is None:
            self.thread = ThreadPoolExecutor(1, "pgrouter-aside", initializer=_be_nice)
        self.works += 1
        self.loop.run_in_executor(self.thread, work).add_done_callback(partial(self.worked, then))

    def worked(self, then, done) -> None:
        """Pass on the thread's result."""
        self.works -= 1
        if self.works == 0 and self.thread is not None:
            self.thread.shutdown(wait=False)
            self.thread = None
        if not done.cancelled():
            then(done.result())

    def take_turns(self) -> int:
        """Run the streams that have put work off, one after the other, until the round has used up its time.

        A stream that puts work off again waits for yet another round, behind all others.
        """
        left: cython.int = self.waiting
        while left > 0:
            left -= 1
            self.waiting -= 1
            stream: Pollable = self.turns.popleft()
            self.current = stream
            stream.turn()
            if self.late():
                break
        return 0

    def call(self) -> int:
        """Request a turn for the loop after this round: it has something to do."""
        self.called = True
        return 0

    def wait(self, timeout_s: cython.double) -> int:
        """Handle the sockets' events until the loop is called or the timeout has passed (negative: no limit).

        A bug in one connection ends that connection, never the router.
        """
        deadline: cython.double = 0.0
        self.called = False
        if timeout_s > 0:
            deadline = self.update_clock() + timeout_s
        while True:
            try:
                return self.rounds(timeout_s, deadline)
            except Exception as error:
                log.exception("bug in the handler of a connection; it is closed")
                stream = self.current
                if self.on_bug is not None:
                    self.on_bug(stream, error)
                stream.close()
                if self.at >= self.count:
                    return 0  # it may have called the loop

    def rounds(self, timeout_s: cython.double, deadline: cython.double) -> int:
        """Wait and handle, as in `wait`; continue a round that a bug interrupted."""
        wait_ms: cython.int = -1 if timeout_s < 0 else 0
        last_at: cython.double
        while True:
            if self.at >= self.count:
                if timeout_s > 0:
                    wait_ms = _milliseconds(deadline - self.now)
                self.at = 0
                self.count = self.epoll_wait(0 if self.waiting else wait_ms)
                last_at = self.round_at
                self.round_at = self.update_clock()
                if self.round_at - last_at > STALL_S and self.stalled(self.round_at - last_at, wait_ms):
                    return 0
                if self.waiting:
                    self.take_turns()
                elif self.count <= 0:  # timeout, or a signal
                    return 0
            self.handle()
            if self.called or (timeout_s >= 0 and self.now >= deadline):
                return 0

    def stalled(self, gap_s: cython.double, wait_ms: cython.int) -> cython.bint:
        """Pause the data plane if the last round began longer ago than this one has waited: the process was stopped.

        What clients have sent meanwhile must not reach a server before somebody has looked who leads now: `on_stall`
        is called, and everything, this round's events included, waits until it has called `resume`.
        """
        if self.on_stall is None or wait_ms < 0 or gap_s - wait_ms / 1000.0 <= STALL_S:
            return False
        self.paused = True
        self.loop.call_soon(self.on_stall, gap_s)
        return True

    def resume(self) -> None:
        """Let the data plane go on after a stall."""
        self.paused = False

    def epoll_wait(self, wait_ms: cython.int) -> int:
        """Wait for events, at most so many milliseconds; return their number.

        Other threads can take the GIL meanwhile. If there are none, it is not released: releasing and taking it back
        touches as much memory as a client's whole statement.
        """
        count: cython.int
        if not cython.compiled:
            self.ready = self.epoll.poll(wait_ms / 1000 if wait_ms >= 0 else None, 256)
            return len(self.ready)
        if libc.PyThreadState_Next(libc.PyInterpreterState_ThreadHead(self.interpreter)) == cython.NULL:
            return libc.syscall(
                libc.SYS_epoll_pwait, self.epoll_fd, self.events, EVENTS_PER_ROUND, wait_ms, cython.NULL, 0
            )
        with cython.nogil:
            count = libc.syscall(
                libc.SYS_epoll_pwait, self.epoll_fd, self.events, EVENTS_PER_ROUND, wait_ms, cython.NULL, 0
            )
        return count

    def handle(self) -> int:
        """Pass each event of this round to its stream."""
        fd: cython.int
        mask: cython.uint
        stream: Pollable
        while self.at < self.count:
            if cython.compiled:
                fd = self.events[self.at].data.fd
                mask = self.events[self.at].events
            else:
                fd, mask = self.ready[self.at]
            self.at += 1
            stream = cython.cast(Pollable, self.streams[fd])
            if stream is not None:  # else it was closed earlier in this round
                self.current = stream
                stream.event(mask)
        return 0

    def register(self, stream: Pollable, fd: cython.int, mask: cython.uint) -> int:
        """Add a stream's socket to the set."""
        if self.epoll_fd < 0:
            raise ValueError("the poller is closed")
        while len(self.streams) <= fd:
            self.streams.append(None)
        self.streams[fd] = stream
        if cython.compiled:
            event: libc.epoll_event
            event.events = mask
            event.data.fd = fd
            if libc.epoll_ctl(self.epoll_fd, libc.EPOLL_CTL_ADD, fd, cython.address(event)) < 0:
                self.streams[fd] = None
                raise OSError(libc.c_errno, os.strerror(libc.c_errno))
        else:
            self.epoll.register(fd, mask)
        return 0

    def unregister(self, fd: cython.int) -> int:
        """Remove a socket; its remaining events of this round are dropped: its number may be reused at once."""
        at: cython.int
        self.streams[fd] = None
        for at in range(self.at, self.count):
            if cython.compiled:
                if self.events[at].data.fd == fd:
                    self.events[at].events = 0
            elif self.ready[at][0] == fd:
                self.ready[at] = (fd, 0)
        if cython.compiled:
            libc.epoll_ctl(self.epoll_fd, libc.EPOLL_CTL_DEL, fd, cython.NULL)
        else:
            self.epoll.unregister(fd)
        return 0

    def modify(self, fd: int, mask: int) -> None:
        """Change the events that a socket is watched for."""
        self.epoll.modify(fd, mask)


def _be_nice() -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _milliseconds(seconds: cython.double) -> cython.int:
    """Round up, so that no wait ends early; waits are limited to an hour."""
    if seconds <= 0:
        return 0
    return int(min(seconds, 3600.0) * 1000 + 0.999)
