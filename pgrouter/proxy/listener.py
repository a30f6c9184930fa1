"""One address that clients connect to: each connection becomes a client that has to log in."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

from pgrouter.net.acceptor import Acceptor
from pgrouter.net.poller import Poller
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.login_responder import LoginResponder
from pgrouter.proxy.registry import Registry

if TYPE_CHECKING:
    from pgrouter.config.settings import Listen
    from pgrouter.net.tls import TlsContext

READ = select.EPOLLIN


class Listener:
    """An entry of `listen`, or one of its addresses: `sock` listens there."""

    def __init__(self, poller: Poller, registry: Registry, listen: Listen, sock: socket.socket) -> None:
        self.poller = poller
        self.registry = registry
        self.mode = listen.mode
        self.tls = None  # see `protect`
        self.tls_mode = "disable"
        self.acceptor = Acceptor(poller, sock, self.accepted)
        self.name = _name(sock)
        self.tune()

    def protect(self, mode: str, tls: TlsContext | None) -> None:
        """Accept TLS by this context, for clients from now on."""
        self.tls_mode = mode
        self.tls = tls

    def tune(self) -> None:
        """Apply the socket options of the settings, for clients from now on."""
        self.acceptor.tune(self.registry.socket_options)

    def start(self) -> None:
        """Start to accept clients."""
        self.acceptor.start()

    def accepted(self, sock, address: tuple) -> int:
        """Start the login of a client."""
        client: ClientConnection = ClientConnection(self.poller, self.registry, self.mode)
        client.address = address
        client.responder = LoginResponder(client, self.tls_mode, self.tls)
        client.attach(sock, READ)
        return self.registry.arrived(client)

    def close(self) -> None:
        """Stop accepting and close the socket. May be called twice."""
        self.acceptor.close()


def _name(sock: socket.socket) -> str:
    """Return the address as HOST:PORT, or the path of a Unix socket."""
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return address
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
