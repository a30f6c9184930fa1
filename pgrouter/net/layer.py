"""What may lie between a stream and its socket: TLS, in `net.sealed`, which knows streams, as they know only this."""

from __future__ import annotations

import cython

from pgrouter.net.poller import Pollable


class Layer(Pollable):
    """Takes over a stream's socket; `codec` is its `net.codec.Codec`."""

    def readable(self, mask: cython.uint) -> int:
        """Read once from the socket."""
        raise NotImplementedError

    def send(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Send buf[start:end], as `Stream.send`."""
        raise NotImplementedError

    def finish(self) -> int:
        """Say that nothing more will come."""
        raise NotImplementedError
