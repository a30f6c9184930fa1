"""Streams over real sockets in a real loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, TypeVar

from pgrouter.net.bytes_stream import BytesStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgrouter.net.poller import Poller

READ = 1  # EPOLLIN

Kept = TypeVar("Kept", bound="socket.socket | BytesStream")


class Recorder(BytesStream):
    """Keeps what it is told; uses all bytes unless `use` says how many."""

    def __init__(self, poller: Poller, use: Callable[[bytes], int] = len) -> None:
        BytesStream.__init__(self, poller)
        self.use = use
        self.chunks: list[bytes] = []
        self.ends: list[str] = []
        self.drained = 0
        self.connects = 0
        self.unreachable: list[str] = []

    @property
    def bytes_used(self) -> bytes:
        """All that was used so far."""
        return b"".join(self.chunks)

    def on_bytes(self, data: bytes) -> int:
        """Note what is used."""
        used = self.use(data)
        self.chunks.append(data[:used])
        return used

    def on_connected(self) -> int:
        """Note it."""
        self.connects += 1
        return 0

    def on_unreachable(self, why: str) -> int:
        """Note it, and close."""
        self.unreachable.append(why)
        return self.close()

    def on_eof(self, why: str) -> int:
        """Note it, and close."""
        self.ends.append(why)
        self.close()
        return 0

    def on_drained(self) -> int:
        """Note it."""
        self.drained += 1
        return 0


class Relay(Recorder):
    """Passes all on to its peer and minds who has no room."""

    peer: Relay

    def on_bytes(self, data: bytes) -> int:
        """Pass on."""
        if self.peer.send_bytes(data) == 1:
            self.pause()
        return len(data)

    def on_drained(self) -> int:
        """The other side may send again."""
        self.drained += 1
        self.peer.resume()
        return 0

    def on_eof(self, why: str) -> int:
        """End both."""
        super().on_eof(why)
        self.peer.close()
        return 0


class Ground:
    """A poller in the running loop, and socket pairs that are closed in the end."""

    def __init__(self) -> None:
        self.bugs: list[Exception] = []
        self.poller = asyncio.get_running_loop().poller
        self.poller.on_bug = lambda _stream, error: self.bugs.append(error)
        self._open: list[BytesStream | socket.socket] = []

    def pair(self, kind: type[Recorder] = Recorder, **more: object) -> tuple[Recorder, socket.socket]:
        """Give a stream and the other end of its socket, which blocks no longer than a moment."""
        mine, theirs = socket.socketpair()
        return self.adopt(mine, kind, **more), self.keep(theirs)

    def adopt(self, sock: socket.socket, kind: type[Recorder] = Recorder, mask: int = READ, **more: object) -> Recorder:
        """Make a stream of a socket."""
        sock.setblocking(False)
        stream = kind(self.poller, **more)
        stream.attach(sock, mask)
        self._open.append(stream)
        return stream

    def keep(self, kept: Kept) -> Kept:
        """Close this socket or stream in the end."""
        if isinstance(kept, socket.socket):
            kept.setblocking(False)
        self._open.append(kept)
        return kept

    def close(self) -> None:
        """Close everything."""
        for thing in self._open:
            thing.close()


@contextlib.asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """Give a place for streams."""
    place = Ground()
    try:
        yield place
    finally:
        place.close()


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Let the loop run until something is true."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  (streams tell their handlers, nobody else)
            await asyncio.sleep(0.001)
