"""The poller: one epoll set for every socket of the data plane, itself watched by the event loop with one `add_reader`.

When the set becomes readable the poller asks it for up to 256 events and gives each to whom it concerns: no task, no
future, no object per event. The loop (uvloop) keeps everything else: dialling names, watchers, timers, signals.

What all streams share lives here too: the clock's last reading, the buffer that is received into, and the two gathers
in which the bytes of one send are collected.
"""

from __future__ import annotations

import logging
import select
import time

import cython

from pgrouter.net.gather import Gather

log = logging.getLogger("pgrouter.net")

# 256 KiB: above it larger reads no longer made a 230 KB result cheaper; HAProxy and PgBouncer use 16 and 4 KiB.
BUFFER = 256 * 1024
# Room in front of what is received, for the incomplete frame that was kept from the last time.
HEADROOM = 8 * 1024
# A round that brings fewer events than this was not busy: look again when the loop says so.
FEW = 8
ROUNDS = 4


class Watched:
    """Whoever owns a socket in the set."""

    def on_event(self, mask: cython.uint) -> int:
        """Handle one epoll event."""
        raise NotImplementedError

    def close(self) -> int:
        """Close the socket, whatever state that leaves."""
        raise NotImplementedError


class Poller:
    """One epoll set for all streams, pumped by the event loop."""

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
        self.now = clock()  # seconds; one reading serves a whole round of events
        self.to_client = Gather()
        self.to_server = Gather()
        loop.add_reader(self.epoll_fd, self.pump)

    def close(self) -> None:
        """Stop watching; streams that are still open are the owner's to close."""
        self.loop.remove_reader(self.epoll_fd)
        self.epoll.close()

    def touch(self) -> float:
        """Read the clock between events."""
        self.now = self.clock()
        return self.now

    def pump(self):
        """Handle what is ready, a bounded number of rounds, so that the loop's other work gets its turn."""
        count: cython.int
        i: cython.int
        rounds: cython.int = 0
        while rounds < ROUNDS:
            rounds += 1
            if cython.compiled:
                count = libc.epoll_wait(self.epoll_fd, self.events, EVENTS_PER_ROUND, 0)
                if count <= 0:
                    return
                self.now = self.clock()
                for i in range(count):
                    self.dispatch(self.events[i].data.fd, self.events[i].events)
            else:
                ready = self.epoll.poll(0, 256)
                count = len(ready)
                if not count:
                    return
                self.now = self.clock()
                for fd, mask in ready:
                    self.dispatch(fd, mask)
            if count < FEW:
                return

    def dispatch(self, fd: cython.int, mask: cython.uint) -> int:
        """Give one event to its stream; a bug in one connection ends that connection, never the router."""
        stream: Watched = self.streams[fd] if fd < len(self.streams) else None
        if stream is None:
            return 0  # closed earlier in this round
        try:
            stream.on_event(mask)
        except Exception as error:
            log.exception("bug in the handler of a connection; it is closed")
            if self.on_bug is not None:
                self.on_bug(stream, error)
            stream.close()
        return 0

    def register(self, stream: Watched, fd: int, mask: int) -> None:
        """Put a stream's socket into the set."""
        while len(self.streams) <= fd:
            self.streams.append(None)
        self.streams[fd] = stream
        self.epoll.register(fd, mask)

    def unregister(self, fd: int) -> None:
        """Take a socket out; events of this round that still name it are dropped."""
        self.streams[fd] = None
        self.epoll.unregister(fd)

    def modify(self, fd: int, mask: int) -> None:
        """Change what a socket is watched for."""
        self.epoll.modify(fd, mask)
