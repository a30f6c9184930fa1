"""Counters per database and their averages, with PgBouncer's names and meanings.

Totals only ever grow: what a closed server connection has counted stays in its pool. Averages are taken between the
last but one sample and now, so they cover the last one to two periods, or the time since the start if that is shorter.

Source: PgBouncer stats.c.
"""

from __future__ import annotations

from operator import add, sub
from typing import TYPE_CHECKING, NamedTuple

from pgrouter.pool.member import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.pool.manager import PoolManager
    from pgrouter.pool.member import MemberPool
    from pgrouter.pool.pool import Pool

PERIOD_S = 60.0  # PgBouncer's stats_period


class Counters(NamedTuple):
    """What one database has done; times in microseconds."""

    server_assignment_count: int = 0
    xact_count: int = 0
    query_count: int = 0
    received: int = 0  # bytes from clients
    sent: int = 0  # bytes to clients
    xact_time: int = 0
    query_time: int = 0
    wait_time: int = 0
    client_parse_count: int = 0
    server_parse_count: int = 0
    bind_count: int = 0
    client_login_count: int = 0

    def plus(self, other: Counters) -> Counters:
        """Return the sums, counter by counter."""
        return Counters(*map(add, self, other))

    def minus(self, other: Counters) -> Counters:
        """Return the differences, counter by counter."""
        return Counters(*map(sub, self, other))


# Averages are per second, except these, which are per transaction and per query
PER = {"xact_time": "xact_count", "query_time": "query_count"}


def member_totals(pool: MemberPool) -> Counters:
    """Return the sums over the server connections of one member pool, closed ones included."""
    total = Totals()
    total.add(pool.closed)
    for server in pool.servers:
        total.add(server)
    return _counters(total)


def _counters(total: Totals) -> Counters:
    return Counters(
        server_assignment_count=total.xacts,
        xact_count=total.xacts,
        query_count=total.queries,
        received=total.sent,  # what was sent to servers had come from clients, and vice versa
        sent=total.received,
        xact_time=int(total.xact_s * 1e6),
        query_time=int(total.query_s * 1e6),
    )


def group_totals(group: Pool) -> Counters:
    """Return the sums over the member pools of one database and user."""
    total = Counters(wait_time=group.wait_us, client_login_count=group.logins).plus(_counters(group.departed))
    for pool in group.members.values():
        total = total.plus(member_totals(pool))
    return total


def totals(groups: Iterable[Pool]) -> dict[str, Counters]:
    """Return the sums by database."""
    result: dict[str, Counters] = {}
    for group in groups:
        result[group.name] = result.get(group.name, Counters()).plus(group_totals(group))
    return result


def average(done: Counters, span_s: float) -> Counters:
    """Return the averages over a span of time: rates per second, and times per transaction or query."""
    if span_s <= 0:
        return Counters()
    return Counters(
        *(
            value // max(1, getattr(done, PER[name])) if name in PER else int(value / span_s)
            for name, value in zip(Counters._fields, done, strict=True)
        )
    )


class Sample(NamedTuple):
    """The totals at one time."""

    at: float
    totals: dict[str, Counters]


class Sampler:
    """Keeps the totals of the last two periods."""

    def __init__(self, pools: PoolManager, now: float, period_s: float = PERIOD_S) -> None:
        self._pools = pools
        self._period_s = period_s
        self._older = self._newer = Sample(now, {})

    def tick(self, now: float) -> None:
        """Take a sample if a period is over."""
        if now - self._newer.at >= self._period_s:
            self._older = self._newer
            self._newer = Sample(now, totals(self._pools.groups.values()))

    def totals(self) -> dict[str, Counters]:
        """Return the current totals of every database."""
        return totals(self._pools.groups.values())

    def averages(self, now: float, current: dict[str, Counters] | None = None) -> dict[str, Counters]:
        """Return the averages of every database; `current`: the totals, if they are known."""
        older = self._older
        return {
            database: average(total.minus(older.totals.get(database, Counters())), now - older.at)
            for database, total in (self.totals() if current is None else current).items()
        }
