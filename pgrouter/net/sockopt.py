"""TCP socket options that detect a peer that has vanished without closing the connection.

Keepalive probes detect it on an idle connection, TCP_USER_TIMEOUT when it does not acknowledge what was sent (or its
receive window stays closed): the kernel alone would retransmit for a quarter of an hour.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.config.settings import Tcp

SocketOptions = tuple[tuple[int, int, int], ...]  # level, option, value


def socket_options(tcp: Tcp) -> SocketOptions:
    """Return the options for each TCP socket, of clients and of servers."""
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(tcp.keepalive)),
    ]
    if tcp.keepalive:
        options += [
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(tcp.keepidle_s))),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(tcp.keepintvl_s))),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, tcp.keepcnt),
        ]
    if tcp.user_timeout_s:
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(tcp.user_timeout_s * 1000))))
    return tuple(options)


def apply(sock: socket.socket, options: Iterable[tuple[int, int, int]]) -> None:
    """Set the options on a socket, unless it is a Unix socket."""
    if sock.family != socket.AF_UNIX:
        for level, option, value in options:
            sock.setsockopt(level, option, value)
