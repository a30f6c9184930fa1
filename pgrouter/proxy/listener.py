"""One address that clients connect to: each connection becomes a client that has to log in."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from pgrouter.net.acceptor import Acceptor
from pgrouter.net.poller import Poller
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.login_responder import LoginResponder
from pgrouter.proxy.registry import Registry

if TYPE_CHECKING:
    from pgrouter.config.settings import Listen

READ = select.EPOLLIN


class Listener:
    """An entry of `listen`."""

    def __init__(self, poller: Poller, registry: Registry, listen: Listen) -> None:
        self.poller = poller
        self.registry = registry
        self.mode = listen.mode
        self.acceptor = Acceptor(poller, listen.host, listen.port, self.accepted)
        self.host = self.acceptor.host
        self.port = self.acceptor.port
        self.tune()

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
        client.responder = LoginResponder(client)
        client.attach(sock, READ)
        return self.registry.arrived(client)

    def close(self) -> None:
        """Stop accepting and close the socket. May be called twice."""
        self.acceptor.close()
