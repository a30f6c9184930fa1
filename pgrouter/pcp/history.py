"""Counts of each member's probes, and when its status last changed; from what the monitor knows at each tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgrouter.clock import wall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrouter.cluster.health import Probe
    from pgrouter.topology import ClusterView, Member


@dataclass(slots=True)
class Checks:
    """What was seen of one member; times in seconds since 1970, 0: never."""

    status: str = ""
    changed_s: float = 0.0
    successes: int = 0
    failures: int = 0
    slowest_ms: int = 0
    fastest_ms: int = 0
    total_ms: float = 0.0
    last_success_s: float = 0.0
    last_failure_s: float = 0.0
    answered: float = 0.0  # of the probe that was counted last, on the router's clock
    failed: float = 0.0

    @property
    def count(self) -> int:
        """Return how many probes there were."""
        return self.successes + self.failures

    @property
    def average_ms(self) -> float:
        """Return how long an answer took on average."""
        return self.total_ms / self.successes if self.successes else 0.0

    def see(self, probe: Probe, now_s: float) -> None:
        """Count a probe if it is new."""
        report = probe.report
        if report is not None and report.answered_s != self.answered:
            took_ms = max(0.0, (report.answered_s - report.asked_s) * 1000)
            self.fastest_ms = round(took_ms) if not self.successes else min(self.fastest_ms, round(took_ms))
            self.slowest_ms = max(self.slowest_ms, round(took_ms))
            self.successes += 1
            self.total_ms += took_ms
            self.last_success_s, self.answered = now_s, report.answered_s
        if probe.failures and probe.failed_s != self.failed:
            self.failures += 1
            self.last_failure_s, self.failed = now_s, probe.failed_s


class ProbeCounts:
    """What was seen of every member since the start."""

    def __init__(
        self,
        view: Callable[[], ClusterView],
        probes: Callable[[], Mapping[str, Probe]],
        status: Callable[[Member], str],
    ) -> None:
        self._view = view
        self._probes = probes
        self._status = status
        self._members: dict[str, Checks] = {}
        self._nothing = Checks(changed_s=wall())

    def tick(self, _now: float) -> None:
        """Look at every member. Called ten times a second."""
        now_s, probes = wall(), self._probes()
        members = self._view().members
        for member in members:
            checks = self._members.get(member.name)
            if checks is None:
                checks = self._members[member.name] = Checks(changed_s=now_s)
            probe = probes.get(member.name)
            if probe is not None:
                checks.see(probe, now_s)
            status = self._status(member)
            if status != checks.status:
                checks.status, checks.changed_s = status, now_s
        if len(self._members) > len(members):
            names = {member.name for member in members}
            self._members = {name: checks for name, checks in self._members.items() if name in names}

    def of(self, name: str) -> Checks:
        """Return what was seen of a member."""
        return self._members.get(name, self._nothing)
