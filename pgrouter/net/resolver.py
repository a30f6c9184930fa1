"""Resolves host names to socket addresses without blocking the data path."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

Address = tuple[int, object]  # family, what connect() takes

# PgBouncer's dns_max_ttl; the system's resolver does not report the real TTL
TTL_S = 15.0


def literal_address(host: str, port: int) -> Address | None:
    """Return the socket address for an IP address or a socket directory; None for a name."""
    if host.startswith("/"):
        return socket.AF_UNIX, f"{host}/.s.PGSQL.{port}"
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family, (host, port)
    return None


class Resolver:
    """Caches names for a while and looks them up in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._known: dict[tuple[str, int], tuple[float, Address]] = {}
        self._learned: dict[tuple[str, int], Address] = {}  # where the monitor has found the server
        self._tasks: set[asyncio.Task] = set()

    def known(self, host: str, port: int) -> Address | None:
        """Return the address if no look-up is needed."""
        literal = literal_address(host, port)
        if literal is not None:
            return literal
        learned = self._learned.get((host, port))
        if learned is not None:
            return learned
        entry = self._known.get((host, port))
        return entry[1] if entry is not None and self._clock() - entry[0] < TTL_S else None

    def learn(self, host: str, port: int, address: str) -> bool:
        """Store the address at which the monitor has found a server; return whether it has changed."""
        before = self._learned.get((host, port))
        found = literal_address(address, port)
        if found is None:
            return False
        self._learned[host, port] = found
        return before not in (None, found)

    def ask(self, host: str, port: int, then: Callable[[Address | None, str], None]) -> None:
        """Look a name up, then call `then(address, "")` or `then(None, why)`."""
        task = self._loop.create_task(self._ask(host, port, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, host: str, port: int, then: Callable[[Address | None, str], None]) -> None:
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            then(None, f"could not translate host name {host!r} to address: {error.strerror or error}")
            return
        address = (found[0][0], found[0][4][:2])
        self._known[host, port] = (self._clock(), address)
        then(address, "")

    def names(self) -> Iterator[tuple[str, int, str]]:
        """Yield the names that have been looked up, the seconds for which that holds (0: it is over), the address."""
        now = self._clock()
        for (host, _), (at, address) in self._known.items():
            where = address[1]
            yield host, max(0, int(at + TTL_S - now)), str(where[0]) if isinstance(where, tuple) else str(where)

    def close(self) -> None:
        """Cancel pending look-ups."""
        for task in self._tasks:
            task.cancel()
