"""How far the replicas have replayed, expressed as times of the router's own clock. Pure.

A write's time is when its answer arrived. A WAL position that the primary is asked for after that lies beyond the
write: a sample. A replica that has replayed up to a sample's position has everything that had been answered before the
sample was asked for; that time is the replica's mark. So a read may go to any replica whose mark is later than its
session's last write: one comparison, and no query for positions per read.

Positions are compared on one timeline only: samples and marks end with it, and until the new primary has reported its
position, reads that must see a write go to the primary.
"""

from __future__ import annotations

from bisect import bisect_right
from math import inf
from typing import TYPE_CHECKING

from pgrouter.topology import ReplayPoint, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.cluster.health import Probe, ServerReport
    from pgrouter.topology import ClusterView

MOST_SAMPLES = 4096  # then every other one is dropped: marks of replicas far behind become coarser, never too late


class Freshness:
    """Samples of the primary, and the marks of the replicas that follow from them."""

    def __init__(self) -> None:
        self._history = ("", 0)  # system identifier and timeline of all positions
        self._samples: list[tuple[int, float]] = []  # (position, when it was asked for), both increasing
        self._distrusted: dict[str, float] = {}  # answers asked for before this time do not count

    def distrust(self, name: str, now_s: float) -> None:
        """Ignore earlier answers of a member for marks: it may have restarted further back."""
        self._distrusted[name] = now_s

    def marks(self, view: ClusterView, probes: Mapping[str, Probe]) -> dict[str, ReplayPoint]:
        """Process the members' last reports; return the replicas that are known to follow, with their marks.

        A mark is derived from the last report alone: a replica that was killed may restart further back, and report it.
        """
        self._sample(view, probes)
        reports = {name: probe.report for name, probe in probes.items() if self._follows(name, probe)}
        return {name: self._mark(report) for name, report in reports.items() if report is not None}

    def _sample(self, view: ClusterView, probes: Mapping[str, Probe]) -> None:
        report = self._report_of_primary(view, probes)
        if report is None:
            return
        if self._history != (report.system_id, report.timeline):
            self._history = (report.system_id, report.timeline)
            self._samples.clear()
        samples = self._samples
        if samples and report.asked_s <= samples[-1][1]:
            return
        while samples and samples[-1][0] >= report.lsn:  # the same position later, or it crashed and lost its last WAL
            samples.pop()
        samples.append((report.lsn, report.asked_s))
        if len(samples) > MOST_SAMPLES:
            del samples[:-1:2]

    @staticmethod
    def _report_of_primary(view: ClusterView, probes: Mapping[str, Probe]) -> ServerReport | None:
        """Return the primary's report, even while writes to it are off, unless another was promoted past it."""
        probe = probes.get(view.primary or view.last_leader or "")
        report = probe.valid_report if probe else None
        if report is None or report.role is not Role.PRIMARY:
            return None
        return report if (report.system_id, report.timeline) == (view.system_id, view.timeline) else None

    def _follows(self, name: str, probe: Probe) -> bool:
        report = probe.valid_report
        return (
            report is not None
            and report.role is Role.REPLICA
            and report.asked_s > self._distrusted.get(name, -inf)
            and (report.system_id, probe.timeline) == self._history
            and probe.streamed_timeline == probe.timeline
        )

    def _mark(self, report: ServerReport) -> ReplayPoint:
        reached = bisect_right(self._samples, (report.lsn, inf))
        return ReplayPoint(self._samples[reached - 1][1] if reached else 0.0, report.lsn)
