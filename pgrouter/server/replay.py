"""What a server got of the current batch, as long as that can be sent again: to another server, or to this one.

It is recorded from the beginning of a link until the first byte of the answer goes to the client: up to then nothing
that the client knows of has happened. `proxy.retry` decides what is retried, and where.
"""

from __future__ import annotations

import cython

ROOM = 1024  # bytes, enough for most batches; each server connection has as much for ever


class ReplayBuffer:
    """The bytes of a batch, and the cases in which they may be sent again (`server.states`).

    `size` is the number of bytes; -1: nothing is recorded, or the answer has started. With no reason at all what is
    recorded serves only for a prepared statement whose plan is too old, which has not executed anything.
    """

    def __init__(self) -> None:
        self.size = -1
        self.why = 0
        self.make_room(ROOM)

    def begin(self, why: cython.int) -> int:
        """Record what is sent from now on."""
        self.size = 0
        self.why = why
        return 0

    def record(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Append buf[start:end]."""
        size: cython.Py_ssize_t = self.size + end - start
        if size > self.room:
            before: bytearray = self.batch
            self.make_room(max(size, 2 * len(before)))
            self.batch[: len(before)] = before
        if cython.compiled:
            libc.memcpy(self.memory + self.size, buf + start, end - start)
        else:
            self.batch[self.size : size] = buf[start:end]
        self.size = size
        return 0

    def discard(self) -> int:
        """Called when the answer has started: the batch cannot be retried any more."""
        if self.room > ROOM:
            self.make_room(ROOM)
        self.size = -1
        self.why = 0
        return 0

    def contents(self) -> bytes:
        """Return what was recorded."""
        return bytes(self.batch[: max(self.size, 0)])

    def make_room(self, size: cython.Py_ssize_t) -> int:
        """Allocate a new, empty buffer of this many bytes."""
        self.batch = bytearray(size)
        self.room = size
        if cython.compiled:
            self.memory = cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(self.batch))
        return 0
