"""Members that are called by a host name, whose addresses change or are several."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pgrouter.cluster.names import follow, is_name

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("host", "name"), [("pg0.example", True), ("localhost", True), ("10.0.0.1", False), ("::1", False), ("/run", False)]
)
def test_is_name(host: str, *, name: bool) -> None:
    assert is_name(host) == name


class Connected:
    """As much of a prober as is asked."""

    def __init__(self, host: str, address: str) -> None:
        self.address, self.connected_to, self.redials = (host, 5432), address, 0

    def redial(self) -> None:
        self.redials += 1


def looked_up(probers: list[Connected], answer: Callable[[str], list[str]]) -> list[int]:
    """Give how often each was dialled again after two look-ups."""

    async def story() -> None:
        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, 1, 6, "", (each, port)) for each in answer(host)]

        asyncio.get_running_loop().getaddrinfo = getaddrinfo
        task = asyncio.create_task(follow(lambda: probers, 0.01))
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()

    asyncio.run(story())
    return [each.redials for each in probers]


def test_a_name_with_another_address_is_dialled_again() -> None:
    there, gone, literal = Connected("a", "10.0.0.1"), Connected("a", "10.0.0.9"), Connected("10.0.0.3", "10.0.0.3")
    redials = looked_up([there, gone, literal], lambda _: ["10.0.0.2", "10.0.0.1"])
    assert (redials[0], redials[1] > 0, redials[2]) == (0, True, 0)


def test_a_name_that_stops_resolving_changes_nothing() -> None:
    def fail(_: str) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    assert looked_up([Connected("a", "10.0.0.1")], fail) == [0]
