"""What happens to the leader, and how it is undone."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from pgrouter.demo.postgres import conninfo
from pgrouter.demo.processes import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.demo.patroni import Member, PatroniCluster


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of leader change."""

    name: str  # what --only takes
    title: str
    act: Callable[[PatroniCluster, Member], None]  # returns at once
    undo: Callable[[Member], None]
    returns: bool = False  # the old leader may be the new one
    quick: bool = False


def hand_over(_cluster: PatroniCluster, old: Member) -> None:
    """Ask as `patronictl switchover` does; the answer comes when it is done."""
    status, text = old.api("/switchover", {"leader": old.name}, "POST")
    if status != 200:
        raise DemoError(f"switchover refused ({status}): {text}")


def nothing(_old: Member) -> None:
    """Leave it to Patroni."""


EVENTS = (
    Event("switchover", "planned switchover", hand_over, nothing, quick=True),
    Event("node", "node lost: kill -9 of PostgreSQL and Patroni", lambda _, old: old.kill(), lambda old: old.launch()),
    Event("postgres", "kill -9 of PostgreSQL", lambda _, old: old.kill_postgres(), nothing, returns=True),
    Event("frozen", "frozen host: SIGSTOP of everything", lambda _, old: old.freeze(), lambda old: old.thaw()),
    Event(
        "patroni", "kill -9 of Patroni alone: two primaries", lambda _, old: old.kill_patroni(),
        lambda old: old.launch(), quick=True,
    ),
)  # fmt: skip


def new_primary(cluster: PatroniCluster, old: Member, event: Event) -> Member | None:
    """Give the member that says it is primary now, the old leader only where it may be that again."""
    for member in cluster.members:
        if (event.returns or member is not old) and says_primary(member):
            return member
    return None


def says_primary(member: Member) -> bool:
    """Ask a member itself; one that does not answer is none."""
    with (
        contextlib.suppress(psycopg.Error),
        psycopg.connect(conninfo(member.port), autocommit=True, connect_timeout=2) as client,
    ):
        return client.execute("select pg_is_in_recovery()").fetchone() == (False,)
    return False
