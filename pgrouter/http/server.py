"""The HTTP port: its sockets, its connections, how many there may be, and what a reload changes."""

from __future__ import annotations

import logging
import select
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError
from pgrouter.http.connection import HttpConnection
from pgrouter.http.events import PING, History, sent
from pgrouter.http.site import Site
from pgrouter.net import tls
from pgrouter.net.acceptor import Acceptor
from pgrouter.net.listening import every_address, tcp_socket
from pgrouter.net.sealed import secure

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

    from pgrouter.admin.context import App
    from pgrouter.config.settings import Http
    from pgrouter.http.message import Answer, Request
    from pgrouter.topology import ClusterView

log = logging.getLogger("pgrouter.http")

READ = select.EPOLLIN
ALPN = "http/1.1"
MAX_CONNECTIONS = 64
LAGS_S = 1.0  # between two views that differ in lags only
PING_S = 15.0  # without an event, so that nobody in between takes the connection for dead


@dataclass(frozen=True, slots=True)
class Port:
    """Settings, and what they take: sockets that listen, and certificates that have been read."""

    settings: Http | None = None
    sockets: tuple[socket.socket, ...] = ()
    context: tls.TlsContext | None = None
    acceptors: list[Acceptor] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens."""
        return None if self.settings is None else (self.settings.host, self.settings.port)

    def close(self) -> None:
        """Listen no more."""
        for acceptor in self.acceptors:
            acceptor.close()
        for sock in self.sockets:
            sock.close()


class HttpServer:
    """The HTTP port of one router; without settings it does nothing."""

    def __init__(self, app: App, settings: Http | None) -> None:
        self._app = app
        self._history = History(app.monitor.view, app.poller.now)
        self._followers: dict[HttpConnection, None] = {}
        self._site = Site(app, self._history, self._followers)
        self._told: ClusterView | None = None  # the view that followers have, and when they got it
        self._told_at = self._pinged_at = 0.0
        self._connections: dict[HttpConnection, None] = {}  # in order of their arrival
        self._port = opened(settings)

    # -- life

    def start(self) -> list[str]:
        """Accept connections; return the addresses, as HOST:PORT."""
        return list(self._accept())

    @contextmanager
    def reloading(self, settings: Http | None) -> Iterator[None]:
        """Use these settings after the block; connections that are there stay, unless nothing listens any more.

        Raises:
            ConfigError: before the block: a certificate cannot be used, or an address is in use.

        """
        try:
            port = opened(settings, self._port)
        except OSError as error:
            raise ConfigError([f"http: cannot listen: {error.strerror}"]) from error
        kept = port.sockets is self._port.sockets
        try:
            yield
        except BaseException:
            if not kept:
                port.close()
            raise
        before, self._port = self._port, port
        if not kept:
            before.close()
            for address in self._accept():
                log.info("http: listens on %s", address)
        if settings is None:
            self._close_connections()

    def stop(self) -> None:
        """Close everything."""
        self._port.close()
        self._close_connections()

    def tick(self, now: float) -> None:
        """Close connections that take too long; called ten times a second."""
        for connection in [one for one in self._connections if now > one.deadline]:
            connection.close()
        view = self._app.monitor.view
        new = self._history.follow(view, now, time.time())
        if not self._followers:
            return
        data = b"".join(new)
        if new or (view is not self._told and now - self._told_at > LAGS_S):
            data += sent("cluster", self._site.cluster())
            self._told, self._told_at = view, now
        elif now - self._pinged_at > PING_S:
            data = PING
        if data:
            self._pinged_at = now
            for connection in list(self._followers):
                connection.push(data)

    def _accept(self) -> Iterator[str]:
        """Accept at sockets that do not yet."""
        if not self._port.acceptors:
            for sock in self._port.sockets:
                acceptor = Acceptor(self._app.poller, sock, self._accepted)
                self._port.acceptors.append(acceptor)
                acceptor.start()
                host, port = sock.getsockname()[:2]
                yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _close_connections(self) -> None:
        for connection in list(self._connections):
            connection.close()

    # -- connections

    def _accepted(self, sock: socket.socket, _address: tuple[object, ...]) -> None:
        if len(self._connections) >= MAX_CONNECTIONS and not self._make_room():
            sock.close()
            return
        connection = HttpConnection(self._app.poller, self)
        connection.attach(sock, READ)
        self._connections[connection] = None
        if self._port.context is not None:
            secure(connection, self._port.context.accept())

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for a request; whether there was one."""
        goes = min((one for one in self._connections if one.idle), key=lambda one: one.idle_at, default=None)
        if goes is not None:
            goes.close()
        return goes is not None

    # -- for connections

    @property
    def token(self) -> str:
        """What requests have to show; "": nothing."""
        return self._port.settings.token if self._port.settings is not None else ""

    @property
    def wants_certificate(self) -> bool:
        """Whether clients need a certificate."""
        return self._port.settings is not None and self._port.settings.tls.in_force() == "verify-ca"

    def answer(self, request: Request) -> Answer:
        """Answer a request."""
        return self._site.answer(request)

    def follows(self, connection: HttpConnection) -> None:
        """Called when a connection gets events from now on."""
        self._followers[connection] = None

    def left(self, connection: HttpConnection) -> None:
        """Called when a connection is closed."""
        self._connections.pop(connection, None)
        self._followers.pop(connection, None)


def opened(settings: Http | None, before: Port | None = None) -> Port:
    """Return a port that listens, at the sockets of the one before if it has the same address.

    Raises:
        OSError: an address is in use.
        ConfigError: a certificate cannot be used.

    """
    if settings is None:
        return Port()
    protected = settings.tls.in_force() != "disable"
    context = tls.for_clients(settings.tls, "http.tls", ALPN) if protected else None
    port = partial(Port, settings, context=context)
    if before is not None and before.address == (settings.host, settings.port):
        return port(before.sockets, acceptors=before.acceptors)
    return port(tuple(_listening(settings)))


def _listening(settings: Http) -> Iterable[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for address in every_address(settings.host, settings.port):
            sockets.append(tcp_socket(address, settings.port))  # noqa: PERF401  (they are closed if one fails)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
