"""Listening sockets: accept, and a client connection is born."""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING

from pgrouter.net.options import apply
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.login import Login

if TYPE_CHECKING:
    from pgrouter.config.settings import Listen
    from pgrouter.net.poller import Poller
    from pgrouter.proxy.hub import Hub

log = logging.getLogger("pgrouter.listener")

BACKLOG = 1024  # the kernel's own limit (net.core.somaxconn) is usually 4096
# When the process has no descriptors left, accepting is pointless until some are free.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_S = 0.2
ACCEPTS_PER_WAKE = 64


class Listener:
    """One listening socket."""

    def __init__(self, poller: Poller, hub: Hub, listen: Listen) -> None:
        self.poller = poller
        self.hub = hub
        self.listen = listen
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self.sock = socket.create_server((listen.host, listen.port), family=family, backlog=BACKLOG)
        self.sock.setblocking(False)
        self.host, self.port = self.sock.getsockname()[:2]

    def start(self) -> None:
        """Accept clients."""
        self.poller.loop.add_reader(self.sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                sock, address = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                log.error("cannot accept: %s", error.strerror)  # noqa: TRY400  (not a bug)
                self.poller.loop.remove_reader(self.sock.fileno())
                self.poller.loop.call_later(PAUSE_S, self._resume)
                return
            self._admit(sock, address)

    def _resume(self) -> None:
        if self.sock.fileno() >= 0:
            self.start()

    def _admit(self, sock: socket.socket, address: tuple) -> None:
        sock.setblocking(False)
        apply(sock, self.hub.socket_options)
        client = ClientConnection(self.poller, self.hub, self.listen.mode)
        client.address = address
        client.conversation = Login(client)
        client.attach(sock, 1)  # EPOLLIN
        self.hub.arrived(client)

    def close(self) -> None:
        """Accept no more."""
        if self.sock.fileno() >= 0:
            self.poller.loop.remove_reader(self.sock.fileno())
            self.sock.close()
