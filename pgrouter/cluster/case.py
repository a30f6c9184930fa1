"""The inputs of one merge, as its rules see them, and the decision about writes, which comes first. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from pgrouter.cluster.health import Probe
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.cluster.health import ServerReport
    from pgrouter.cluster.patroni_keys import DcsMember, Snapshot
    from pgrouter.topology import ClusterView, ReplayPoint

SILENT = Probe()  # of a member that has not been probed yet


class Lag(Struct, frozen=True, kw_only=True, gc=False):
    """How far replicas are behind in time, and how far they may be (0: no limit) to get reads."""

    most_bytes: int = 0
    most_s: float = 0.0
    marks: Mapping[str, ReplayPoint] = field(default_factory=dict)


class Case(Struct, frozen=True, kw_only=True, gc=False):
    """The inputs of one decision, common to all members."""

    previous: ClusterView
    snapshot: Snapshot
    probes: Mapping[str, Probe]
    lag: Lag
    candidate: str | None  # the one member that the DCS allows to be writable
    last_leader: str | None  # the one it named last, by that server's current name
    system_id: str  # expected of every member; empty: not known yet
    proven_timeline: int  # the newest on which a member of this system was ever writable

    def probe(self, name: str) -> Probe:
        """Return what is known about a member."""
        return self.probes.get(name, SILENT)

    def is_foreign(self, report: ServerReport) -> bool:
        """Whether a server belongs to another cluster."""
        return bool(self.system_id) and report.system_id != self.system_id

    def why_foreign(self, report: ServerReport) -> str:
        """Return a description of that, for people."""
        return f"belongs to another cluster: its system identifier is {report.system_id}, not {self.system_id}"

    def own_reports(self) -> list[ServerReport]:
        """Return the current reports of this cluster's members."""
        reports = (probe.valid_report for probe in self.probes.values())
        return [report for report in reports if report is not None and not self.is_foreign(report)]

    def followed(self, server: DcsMember) -> bool | None:
        """Return what the last view knew about this server at this address; see `Member.follows`."""
        same = (each for each in self.previous.members if (each.host, each.port) == (server.host, server.port))
        return next((each.follows for each in same), None)

    def is_same(self, one: DcsMember, other: DcsMember) -> bool:
        """Whether two keys are about one server: address or postmaster identify it, names do not."""
        if (one.host, one.port) == (other.host, other.port):
            return True
        reports = (self.probe(one.name).report, self.probe(other.name).report)
        starts = [(report.system_id, report.started) for report in reports if report is not None and report.started]
        return len(starts) == len(reports) and starts[0] == starts[1]

    def keys_of(self, server: DcsMember) -> list[DcsMember]:
        """Return the keys that the DCS has for this server, the decisive one first: the leader's, if there is one."""
        same = [each for each in self.snapshot.members if each.host and self.is_same(each, server)]
        return sorted(same, key=lambda each: each.name != self.snapshot.leader)

    @property
    def last_position(self) -> int:
        """Return the last position that the last primary reported, on the newest timeline; 0: not known."""
        probe = self.probe(self.candidate or self.last_leader or "")
        report = probe.valid_report
        leads = report is not None and report.role is Role.PRIMARY and not self.is_foreign(report)
        if leads and report is not None and report.timeline == self.proven_timeline:
            return report.lsn
        return self.previous.lsn if self.proven_timeline else 0


class WriteDecision(Struct, frozen=True, kw_only=True, gc=False):
    """The decision about writes, on which the decisions about reads depend."""

    primary: str | None
    objection: str  # why the candidate gets no writes, as a predicate
    no_primary: str  # why there is no primary, as a sentence
    timeline: int  # the primary's; without one, the newest proven
    system_id: str
    lsn: int | None  # the primary's position; None: unknown
