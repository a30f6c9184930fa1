"""The poller: one epoll set for every socket of the data plane, in which the event loop (`net.loop`) waits.

One wait brings up to 256 events, and each goes to whom it concerns: no task, no future, no object per event. asyncio
gets its turn when it has something to do: one of its own sockets, a timer that is due, a callback that was scheduled.

What all streams share lives here too: the clock's last reading, the buffer that is received into, and the two gathers
in which the bytes of one send are collected.
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
# What one round of events may take before those who can wait have to: a well-behaved client waits for all of it.
SHARE_S = 0.002
# Room in front of what is received, for the incomplete frame that was kept from the last time.
HEADROOM = 8 * 1024
NICE = 5  # of the thread that works aside: it may wait, the clients that it would slow down do not


class Pollable:
    """Whoever owns a socket in the set."""

    def event(self, mask: cython.uint) -> int:
        """Handle one epoll event, compiled; those of classes that are not go to `on_event`."""
        return self.on_event(mask)

    def on_event(self, mask: cython.uint) -> int:
        """Handle one epoll event."""
        raise NotImplementedError

    def turn(self) -> int:
        """Go on with what was put off to this round."""
        return 0

    def close(self) -> int:
        """Close the socket, whatever state that leaves."""
        raise NotImplementedError


class Poller:
    """One epoll set for all streams; the loop that waits in it makes it."""

    def __init__(self, loop, *, clock=time.monotonic, on_bug=None) -> None:
        self.loop = loop
        self.clock = clock
        self.on_bug = on_bug
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
        self.turns = deque()  # streams that have put off work to the next round, the first to come first
        self.waiting = 0  # how many: asked twice a round
        self.round_at = self.now
        self.thread = None  # see `aside`
        self.works = 0  # how much it has to do
        self.to_client = SendBuffer()
        self.to_server = SendBuffer()

    def close(self) -> None:
        """Stop watching; streams that are still open are the owner's to close."""
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
        """Whether this round has taken so long that what can wait should be put off to the next one."""
        if cython.compiled and self.real:
            moment: libc.timespec
            libc.clock_gettime(libc.CLOCK_MONOTONIC, cython.address(moment))
            return moment.tv_sec + moment.tv_nsec * 1e-9 - self.round_at > SHARE_S
        return self.clock() - self.round_at > SHARE_S

    def put_off(self, stream: Pollable) -> int:
        """Give a stream its `turn` in the next round, behind those that wait already."""
        self.turns.append(stream)
        self.waiting += 1
        return 0

    def aside(self, work, then) -> None:
        """Have a thread call `work`, one after the other, and `then` in the loop with what it gave.

        For what takes long and lets others run meanwhile. The thread ends with its work: as long as there is one, the
        interpreter is given up around every wait.
        """
        if self.thread is None:
            self.thread = ThreadPoolExecutor(1, "pgrouter-aside", initializer=_be_nice)
        self.works += 1
        self.loop.run_in_executor(self.thread, work).add_done_callback(partial(self.worked, then))

    def worked(self, then, done) -> None:
        """Hand over what the thread gave."""
        self.works -= 1
        if self.works == 0 and self.thread is not None:
            self.thread.shutdown(wait=False)
            self.thread = None
        if not done.cancelled():
            then(done.result())

    def take_turns(self) -> int:
        """Let those go on who have put something off, one after the other until the round has taken its time.

        Who puts something off again waits for yet another round, behind all others.
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
        """The loop has something to do: let it have its turn after this round."""
        self.called = True
        return 0

    def wait(self, timeout_s: cython.double) -> int:
        """Handle what the sockets bring, until the loop is called or its time has come (negative: no limit).

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
        """Wait and handle, as `wait` says; go on with what a bug has left of a round."""
        wait_ms: cython.int = -1 if timeout_s < 0 else 0
        while True:
            if self.at >= self.count:
                if timeout_s > 0:
                    wait_ms = _milliseconds(deadline - self.now)
                self.at = 0
                self.count = self.epoll_wait(0 if self.waiting else wait_ms)
                self.round_at = self.update_clock()
                if self.waiting:
                    self.take_turns()
                elif self.count <= 0:  # the time is over, or a signal came
                    return 0
            self.handle()
            if self.called or (timeout_s >= 0 and self.now >= deadline):
                return 0

    def epoll_wait(self, wait_ms: cython.int) -> int:
        """Wait for events, at most so many milliseconds; gives how many there are.

        A thread that wants the interpreter gets it meanwhile. Where there is none, giving it up and taking it back
        is spared: that touches as much memory as a client's whole statement.
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
        """Give each event of this round to its stream."""
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
        """Put a stream's socket into the set."""
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
        """Take a socket out; events of this round that still name it are dropped."""
        self.streams[fd] = None
        if cython.compiled:
            libc.epoll_ctl(self.epoll_fd, libc.EPOLL_CTL_DEL, fd, cython.NULL)
        else:
            self.epoll.unregister(fd)
        return 0

    def modify(self, fd: int, mask: int) -> None:
        """Change what a socket is watched for."""
        self.epoll.modify(fd, mask)


def _be_nice() -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _milliseconds(seconds: cython.double) -> cython.int:
    """Round up, so that nobody wakes before the time; an hour is as good as more."""
    if seconds <= 0:
        return 0
    return int(min(seconds, 3600.0) * 1000 + 0.999)
