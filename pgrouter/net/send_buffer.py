"""The bytes of one send, collected without copying as long as they lie side by side in one buffer."""

from __future__ import annotations

import cython

ROOM = 264 * 1024  # for the pieces of one full read and what is inserted between them


class SendBuffer:
    """Pieces of one source and bytes of our own, copied only when they do not lie side by side."""

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.scratch = bytearray(ROOM)
        self.used = 0

    def reset(self, source) -> None:
        """Start over with pieces of `source`, which must stay in place until they are sent."""
        if cython.compiled:
            self.source = source
        else:
            self.py_source = source
        self.start = 0
        self.end = 0
        self.used = 0

    def clear(self) -> int:
        """Drop what was collected."""
        self.start = 0
        self.end = 0
        self.used = 0
        return 0

    def add(self, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Append source[start:end]."""
        if self.used == 0:
            if start == self.end:
                self.end = end
                return 0
            if self.start == self.end:
                self.start = start
                self.end = end
                return 0
        return self.spill(start, end)

    def spill(self, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Copy what was collected, then source[start:end], into the scratch buffer."""
        size: cython.Py_ssize_t
        if self.start < self.end:
            first: cython.Py_ssize_t = self.start
            last: cython.Py_ssize_t = self.end
            self.start = 0
            self.end = 0
            self.spill(first, last)
        size = end - start
        if size == 0:
            return 0
        if self.used + size > len(self.scratch):
            self.scratch.extend(bytes(self.used + size - len(self.scratch)))
        if cython.compiled:
            libc.memcpy(
                cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(self.scratch)) + self.used,
                self.source + start,
                size,
            )
        else:
            self.scratch[self.used : self.used + size] = memoryview(self.py_source)[start:end]
        self.used += size
        return 0

    def add_bytes(self, data: bytes) -> int:
        """Append bytes that are not part of the source."""
        size: cython.Py_ssize_t = len(data)
        if self.start < self.end:
            self.spill(0, 0)
        if self.used + size > len(self.scratch):
            self.scratch.extend(bytes(self.used + size - len(self.scratch)))
        if cython.compiled:
            libc.memcpy(
                cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(self.scratch)) + self.used,
                libc.PyBytes_AS_STRING(data),
                size,
            )
        else:
            self.scratch[self.used : self.used + size] = data
        self.used += size
        return 0

    def add_head(self, code: cython.int, length: cython.Py_ssize_t) -> int:
        """Append a message's type and its length."""
        at: cython.Py_ssize_t
        if self.start < self.end:
            self.spill(0, 0)
        at = self.used
        if at + 5 > len(self.scratch):
            self.scratch.extend(bytes(5))
        self.scratch[at] = code
        self.scratch[at + 1] = length >> 24 & 255
        self.scratch[at + 2] = length >> 16 & 255
        self.scratch[at + 3] = length >> 8 & 255
        self.scratch[at + 4] = length & 255
        self.used = at + 5
        return 0

    def length(self) -> cython.Py_ssize_t:
        """The number of bytes to be sent."""
        return self.used + self.end - self.start

    def shrink(self) -> int:
        """Free the memory of a huge rewritten message."""
        if len(self.scratch) > 4 * ROOM:
            self.scratch = bytearray(ROOM)
        return 0
