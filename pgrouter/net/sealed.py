"""TLS between a stream and its socket: what is received is opened before `take`, what is sent is sealed and pushed.

The codec (`net.codec`; TLS itself) does no IO: bytes in, bytes out, so that it is tested without sockets. Its calls:

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

import cython

from pgrouter.net.codec import CodecError, NativeCodec
from pgrouter.net.layer import Layer
from pgrouter.net.poller import HEADROOM, Poller
from pgrouter.net.stream import CLOSED_BY_PEER, RESET_BY_PEER, Stream

if not cython.compiled:  # compiled, they are C's: see the .pxd file
    from pgrouter.net.stream import AGAIN, ENDED, FAILED

RECORD = 32 * 1024  # more than an incomplete record that a codec keeps: in TLS 16 KiB and its frame


def secure(stream: Stream, codec, received: bytes = b"") -> int:
    """Protect a stream from now on; its `on_secured` follows when the handshake is over.

    All that was received must have been used: if bytes were sent ahead unprotected, the stream ends, since they would
    pass for protected ones. `received`: the beginning of the peer's handshake, if that has come unasked (direct TLS).
    """
    stream.sealed = sealed = Sealed(stream, codec)
    stream.direct = False
    sealed.push_output()
    if received:
        stream.poller.buffer[HEADROOM : HEADROOM + len(received)] = received
        sealed.opened(len(received))
    return 0


class Sealed(Layer):
    """A stream's codec, and the stream's side of it; in the poller's queue, the turn of a late handshake."""

    def __init__(self, stream: Stream, codec) -> None:
        self.stream = stream
        self.codec = codec
        self.native = codec if cython.compiled and isinstance(codec, NativeCodec) else None  # the same, for C
        self.waits = False  # for its turn

    # -- receiving

    def readable(self, mask: cython.uint) -> int:
        """Read once, and open that; a handshake takes milliseconds, so that it waits if the round is late."""
        if self.waits:
            return 0
        if not self.is_established() and self.stream.poller.late():
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
        begun: cython.bint = self.is_established()
        try:
            n = self.open(n)
        except CodecError as error:
            self.push_output()
            return stream.on_eof(str(error))
        self.push_output()
        if not begun and self.is_established():
            if stream.buffered:
                return stream.on_eof("unprotected bytes were sent before the handshake")
            stream.on_secured()
        if n > 0 and not stream.closed:
            stream.received += n
            stream.take(n)
        if self.has_ended() and not stream.closed:
            stream.on_eof(CLOSED_BY_PEER)
        return 0

    # -- the codec

    def is_established(self) -> cython.bint:
        """Whether the handshake is over."""
        return self.codec.established if self.native is None else self.native.established

    def has_ended(self) -> cython.bint:
        """Whether the peer has said that nothing more will come."""
        return self.codec.ended if self.native is None else self.native.ended

    def open(self, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Open n bytes in the poller's buffer; return how many there are instead."""
        poller: Poller = self.stream.poller
        if cython.compiled and self.native is not None:
            return self.native.open_at(poller.memory + HEADROOM, n, poller.size - HEADROOM)
        return self.codec.open(memoryview(poller.buffer)[HEADROOM:], n)

    def push_output(self) -> int:
        """Send what the codec wants to send; returns what `Stream.send` does."""
        if cython.compiled and self.native is not None:
            data: cython.p_uchar = cython.NULL
            size: cython.Py_ssize_t = self.native.output_at(cython.address(data))
            if size == 0:
                return 0
            result: cython.int = self.push(data, size)
            self.native.sent()
            return result
        out: bytes = self.codec.output()
        return self.push_bytes(out)

    def push_bytes(self, data: bytes) -> int:
        """Send these bytes as they are; returns what `Stream.send` does."""
        if cython.compiled:
            return self.push(cython.cast(cython.p_uchar, libc.PyBytes_AS_STRING(data)), len(data))
        return self.push(data, len(data))

    # -- sending

    def send(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Seal and send; returns what `Stream.send` does, -1 also before the handshake is over."""
        if not self.is_established():
            return -1
        self.stream.sent += end - start
        if cython.compiled and self.native is not None:
            self.native.seal_at(buf + start, end - start)
            return self.push_output()
        return self.push_bytes(self.codec.seal(bytes(buf[start:end])))

    def push(self, buf, size: cython.Py_ssize_t) -> int:
        """Send these bytes as they are, after those that are pending; returns what `Stream.send` does."""
        stream: Stream = self.stream
        n: cython.Py_ssize_t = 0
        if not size:
            return 0
        if stream.fd < 0 or stream.broken:
            return -1
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
        if self.is_established():
            self.push_bytes(self.codec.finish())
        return 0

    def close(self) -> int:
        """Close the stream."""
        return self.stream.close()
