"""What a stream needs of TLS: bytes in, bytes out, no IO; see `net.sealed` for when it is called."""

from __future__ import annotations

from typing import Protocol

import cython


class CodecError(Exception):
    """The handshake has failed, or what was received is not what the peer has sealed; the text says why."""


class Codec(Protocol):
    """What a stream needs of TLS."""

    established: bool
    """Whether the handshake is over. Before that nothing can be sealed."""

    ended: bool
    """Whether the peer has said that nothing more will come (close_notify)."""

    def open(self, buffer: memoryview, size: int) -> int:
        """Open the first `size` bytes of `buffer`; return how many bytes of the stream are there instead.

        All is opened but an incomplete record of less than RECORD bytes, which is kept: so much longer than `size` is
        the buffer. It is valid during the call only.

        Raises:
            CodecError: see there; `output` may have an alert for the peer.

        """

    def seal(self, data: bytes) -> bytes:
        """Return what the socket has to send for these bytes of the stream."""

    def output(self) -> bytes:
        """Return what has to be sent besides, each byte once: messages of the handshake, alerts, keys."""

    def finish(self) -> bytes:
        """Return what is sent last: that nothing more will come (close_notify)."""


class NativeCodec:
    """A codec for C: the same in terms of memory, which streams prefer; see `Codec` for what the calls do."""

    def __init__(self) -> None:
        self.established = False
        self.ended = False

    def open_at(self, buffer, size: cython.Py_ssize_t, room: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """As `open`: the buffer has `room`."""
        raise NotImplementedError

    def seal_at(self, data, size: cython.Py_ssize_t) -> int:
        """Seal: `output_at` has the result."""
        raise NotImplementedError

    def output_at(self, data) -> cython.Py_ssize_t:
        """Point `data` to what is to be sent, and return its size; `sent` forgets it."""
        raise NotImplementedError

    def sent(self) -> int:
        """Called when the output has been sent or copied."""
        raise NotImplementedError

    def open(self, buffer: memoryview, size: int) -> int:
        """See `Codec.open`."""
        view: cython.uchar[:] = buffer
        return self.open_at(cython.address(view[0]), size, len(view))

    def seal(self, data: bytes) -> bytes:
        """See `Codec.seal`."""
        self.seal_at(cython.cast(cython.p_uchar, libc.PyBytes_AS_STRING(data)), len(data))
        return self.output()

    def output(self) -> bytes:
        """See `Codec.output`."""
        data: cython.p_uchar = cython.NULL
        size: cython.Py_ssize_t = self.output_at(cython.address(data))
        out: bytes = cython.cast(cython.p_char, data)[:size] if size else b""
        self.sent()
        return out
