"""What a server's frame costs: many small ones compared with one that is as long as all of them."""

from __future__ import annotations

import select
import socket
import struct

from bench.micro.clock import best_ns
from pgrouter.net.loop import Loop
from pgrouter.protocol.requests import FORWARD, QUERY
from pgrouter.server.connection import ServerConnection

FRAMES = 1000
BODY = struct.pack("!HI", 1, 4) + b"1234"  # a row with one column


def frame(body: bytes) -> bytes:
    """Make a DataRow."""
    return b"D" + struct.pack("!I", len(body) + 4) + body


def ns_per_frame() -> float:
    """Give the nanoseconds that one more frame costs in a chunk of the same size."""
    small = frame(BODY) * FRAMES
    return (chunk_ns(small) - chunk_ns(frame(bytes(len(small) - 5)))) / (FRAMES - 1)


def chunk_ns(chunk: bytes) -> float:
    """Give the nanoseconds in which a server connection takes in a chunk that came for nobody."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    for end, option in ((theirs, socket.SO_SNDBUF), (ours, socket.SO_RCVBUF)):
        end.setsockopt(socket.SOL_SOCKET, option, 4 * len(chunk))
    loop = Loop()
    server = ServerConnection(loop.poller, None, None)
    server.attach(ours, select.EPOLLIN)
    server.outstanding.push(QUERY, FORWARD)  # rows of one endless answer

    def take() -> None:
        theirs.sendall(chunk)
        server.on_event(select.EPOLLIN)

    try:
        before = server.received
        took = best_ns(take, 200)
        if (server.received - before) % len(chunk) or server.closed:
            raise RuntimeError("a chunk did not come in one piece")
        return took
    finally:
        server.close()
        theirs.close()
        loop.close()
