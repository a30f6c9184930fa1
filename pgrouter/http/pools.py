"""GET /pools: the busiest pools as JSON."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

    from pgrouter.metrics.snapshot import PoolNumbers, Snapshot

SHOWN = 50
SOME = 200  # looked at without a break


def pools(snapshot: Snapshot) -> Generator[None, None, dict[str, Any]]:
    """Return totals, members, and the pools with most waiting clients, then most transactions; yields meanwhile."""
    shown: list[PoolNumbers] = []
    for start in range(0, len(snapshot.pools), SOME):
        shown = nlargest(SHOWN, shown + snapshot.pools[start : start + SOME], key=_rank)
        yield
    return {
        "time": snapshot.context.wall,
        "clients": dict(snapshot.clients),
        "pins": dict(snapshot.pins),
        "pools_in_all": len(snapshot.pools),
        "pools": [_pool(pool) for pool in shown],
        "members": [
            {
                "name": numbers.member.name,
                "up": numbers.up,
                "transactions": numbers.done.xact_count,
                "queries": numbers.done.query_count,
                "active": numbers.servers["active"] + numbers.servers["being_canceled"],
                "idle": numbers.servers["idle"],
            }
            for numbers in snapshot.members
        ],
    }


def _rank(pool: PoolNumbers) -> tuple[int, int]:
    return pool.waiting, pool.done.xact_count


def _pool(pool: PoolNumbers) -> dict[str, Any]:
    return {
        "database": pool.database,
        "user": pool.user,
        "mode": pool.mode,
        "clients": pool.clients,
        "waiting": pool.waiting,
        "max_wait_seconds": round(pool.max_wait_s, 3),
        "active": pool.count("active", "being_canceled"),
        "idle": pool.count("idle"),
        "transactions": pool.done.xact_count,
        "queries": pool.done.query_count,
    }
