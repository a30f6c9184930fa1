"""The end of a router's clients: who is waited for, for how long, and who is disconnected."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto
from typing import TYPE_CHECKING

from pgrouter.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.proxy.registry import Registry

log = logging.getLogger("pgrouter.drain")

LOOK_S = 0.05
TELL_S = 5.0  # between two lines that say how many clients are left


class Shutdown(Enum):
    """What the end of the router waits for, as in PgBouncer's SHUTDOWN."""

    NOW = auto()
    SERVERS = auto()  # the clients' transactions, up to pool.drain_timeout
    CLIENTS = auto()  # all clients have left by themselves


async def drain(registry: Registry, how: Callable[[], Shutdown], limit_s: float) -> None:
    """Return when no client is left; `how` is asked again and again, as an operator may change it.

    Clients of the console are not waited for. Only transactions have a limit: who asked to wait for clients waits.
    """
    for client in list(registry.logging_in.values()):
        client.violation(ShuttingDown())
    began = told_at = asyncio.get_running_loop().time()
    if _count(registry):
        log.info("draining: waiting for %d clients", _count(registry))
    while (left := _count(registry)) and how() is not Shutdown.NOW:
        now = asyncio.get_running_loop().time()
        if how() is Shutdown.SERVERS:
            if now - began >= limit_s:
                log.warning("draining: %d clients are cut after %g seconds (pool.drain_timeout)", left, limit_s)
                break
            registry.drain()  # repeated: a transaction may end without a message from its server
            if not _count(registry):
                break
        if now - told_at >= TELL_S:
            told_at = now
            log.info("draining: still waiting for %d clients", left)
        await asyncio.sleep(LOOK_S)
    if how() is Shutdown.NOW and left:
        log.info("draining: ended, %d clients are cut", left)
    for client in list(registry.clients.values()):
        client.violation(ShuttingDown())


def _count(registry: Registry) -> int:
    """Return how many clients have, or wait for, a session with a server."""
    return sum(client.session.pool is not None for client in registry.clients.values())
