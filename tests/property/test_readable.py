"""Over any history of views: each member is read from if, and only if, the rule above `cluster.merge` says so.

The rule is said here once more, of the whole history at once, where `merge` has only the last view to go by.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pgrouter.cluster.case import Lag
from pgrouter.cluster.health import LOST_AFTER, UNSTREAMED_AFTER, Probe, ServerReport
from pgrouter.cluster.merge import merge
from pgrouter.cluster.patroni_keys import DcsConfig, DcsMember, Snapshot
from pgrouter.cluster.readable import NEAR_BYTES
from pgrouter.topology import ClusterView, ReplayPoint, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("pg0", "pg1", "pg2")
SYSTEM, OTHER = "7", "8"
MOST_BYTES, MOST_S = 500, 5.0
TAGS = (("noloadbalance", "true"),)

names = st.sampled_from(NAMES)
positions = st.sampled_from((0, 100, 400, 1000, NEAR_BYTES + 50, NEAR_BYTES + 1000))
members = st.tuples(*(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 2)) for _ in NAMES)).map(
    lambda drawn: tuple(
        DcsMember(name=name, host="h", port=number, timeline=timeline, tags=() if tag else TAGS)
        for number, (name, (listed, tag, timeline)) in enumerate(zip(NAMES, drawn, strict=True))
        if listed or tag
    )
)
snapshots = st.builds(
    Snapshot,
    members=members,
    leader=st.none() | names,
    system_id=st.sampled_from(("", SYSTEM, SYSTEM, SYSTEM)),
    timeline=st.sampled_from((0, 0, 1, 2)),
    optime=positions,
    config=st.builds(DcsConfig, paused=st.booleans(), standby_cluster=st.booleans()),
    leased=st.just(True),
)
words = st.builds(
    ServerReport,
    role=st.sampled_from((Role.PRIMARY, Role.REPLICA, Role.REPLICA)),
    system_id=st.sampled_from((SYSTEM,) * 7 + (OTHER,)),
    timeline=st.sampled_from((1, 1, 2)),
    lsn=positions,
    received_lsn=positions,
    streaming=st.booleans(),
    answered_s=st.integers(1, 20).map(float),
)
failures = st.sampled_from(("lost", "gone", "refused", "stalls"))  # gone: for good; stalls: its receiver has ended
REPEATS = {"gone": LOST_AFTER, "stalls": UNSTREAMED_AFTER}
STALLED = ServerReport(role=Role.REPLICA, system_id=SYSTEM, timeline=1, lsn=400, received_lsn=400)
WELL: list[object] = [
    Snapshot(
        members=tuple(DcsMember(name=name, host="h", port=number) for number, name in enumerate(NAMES)),
        leader="pg0",
        system_id=SYSTEM,
    ),
    *(
        (name, ServerReport(role=Role.REPLICA, system_id=SYSTEM, timeline=1, lsn=400, streaming=True))
        for name in NAMES[1:]
    ),
    ("pg0", ServerReport(role=Role.PRIMARY, system_id=SYSTEM, timeline=1, lsn=400)),
]
said = st.tuples(names, words)
some = st.lists(snapshots | said | said | st.tuples(names, failures), max_size=25)
gone = st.sampled_from(([], [Snapshot(members=WELL[0].members, system_id=SYSTEM)], [("pg0", "lost"), ("pg0", "lost")]))
healthy = st.tuples(st.just(WELL), some, gone, some).map(lambda parts: [event for part in parts for event in part])
events = some | healthy
marks = st.dictionaries(names, st.builds(ReplayPoint, st.integers(0, 20).map(float), st.just(0)), max_size=3)
lags = st.tuples(st.sampled_from((0, MOST_BYTES)), st.sampled_from((0.0, MOST_S)), marks).map(
    lambda drawn: Lag(most_bytes=drawn[0], most_s=drawn[1], marks=drawn[2])
)


@dataclass
class Told:
    """All that has been heard, and the views that followed."""

    lag: Lag
    snapshot: Snapshot = field(default_factory=Snapshot)
    probes: dict[str, Probe] = field(default_factory=dict)
    history: list[tuple[ClusterView, dict[str, Probe]]] = field(default_factory=list)

    @property
    def view(self) -> ClusterView:
        return self.history[-1][0] if self.history else ClusterView()

    def hear(self, event: Snapshot | tuple[str, ServerReport | str]) -> None:
        if isinstance(event, Snapshot):
            self.snapshot = event
        else:
            name, said = event
            probe = self.probes.get(name, Probe())
            now_s = 1.0 + len(self.history)
            for _ in range(REPEATS.get(str(said), 1)):
                if said == "stalls":
                    probe = probe.answered(replace(STALLED, asked_s=now_s))
                elif isinstance(said, ServerReport):
                    probe = probe.answered(replace(said, asked_s=now_s))
                else:
                    probe = probe.failed(said, refused=said == "refused", stands=said == "refused")
            self.probes[name] = probe
        self.history.append((merge(self.view, self.snapshot, self.probes, self.lag), dict(self.probes)))

    # -- the rule, by its numbers

    def objections(self, name: str) -> Iterator[int]:
        """Give the numbers of the paragraphs that are against it."""
        view, probe = self.view, self.probes.get(name, Probe())
        report = probe.report
        counts = report is not None and (probe.failures < 2 or (probe.stands and report.role is Role.PRIMARY))
        if report is None or not counts:
            yield 1
            return
        if report.role is Role.PRIMARY or view.system_id not in ("", report.system_id):
            yield 1
        if any(member.name == name and member.tags for member in view.members):
            yield 2
        if self.is_left_behind(name) or (view.primary and not self.streams(view, probe)):
            yield 3
        follows = self.follows(name)
        if follows is False:
            yield 3
        elif follows is None and not self.agrees(name, report, probe):
            yield 4
        if (follows or view.primary) and self.lags(name, report):
            yield 5

    def follows(self, name: str) -> bool | None:
        """Look back to when there last was a primary."""
        for view, probes in reversed(self.history):
            probe = probes.get(name, Probe())
            report = probe.valid_report
            if not any(member.name == name for member in view.members):
                break  # it comes back as one that nobody knows
            if report is not None and (report.role is Role.PRIMARY or view.system_id not in ("", report.system_id)):
                return False
            if view.primary is not None and report is not None:
                leader = probes[view.primary].report
                streams, own_fault = self.streams(view, probe), leader and leader.asked_s >= probe.unstreamed_since_s
                if not streams and not own_fault and probe.timeline == view.timeline:
                    continue  # it may be that the primary had died already
                return streams
            if view.primary is not None and probe.failures >= 2:
                return False
            if (
                view.primary is None
                and report is not None
                and report.streaming
                and probe.timeline >= max(1, view.timeline)
            ):
                return True if view.timeline else None
        return False if self.view.timeline else None

    def streams(self, view: ClusterView, probe: Probe) -> bool:
        return probe.timeline == view.timeline and probe.streamed_timeline > 0 and probe.unstreamed < 3

    def relatives(self) -> list[ServerReport]:
        said = [probe.valid_report for probe in self.probes.values()]
        return [report for report in said if report is not None and self.view.system_id in ("", report.system_id)]

    def is_left_behind(self, name: str) -> bool:
        probe, report = self.probes[name], self.probes[name].report
        if self.view.primary or report is None or (probe.streamed_timeline and probe.unstreamed < 3):
            return False
        return any(o.streaming and o.timeline >= probe.timeline and o.lsn > report.lsn for o in self.relatives())

    def agrees(self, name: str, report: ServerReport, probe: Probe) -> bool:
        key = next((member.timeline for member in self.snapshot.members if member.name == name), 0)
        relatives = self.relatives()
        newest = max(1, self.view.timeline, self.snapshot.timeline, *(each.timeline for each in relatives))
        reached = [each.lsn for each in relatives if each.role is Role.REPLICA]
        behind = max(self.snapshot.optime, self.view.lsn, *reached) - report.lsn
        return (
            max(probe.timeline, key) >= newest
            and len({each.system_id for each in relatives}) == 1
            and (report.streaming or report.received_lsn >= report.lsn)
            and behind <= (self.lag.most_bytes or NEAR_BYTES)
        )

    def lags(self, name: str, report: ServerReport) -> bool:
        view = self.view
        relatives = self.relatives()
        reached = [o.lsn for o in relatives if o.role is Role.REPLICA and o.timeline >= view.timeline]
        tells = view.primary is not None and not self.probes[view.primary].failures
        newest = view.lsn if tells else max(view.lsn, *reached, 0)
        behind = max(0, newest - report.lsn)
        if self.lag.most_bytes and behind > self.lag.most_bytes:
            return True
        mark = self.lag.marks.get(name)
        for_s = 0.0 if not behind else report.answered_s - mark.fresh_s if mark and mark.fresh_s else None
        return bool(self.lag.most_s and self.lag.marks and newest and (for_s is None or for_s > self.lag.most_s))


@given(events, lags)
@settings(max_examples=250, deadline=None)
def test_each_member_is_read_from_if_and_only_if_the_rule_says_so(story: list[object], lag: Lag) -> None:
    told = Told(lag)
    for event in story:
        told.hear(event)
        for member in told.view.members:
            if member.name == told.view.primary:
                assert not member.readable
                continue
            against = sorted(set(told.objections(member.name)))
            assert member.readable == (not against), (member.reason, against, told.view)
            assert member.readable == (member.name in told.view.readers)
            assert member.reason


def test_the_histories_have_all_kinds_of_members() -> None:
    """The property above would hold of views without a reader, too."""
    seen: Counter[object] = Counter()

    @given(events, lags)
    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    def count(story: list[object], lag: Lag) -> None:
        told = Told(lag)
        for event in story:
            told.hear(event)
            for member in told.view.members:
                if member.readable:
                    seen["readable", bool(told.view.primary), member.follows] += 1
                elif member.name != told.view.primary:
                    seen.update(set(told.objections(member.name)))

    count()
    readable = {("readable", True, True), ("readable", False, True), ("readable", False, None)}
    assert readable <= seen.keys()
    assert {1, 2, 3, 4, 5} <= seen.keys()
