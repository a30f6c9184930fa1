"""The cluster as data: members, roles, timelines and the view that routing works with. Frozen, no IO.

Invariant, kept by `cluster.merge` and tested as a property: a view has at most one primary.

A view's number rises with every change except that of a WAL position: `Member.lag_bytes` and `lag_s` are refreshed
under the same number.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class Role(StrEnum):
    """The role that a server reports."""

    PRIMARY = "primary"  # pg_is_in_recovery() is false
    REPLICA = "replica"
    UNKNOWN = "unknown"  # it has not answered (yet)


class ReplayPoint(NamedTuple):
    """How far a replica is known to have replayed, see `cluster.freshness`."""

    fresh_s: float  # it has all that was answered before this time of the router's clock; 0: unknown
    lsn: int  # bytes since 0/0


class Member(Struct, frozen=True, kw_only=True, gc=False):
    """One PostgreSQL server as the router sees it now."""

    name: str
    host: str
    port: int
    role: Role = Role.UNKNOWN
    leader: bool = False  # named by the DCS
    writable: bool = False  # gets writes: at most one member of a view
    readable: bool = False  # gets reads when it is not the primary
    follows: bool | None = None  # whether it follows the primary, or the last one; None: there never was one
    timeline: int = 0  # 0: unknown
    lag_bytes: int | None = None  # replay position behind the primary's, or the last known; None: unknown
    lag_s: float | None = None  # since it was last known to have everything: up to an interval too high; None: unknown
    state: str = ""  # Patroni's: running, streaming, starting ...
    reason: str = ""  # why it is (not) writable or readable, for people
    tags: tuple[tuple[str, str], ...] = ()


class Mistake(Struct, frozen=True, gc=False):
    """Why no member was found, for people."""

    words: str
    hint: str


class ClusterView(Struct, frozen=True, kw_only=True, gc=False):
    """One immutable, numbered snapshot of the cluster."""

    number: int = 0
    members: tuple[Member, ...] = ()
    leader: str | None = None  # named by the DCS (static source: the member that reports to be primary)
    primary: str | None = None  # name of the one member that may be written to; None: writes are held
    readers: tuple[str, ...] = ()  # names of the replicas that may be read from, in a stable order
    paused: bool = False  # Patroni's maintenance mode
    standby: bool = False  # it follows another cluster: its leader is a replica, and nobody gets writes
    reason: str = ""  # what made this view differ from the last one, for logs
    last_leader: str | None = None  # the last name in the DCS; stays when the leader key goes
    timeline: int = 0  # the newest on which a member of this system was ever writable: never goes back
    lsn: int = 0  # the primary's last reported position, in bytes since 0/0, on that timeline; 0: unknown
    system_id: str = ""  # of the cluster that this view is about; empty: not known yet
    dcs_reachable: bool = True  # False: the leader is the last known one
    fenced: str | None = None  # the last leader, if its transactions must end although no other member leads yet
    silent: tuple[str, ...] = ()  # members without a sign of life for so long that it is no use waiting for them
    no_primary: str = "nothing is known yet"  # why writes are held; empty: they are not
    mistake: Mistake | None = None  # why no member was ever found, if the configuration may be wrong

    def member(self, name: str) -> Member | None:
        """Return the member of that name."""
        return next((m for m in self.members if m.name == name), None)
