"""Listening sockets: accept, and a client connection is born."""

from __future__ import annotations

import logging
import select
import socket
from typing import TYPE_CHECKING

from pgrouter.net.options import apply
from pgrouter.net.poller import Watched
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.login import Login

if TYPE_CHECKING:
    from pgrouter.config.settings import Listen
    from pgrouter.net.poller import Poller
    from pgrouter.proxy.hub import Hub

log = logging.getLogger("pgrouter.listener")

BACKLOG = 1024  # the kernel's own limit (net.core.somaxconn) is usually 4096
PAUSE_S = 0.2  # when accepting fails: most often no descriptors are left, and it is pointless until some are free
MOST_AT_ONCE = 64


class Listener(Watched):
    """One listening socket, watched by the poller as those of clients are.

    Its sockets inherit its options. An accept that finds nobody costs as much as one that does, so there are more of
    them at a wake-up only where clients keep coming: a quarter more each time, until one finds nobody.
    """

    def __init__(self, poller: Poller, hub: Hub, listen: Listen) -> None:
        self.poller = poller
        self.hub = hub
        self.listen = listen
        self.family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self.sock = socket.create_server((listen.host, listen.port), family=self.family, backlog=BACKLOG)
        self.sock.setblocking(False)
        self.tune()
        self.host, self.port = self.sock.getsockname()[:2]
        self._at_once = 1.0
        self._watched = False

    def tune(self) -> None:
        """Take the options of the settings, for the clients from now on."""
        apply(self.sock, self.hub.socket_options)

    def start(self) -> None:
        """Accept clients."""
        if self.sock.fileno() >= 0 and not self._watched:
            self._watched = True
            self.poller.register(self, self.sock.fileno(), select.EPOLLIN)

    def on_event(self, mask: int) -> int:  # noqa: ARG002  (accept will say what it is)
        """Accept who waits."""
        for _ in range(int(self._at_once)):
            try:
                # socket.accept() asks for family and type and makes enumerations of them: as much work as all the rest
                descriptor, address = self.sock._accept()  # noqa: SLF001
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._at_once = 1.0
                return 0
            except OSError as error:
                log.error("cannot accept: %s", error.strerror)  # noqa: TRY400  (not a bug)
                self._unwatch()
                self.poller.loop.call_later(PAUSE_S, self.start)
                return 0
            try:
                self._admit(socket.SocketType(self.family, socket.SOCK_STREAM, 0, descriptor), address)
            except Exception:  # must not reach the poller, which would close what has a bug
                log.exception("bug in accepting a client")
        self._at_once = min(self._at_once * 1.25, MOST_AT_ONCE)
        return 0

    def _admit(self, sock: socket.SocketType, address: tuple) -> None:
        sock.setblocking(False)
        client = ClientConnection(self.poller, self.hub, self.listen.mode)
        client.address = address
        client.conversation = Login(client)
        client.attach(sock, select.EPOLLIN)
        self.hub.arrived(client)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self.poller.unregister(self.sock.fileno())

    def close(self) -> int:
        """Accept no more."""
        if self.sock.fileno() >= 0:
            self._unwatch()
            self.sock.close()
        return 0
