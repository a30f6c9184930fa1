"""Look-ups that block: the host name of an address, the name of a system user. In threads of their own.

A stranger chooses the address that is looked up, and its name server how long that takes: so nothing else uses these
threads. They end with their work, as the poller's does: as long as there is one, the GIL is released around every wait.
"""

from __future__ import annotations

import asyncio
import logging
import pwd
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("pgrouter.auth")

Found = TypeVar("Found")

THREADS = 4
KEPT_S = 60.0
KEPT = 1000  # addresses


class Lookups:
    """The threads, and the host names that were found lately."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._running = 0
        self._names: dict[str, tuple[float, str]] = {}

    async def host_name(self, address: str) -> str:
        """Return the host name of an address if that name has this address, too; "" otherwise."""
        now_s = asyncio.get_running_loop().time()
        at_s, name = self._names.get(address, (-KEPT_S, ""))
        if now_s - at_s < KEPT_S:
            return name
        name = await self._run(_confirmed_name, address)
        self._names.pop(address, None)
        if len(self._names) >= KEPT:
            del self._names[next(iter(self._names))]
        self._names[address] = (now_s, name)
        return name

    async def system_user(self, uid: int) -> str:
        """Return the name of a user of this machine; "" if there is none."""
        return await self._run(_system_user, uid)

    async def _run(self, work: Callable[..., Found], argument: object) -> Found:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "pgrouter-lookup")
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, argument)
        finally:
            self._running -= 1
            if self._running == 0:
                self._threads.shutdown(wait=False)
                self._threads = None


def _confirmed_name(address: str) -> str:
    try:
        name, _ = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        log.info("could not look up the host name of %s: %s", address, error)
        return ""
    return name if address in {each[4][0] for each in found} else ""


def _system_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        log.info("could not look up local user ID %d", uid)
        return ""
