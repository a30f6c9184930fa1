"""Accepting connections: which socket is handed on, and what stops neither the others nor the poller."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from typing import TYPE_CHECKING, Any, Self

import pytest
from net_ground import until

from pgrouter.net.acceptor import PAUSE_S, Acceptor
from pgrouter.net.listening import tcp_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Run = Callable[[Coroutine[Any, Any, None]], object]


class Guests:
    """Takes connections, or refuses to."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.poller = asyncio.get_running_loop().poller
        self.refuses = False
        self.came: list[tuple[Any, tuple]] = []
        sock = tcp_socket(host, 0)
        self.address = sock.getsockname()[:2]
        self.acceptor = Acceptor(self.poller, sock, self.accepted)
        self.acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.acceptor.close()
        for sock, _ in self.came:
            sock.close()

    def accepted(self, sock: Any, address: tuple) -> None:
        if self.refuses:
            raise ValueError("not today")
        self.came.append((sock, address))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_connection_comes_with_its_address(run: Run, host: str) -> None:
    async def main() -> None:
        with Guests(host) as guests:
            ours = [guests.connect() for _ in range(3)]
            await until(lambda: len(guests.came) == 3)
            assert [address[:2] for _, address in guests.came] == [sock.getsockname()[:2] for sock in ours]
            for (sock, _), one in zip(guests.came, ours, strict=True):
                assert sock.getsockname() == one.getpeername()
                with socket.socket(fileno=socket.dup(sock.fileno())) as twin:
                    with pytest.raises(BlockingIOError):
                        twin.recv(1, socket.MSG_DONTWAIT)
                    assert not twin.get_inheritable()
                one.close()

    run(main())


def test_connections_have_the_options_of_the_listening_socket(run: Run) -> None:
    async def main() -> None:
        with Guests() as guests:
            guests.acceptor.tune([(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])
            with guests.connect():
                await until(lambda: guests.came)
                with socket.socket(fileno=socket.dup(guests.came[0][0].fileno())) as twin:
                    assert twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

    run(main())


def test_a_crowd_is_accepted(run: Run) -> None:
    async def main() -> None:
        with Guests() as guests:
            ours = [guests.connect() for _ in range(200)]
            await until(lambda: len(guests.came) == len(ours))
            for one in ours:
                one.close()

    run(main())


def test_a_bug_in_handing_on_closes_that_connection_only(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with Guests() as guests:
            guests.refuses = True
            with guests.connect() as refused:
                await until(lambda: "bug in accepting" in caplog.text)
                assert refused.recv(1) == b""
            guests.refuses = False
            with guests.connect():
                await until(lambda: guests.came)

    run(main())


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_without_descriptors_it_pauses_and_goes_on(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with Guests() as guests, guests.connect() as one:
            await until(lambda: guests.came)
            with guests.connect() as two:
                _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (two.fileno(), hard))
                await until(lambda: "cannot accept" in caplog.text)
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
                await until(lambda: len(guests.came) == 2, 5 + PAUSE_S)
            assert one.fileno() >= 0

    run(main())


def test_closed_twice_and_started_no_more(run: Run) -> None:
    async def main() -> None:
        with Guests() as guests:
            guests.acceptor.close()
            guests.acceptor.close()
            guests.acceptor.start()
            with socket.socket() as sock:
                assert sock.connect_ex(guests.address) == errno.ECONNREFUSED

    run(main())
