"""The options that sockets really get."""

from __future__ import annotations

import socket

from pgrouter.config.settings import Tcp
from pgrouter.net.sockopt import apply, socket_options

OPTIONS = {
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "count": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "user": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
}


def got(tcp: Tcp) -> dict[str, int]:
    with socket.socket() as sock:
        apply(sock, socket_options(tcp))
        return {name: sock.getsockopt(*option) for name, option in OPTIONS.items()}


def test_defaults() -> None:
    assert got(Tcp()) == {"keepalive": 1, "idle": 30, "interval": 10, "count": 3, "user": 0, "nodelay": 1}


def test_what_is_asked_for() -> None:
    tcp = Tcp(keepidle_s=7.4, keepintvl_s=0.2, keepcnt=9, user_timeout_s=12.5)
    assert got(tcp) == {"keepalive": 1, "idle": 7, "interval": 1, "count": 9, "user": 12_500, "nodelay": 1}


def test_none() -> None:
    assert got(Tcp(keepalive=False))["keepalive"] == 0


def test_a_unix_socket_has_none() -> None:
    one, other = socket.socketpair()
    with one, other:
        apply(one, socket_options(Tcp(user_timeout_s=5)))
