"""Host names: which need no look-up, and what is stored."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pgrouter.net.resolver import TTL_S, Address, Resolver, literal_address


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", (socket.AF_INET, ("10.0.0.1", 1))),
        ("::1", (socket.AF_INET6, ("::1", 1))),
        ("/run", (socket.AF_UNIX, "/run/.s.PGSQL.1")),
        ("localhost", None),
        ("10.0.0", None),
    ],
)
def test_addresses_that_need_no_look_up(host: str, address: Address | None) -> None:
    assert literal_address(host, 1) == address


def test_a_name_is_looked_up_once_until_it_is_old() -> None:
    async def main() -> None:
        now, found = 0.0, []
        resolver = Resolver(asyncio.get_running_loop(), lambda: now)

        async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple]:
            if host == "nobody":
                raise socket.gaierror(-2, "Name or service not known")
            return [(socket.AF_INET, 1, 6, "", ("10.0.0.1", port))]

        asyncio.get_running_loop().getaddrinfo = getaddrinfo
        for host in ("a", "nobody"):
            done = asyncio.Event()
            resolver.ask(host, 1, lambda *answer, done=done: (found.append(answer), done.set()))
            await done.wait()
        here = (socket.AF_INET, ("10.0.0.1", 1))
        why = "could not translate host name 'nobody' to address: Name or service not known"
        assert found == [(here, ""), (None, why)]
        assert (resolver.known("a", 1), resolver.known("nobody", 1)) == (here, None)
        now = TTL_S
        assert resolver.known("a", 1) is None

    asyncio.run(main())


def test_clients_are_sent_where_the_monitor_has_found_the_server() -> None:
    async def story() -> None:
        resolver = Resolver(asyncio.get_running_loop(), lambda: 0.0)
        assert resolver.known("a", 1) is None
        assert not resolver.learn("a", 1, "10.0.0.1")
        assert resolver.known("a", 1) == (socket.AF_INET, ("10.0.0.1", 1))
        assert not resolver.learn("a", 1, "10.0.0.1")
        assert resolver.learn("a", 1, "::1")
        assert resolver.known("a", 1) == (socket.AF_INET6, ("::1", 1))
        assert not resolver.learn("a", 1, "")

    asyncio.run(story())
