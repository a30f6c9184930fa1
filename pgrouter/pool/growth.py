"""How many connections a pool needs, and to which members, for the clients that wait."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.pool.member import MemberPool
    from pgrouter.pool.pool import Pool


def grow(pool: Pool) -> None:
    """Dial as many connections as there are waiting clients, within the limits."""
    now = pool.poller.now
    for _, missing, members in _needs(pool):
        for _ in range(missing):
            able = [member for member in members if member.can_dial(now)]
            able.sort(key=lambda member: (member.failures > 0, len(member.servers)))
            if not any(member.dial_needed() for member in able):
                break


def wants(pool: Pool, member: MemberPool) -> bool:
    """Whether clients wait for another connection to this member."""
    return any(missing > 0 and member in members for _, missing, members in _needs(pool))


def waiting_since(pool: Pool, member: MemberPool) -> float:
    """Return since when the client that a connection to this member would serve has been waiting; infinity: nobody."""
    return min((since for since, _, members in _needs(pool) if member in members), default=inf)


def _needs(pool: Pool) -> Iterator[tuple[float, int, list[MemberPool]]]:
    """Yield for each queue since when its first client has waited, how many dials are missing, and who may serve it."""
    for queue, reads in pool.waiting.queues():
        if queue:
            members = pool.eligible(reads=reads and not (pool.outdated and pool.writer))
            needed = len(queue) if queue is not pool.waiting.logins else 1
            yield queue[0][1], needed - sum(member.pending for member in members), members
