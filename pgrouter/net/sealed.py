"""TLS between a stream and its socket: what is received is opened before `take`, what is sent is sealed and pushed.

The codec (`Codec`; TLS itself) does no IO: bytes in, bytes out, so that it is tested without sockets. It is called so:

1. `secure(stream, codec)` sends the codec's first `output` (a client's hello; a server's is empty).
2. Whenever the socket has something, `open` gets it and `output` is sent: an answer of the handshake, of which there
   may be several rounds, an alert, a new key. In a round of events that is late, a handshake waits for its turn.
3. When `established` has become true, the stream's `on_secured` is called. From now on what `open` returns goes to
   `on_data`, and what is sent goes through `seal`.
4. When `ended` has become true, the stream ends as if its socket had.
5. When the stream is closed, `finish` is sent, if the socket accepts it.

A stream without TLS does not know any of this: for its `sealed` being None it makes no check per message.
"""

from __future__ import annotations

from typing import Protocol

import cython

from pgrouter.net.poller import HEADROOM, Pollable
from pgrouter.net.stream import CLOSED_BY_PEER, RESET_BY_PEER, Stream

if not cython.compiled:  # compiled, they are C's: see the .pxd file
    from pgrouter.net.stream import AGAIN, ENDED, FAILED

RECORD = 32 * 1024  # more than an incomplete record that a codec keeps: in TLS 16 KiB and its frame


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


def secure(stream: Stream, codec, received: bytes = b"") -> int:
    """Protect a stream from now on; its `on_secured` follows when the handshake is over.

    All that was received must have been used: if bytes were sent ahead unprotected, the stream ends, since they would
    pass for protected ones. `received`: the beginning of the peer's handshake, if that has come unasked (direct TLS).
    """
    stream.sealed = sealed = Sealed(stream, codec)
    stream.direct = False
    sealed.push(codec.output())
    if received:
        stream.poller.buffer[HEADROOM : HEADROOM + len(received)] = received
        sealed.opened(len(received))
    return 0


class Sealed(Pollable):
    """A stream's codec, and the stream's side of it; in the poller's queue, the turn of a late handshake."""

    def __init__(self, stream: Stream, codec) -> None:
        self.stream = stream
        self.codec = codec
        self.waits = False  # for its turn

    # -- receiving

    def readable(self, mask: cython.uint) -> int:
        """Read once, and open that; a handshake takes milliseconds, so that it waits if the round is late."""
        if self.waits:
            return 0
        if not self.codec.established and self.stream.poller.late():
            self.waits = True
            return self.stream.poller.put_off(self)
        return self.read(mask)

    def turn(self) -> int:
        """Continue the handshake, however late it is."""
        self.waits = False
        self.stream.poller.current = self.stream  # whose bug it is if there is one
        return self.read(ENDED) if self.stream.fd >= 0 else 0

    def read(self, mask: cython.uint) -> int:
        """One recv, all that it contains opened, one `on_data`."""
        stream: Stream = self.stream
        room: cython.Py_ssize_t = stream.poller.size - HEADROOM - RECORD
        n: cython.Py_ssize_t = stream.receive(room)
        if n > 0:
            self.opened(n)
            if n == room or mask & ENDED:
                stream.read_rest()
        elif n != AGAIN:
            stream.on_eof(CLOSED_BY_PEER if n == 0 else RESET_BY_PEER)
        return 0

    def opened(self, n: cython.Py_ssize_t) -> int:
        """Open n bytes in the poller's buffer, and take those that they contain, if any."""
        stream: Stream = self.stream
        codec = self.codec
        begun: cython.bint = codec.established
        try:
            n = codec.open(memoryview(stream.poller.buffer)[HEADROOM:], n)
        except CodecError as error:
            self.push(codec.output())
            return stream.on_eof(str(error))
        self.push(codec.output())
        if codec.established and not begun:
            if stream.buffered:
                return stream.on_eof("unprotected bytes were sent before the handshake")
            stream.on_secured()
        if n > 0 and not stream.closed:
            stream.received += n
            stream.take(n)
        if codec.ended and not stream.closed:
            stream.on_eof(CLOSED_BY_PEER)
        return 0

    # -- sending

    def send(self, data: bytes) -> int:
        """Seal and send; returns what `Stream.send` does, -1 also before the handshake is over."""
        if not self.codec.established:
            return -1
        self.stream.sent += len(data)
        return self.push(self.codec.seal(data))

    def push(self, data: bytes) -> int:
        """Send these bytes as they are, after those that are pending; returns what `Stream.send` does."""
        stream: Stream = self.stream
        size: cython.Py_ssize_t = len(data)
        n: cython.Py_ssize_t = 0
        if not size:
            return 0
        if stream.fd < 0 or stream.broken:
            return -1
        buf = cython.cast(cython.p_uchar, libc.PyBytes_AS_STRING(data)) if cython.compiled else data
        if stream.pending is None:
            n = stream.transmit(buf, 0, size)
            if n == FAILED:
                return stream.mark_broken()
        if n < size:
            stream.defer(buf, n, size)
        return stream.pending is not None

    # -- the end

    def finish(self) -> int:
        """Say that nothing more will come."""
        if self.codec.established:
            self.push(self.codec.finish())
        return 0

    def close(self) -> int:
        """Close the stream."""
        return self.stream.close()
