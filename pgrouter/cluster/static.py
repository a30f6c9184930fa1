"""Source `static`: the configured members; their own reports elect the leader. Pure.

The leader is the member that reports to be primary on the newest timeline: `pg_promote()`, repmgr or a failover script
create a primary by starting a new timeline, so the newest is the latest decision. Two primaries on one timeline cannot
be told apart by that rule: the one that led stays the leader; if neither did, nobody leads, because a wrong guess loses
rows. For the same reason the first election waits until every member has answered or failed once: a former primary that
is up again must not win by being quick.

A primary of another system, or on a timeline older than one that was in use, does not win either, and is reported. It
is the right one after pg_upgrade, or when a backup was restored: the operator then has to say so (`Monitor.forget`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.cluster.patroni_keys import DcsMember, Snapshot
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgrouter.cluster.health import Probe, ServerReport
    from pgrouter.config.settings import MemberAddress
    from pgrouter.topology import ClusterView


TO_FORGET = "if that is meant (pg_upgrade, a restored backup), RELOAD FORGET CLUSTER on the console accepts it"


class StaticSource:
    """The members of a configuration file."""

    def __init__(self, addresses: tuple[MemberAddress, ...]) -> None:
        self.replace(addresses)

    def replace(self, addresses: tuple[MemberAddress, ...]) -> None:
        """Use other members: the configuration was reloaded."""
        self._members = tuple(DcsMember(name=each.name, host=each.host, port=each.port) for each in addresses)

    def start(self, on_change: Callable[[], None]) -> None:
        """Do nothing: probes notify the monitor themselves."""

    async def stop(self) -> None:
        """Do nothing."""

    def refresh(self) -> None:
        """Do nothing: there are only the probes."""

    def current(self, previous: ClusterView, probes: Mapping[str, Probe]) -> Snapshot:
        """Return the configured members with the leader that `elect` names."""
        return elect(self._members, previous, probes)


def elect(members: tuple[DcsMember, ...], previous: ClusterView, probes: Mapping[str, Probe]) -> Snapshot:
    """Return a snapshot whose leader is the member that reports to be primary on the newest timeline."""
    reports = {member.name: probes[member.name].valid_report for member in members if member.name in probes}
    primaries = {name: report for name, report in reports.items() if report and _may_lead(report, previous)}
    unheard = [member.name for member in members if member.name not in probes]
    if unheard and previous.last_leader is None:
        leader, trouble = None, f"{', '.join(unheard)} not heard yet"
    else:
        leader, trouble = _choose(_each_once(primaries, previous.last_leader), previous.last_leader)
        if not primaries:
            trouble = "; ".join(_refused(reports, previous)) or trouble
    # Here the servers' reports stand in for the DCS: it is as current as they are.
    heard_s = max((report.answered_s for report in reports.values() if report), default=0.0)
    read_s = min((probes[member.name].asked_s if member.name in probes else 0.0 for member in members), default=0.0)
    return Snapshot(members=members, leased=False, leader=leader, trouble=trouble, heard_s=heard_s, read_s=read_s)


def _may_lead(report: ServerReport, previous: ClusterView) -> bool:
    same_system = previous.system_id in ("", report.system_id)
    return report.role is Role.PRIMARY and same_system and report.timeline >= previous.timeline


def _refused(reports: Mapping[str, ServerReport | None], previous: ClusterView) -> Iterator[str]:
    """Yield the members that report to be primary but may not lead, with what to do about it."""
    for name, report in reports.items():
        if report is None or report.role is not Role.PRIMARY:
            continue
        if previous.system_id not in ("", report.system_id):
            yield (
                f"{name} says it is primary, but has the system identifier {report.system_id} and the cluster had "
                f"{previous.system_id}: {TO_FORGET}"
            )
        else:
            yield (
                f"{name} says it is primary on timeline {report.timeline}, but timeline {previous.timeline} was in "
                f"use: {TO_FORGET}"
            )


def _each_once(primaries: Mapping[str, ServerReport], preferred: str | None) -> dict[str, ServerReport]:
    """Drop other names of the same server, such as that of a virtual address."""
    servers: dict[object, str] = {}
    for name in sorted(primaries, key=lambda each: each != preferred):
        report = primaries[name]
        servers.setdefault((report.system_id, report.started) if report.started else name, name)
    return {name: primaries[name] for name in primaries if name in servers.values()}


def _choose(primaries: Mapping[str, ServerReport], last_leader: str | None) -> tuple[str | None, str]:
    if not primaries:
        return None, "no member says it is primary"
    if len({report.system_id for report in primaries.values()}) > 1:
        return None, f"{', '.join(primaries)} say they are primary, of different clusters"
    newest = max(report.timeline for report in primaries.values())
    names = [name for name, report in primaries.items() if report.timeline == newest]
    if last_leader in names:
        return last_leader, ""
    if len(names) > 1:
        return None, f"{', '.join(names)} say they are primary on timeline {newest}"
    return names[0], ""
