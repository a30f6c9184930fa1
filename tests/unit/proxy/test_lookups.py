"""Names that are looked up in threads: right, kept for a while, and the threads end."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import threading
from typing import TYPE_CHECKING

from pgrouter.demo.processes import until
from pgrouter.proxy.lookups import KEPT, Lookups

if TYPE_CHECKING:
    import pytest


def test_names_are_confirmed_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {"good.example": "10.0.0.1", "liar.example": "10.0.0.9"}
    names = {"10.0.0.1": "good.example", "10.0.0.2": "liar.example"}
    asked: list[str] = []

    def getnameinfo(address: tuple[str, int], flags: int) -> tuple[str, str]:
        assert flags == socket.NI_NAMEREQD
        asked.append(address[0])
        if address[0] not in names:
            raise socket.gaierror(-2, "Name or service not known")
        return names[address[0]], "0"

    monkeypatch.setattr(socket, "getnameinfo", getnameinfo)
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *_, **__: [(socket.AF_INET, 1, 6, "", (addresses[name], 0))]
    )

    async def main() -> list[str]:
        lookups = Lookups()
        found = [await lookups.host_name(address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1")]
        assert asked == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        await asyncio.gather(*(lookups.host_name(f"10.1.{n // 250}.{n % 250}") for n in range(KEPT)))
        assert await lookups.host_name("10.0.0.1") == "good.example"
        assert asked[-1] == "10.0.0.1"  # it had been forgotten for so many others
        return found

    assert asyncio.run(main()) == ["good.example", "", "", "good.example"]


def test_system_users_by_number() -> None:
    async def main() -> tuple[str, str]:
        lookups = Lookups()
        return await lookups.system_user(os.getuid()), await lookups.system_user(4_000_000)

    assert asyncio.run(main()) == (pwd.getpwuid(os.getuid()).pw_name, "")
    until(lambda: not any(one.name.startswith("pgrouter-lookup") for one in threading.enumerate()), 10, "no thread")
