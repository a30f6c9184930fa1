"""However bytes are cut, a stream's handler sees the same frames."""

from __future__ import annotations

import asyncio
import socket
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from pgrouter.net.bytes_stream import BytesStream
from pgrouter.net.loop import Loop

if TYPE_CHECKING:
    from pgrouter.net.poller import Poller

READ = 1  # EPOLLIN
SIZES = st.one_of(st.integers(0, 40), st.sampled_from([8187, 8188, 8189, 20_000, 262_139, 262_140, 600_000]))


class Frames(BytesStream):
    """Uses whole frames: a type byte, a length that counts itself, a body. Offers may be declined for a while."""

    def __init__(self, poller: Poller, declines: list[bool]) -> None:
        BytesStream.__init__(self, poller)
        self.declines = declines
        self.seen: list[bytes] = []

    def on_bytes(self, data: bytes) -> int:
        """Take the whole frames."""
        if self.declines and self.declines.pop():
            return 0
        used = 0
        while len(data) - used >= 5:
            size = 1 + int.from_bytes(data[used + 1 : used + 5], "big")
            if len(data) - used < size:
                break
            self.seen.append(data[used : used + size])
            used += size
        return used


def frame(number: int, size: int) -> bytes:
    return bytes([65 + number % 26]) + struct.pack("!I", size + 4) + bytes([number % 256]) * size


async def deliver(pieces: list[bytes], declines: list[bool]) -> list[bytes]:
    loop = asyncio.get_running_loop()
    poller = loop.poller
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    mine.setblocking(False)
    stream = Frames(poller, declines)
    stream.attach(mine, READ)
    try:
        sent = 0
        for piece in pieces:
            await loop.sock_sendall(theirs, piece)
            sent += len(piece)
            while stream.received < sent:  # noqa: ASYNC110  (the stream tells nobody)
                await asyncio.sleep(0)
        stream.declines = []
        stream.process_partial()
        return stream.seen
    finally:
        stream.close()
        theirs.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(SIZES, min_size=1, max_size=8),
    st.lists(st.integers(0, 1_000_000), max_size=12),
    st.lists(st.booleans(), max_size=4),
)
def test_frames_are_the_same_however_they_are_cut(sizes: list[int], cuts: list[int], declines: list[bool]) -> None:
    frames = [frame(number, size) for number, size in enumerate(sizes)]
    data = b"".join(frames)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(deliver(pieces, declines)) == frames
