"""Outbound connections: a socket on its way to an address. `Stream.dial` is its only user."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from pgrouter.net import sockopt

if TYPE_CHECKING:
    from collections.abc import Iterable


def connecting(family: int, address: object, options: Iterable[tuple[int, int, int]] = ()) -> socket.socket:
    """Return a socket that does not block and has started to connect, with these options (see `net.sockopt`).

    It becomes writable when that is over; SO_ERROR says how.

    Raises:
        OSError: it cannot even start, or a Unix socket has refused.

    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sockopt.apply(sock, options)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock
