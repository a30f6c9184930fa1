"""An HTTP port in front of a router without sockets, and clients of it in threads."""

from __future__ import annotations

import asyncio
import http.client
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.desk import Desk, opened

from pgrouter.config.settings import Http
from pgrouter.config.types import Secret
from pgrouter.http.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 10
TICK_S = 0.05


class Reply:
    """An answer as a client has read it."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        """The body."""
        return msgspec.json.decode(self.body)


class Front:
    """The port, and what clients do with it."""

    def __init__(self, desk: Desk, settings: Http) -> None:
        self.desk = desk
        self.server = HttpServer(desk, settings)
        (address,) = self.server.start()
        self.port = int(address.rpartition(":")[2])

    def run(self, work: Callable[[], Any]) -> Any:
        """Run what blocks in a thread, while the port serves it and time passes."""
        loop = self.desk.poller.loop

        async def serve() -> Any:
            done = loop.run_in_executor(None, work)
            while not done.done():
                await asyncio.wait((done,), timeout=TICK_S)
                self.desk.wait(TICK_S)
                self.desk.history.follow(self.desk.monitor.view)
                self.server.tick(self.desk.poller.now)
            return await done

        return loop.run_until_complete(serve())

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
        """Send one request."""

        def work() -> Reply:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
            try:
                connection.request(method, path, body, headers)
                return Reply(connection.getresponse())
            finally:
                connection.close()

        return self.run(work)

    def say(self, data: bytes) -> bytes:
        """Send bytes and return all that comes until the router closes."""

        def work() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as sock:
                sock.sendall(data)
                got = b""
                try:
                    while piece := sock.recv(65536):
                        got += piece
                except ConnectionResetError:
                    pass
                return got

        return self.run(work)


@pytest.fixture
def open_front(request: pytest.FixtureRequest) -> Iterator[Callable[..., Front]]:
    """Open a port with these settings; the parameter: whether time passes by itself."""
    with opened(real_clock=getattr(request, "param", False)) as desk:
        fronts: list[Front] = []

        def start(**settings: Any) -> Front:
            if "token" in settings:
                settings["token"] = Secret(settings["token"])
            fronts.append(Front(desk, Http(port=0, **settings)))
            return fronts[-1]

        yield start
        for front in fronts:
            front.server.stop()


@pytest.fixture
def front(open_front: Callable[..., Front]) -> Front:
    """A port without a token."""
    return open_front()
