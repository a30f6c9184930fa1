"""The members as Pgpool-II's nodes: their numbers, what it calls their states, their weights. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from pgrouter.pool.read_order import share_of
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.cluster.health import Probe
    from pgrouter.config.settings import Reads
    from pgrouter.topology import ClusterView, Member

_NUMBERED = re.compile(r"backend(\d{1,4})", re.ASCII)


class Status(IntEnum):
    """A node's status (CON_* there)."""

    UNUSED = 0
    WAITING = 1  # up, and no connection to it is pooled
    UP = 2
    DOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One member."""

    number: int
    name: str
    host: str
    port: int
    status: Status
    pg_status: str  # what the last probe says: up, down, unknown
    share: float  # of the reads, by the configured weights
    role: str  # as the router treats it
    pg_role: str  # as it reports itself
    lag_bytes: int
    lag_s: float
    replication_state: str

    @property
    def is_primary(self) -> bool:
        """Whether it gets the writes."""
        return self.role == "primary"


def numbers(view: ClusterView) -> dict[str, int]:
    """Return each member's node number: N of the names backendN that a converted pgpool.conf gives, else the order."""
    found = {member.name: _NUMBERED.fullmatch(member.name) for member in view.members}
    if all(found.values()):
        return {name: int(match[1]) for name, match in found.items() if match}
    return {member.name: number for number, member in enumerate(view.members)}


def nodes(
    view: ClusterView, probes: Mapping[str, Probe], reads: Reads, detached: frozenset[str], pooled: Mapping[str, int]
) -> list[Node]:
    """Return all nodes by their numbers; `pooled` is how many connections there are to each."""
    known, shares = numbers(view), shares_of(view, reads)
    found = [
        Node(
            number=known[member.name],
            name=member.name,
            host=member.host,
            port=member.port,
            status=status_of(probes.get(member.name), member.name in detached, pooled.get(member.name, 0)),
            pg_status=_pg_status(probes.get(member.name)),
            share=shares[member.name],
            role="primary" if member.name in (view.primary, view.leader) else "standby",
            pg_role=_pg_role(probes.get(member.name)),
            lag_bytes=member.lag_bytes or 0,
            lag_s=member.lag_s or 0.0,
            replication_state=_replication_state(member, view, probes.get(member.name)),
        )
        for member in view.members
    ]
    return sorted(found, key=lambda node: node.number)


def status_of(probe: Probe | None, detached: bool, pooled: int) -> Status:  # noqa: FBT001  (a fact, not a flag)
    """Return a member's status."""
    if detached or (probe is not None and probe.valid_report is None and probe.failures):
        return Status.DOWN
    return Status.UP if pooled else Status.WAITING


def shares_of(view: ClusterView, reads: Reads) -> dict[str, float]:
    """Return each member's share of the reads if all were up; they add up to 1."""
    weights = {member.name: _weight(member, view, reads) for member in view.members}
    total = sum(weights.values())
    return {name: weight / total if total else 0.0 for name, weight in weights.items()}


def _weight(member: Member, view: ClusterView, reads: Reads) -> int:
    if member.name == view.primary and reads.primary != "always":
        return 0
    return share_of(member, reads).weight if reads.balance == "weighted" else 1


def _pg_status(probe: Probe | None) -> str:
    if probe is None or (probe.report is None and not probe.failures):
        return "unknown"
    return "up" if probe.valid_report is not None else "down"


def _pg_role(probe: Probe | None) -> str:
    report = probe.valid_report if probe is not None else None
    if report is None:
        return "unknown"
    return "primary" if report.role is Role.PRIMARY else "standby"


def _replication_state(member: Member, view: ClusterView, probe: Probe | None) -> str:
    replica = member.name not in (view.primary, view.leader)
    return "streaming" if replica and probe is not None and probe.valid_report is not None and probe.streams else ""
