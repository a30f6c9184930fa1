"""A stream for classes that are not compiled, which cannot look into the poller's buffer."""

from __future__ import annotations

import cython

from pgrouter.net.stream import Stream


class BytesStream(Stream):
    """A stream off the data path, for classes that are not compiled: `on_bytes` gets a copy of the bytes."""

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Pass on a copy."""
        return pos + self.on_bytes(bytes(buf[pos:end]))

    def on_bytes(self, data: bytes) -> cython.Py_ssize_t:
        """Use `data`; return how many of its bytes were used (the rest is passed again with more)."""
        raise NotImplementedError
