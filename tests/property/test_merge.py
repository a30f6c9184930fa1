"""No sequence of events, lost, repeated or reordered, yields two writable members or an older timeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pgrouter.cluster.health import Probe, ServerReport
from pgrouter.cluster.merge import merge
from pgrouter.cluster.patroni_keys import DcsConfig, DcsMember, Snapshot, Switchover
from pgrouter.cluster.static import elect
from pgrouter.cluster.switchover import DECIDES_S, NONE, hold
from pgrouter.topology import ClusterView, Role

NAMES = ("pg0", "pg1", "pg2")
MEMBERS = {name: DcsMember(name=name, host="127.0.0.1", port=5432 + i) for i, name in enumerate(NAMES)}
SYSTEMS = ("7", "8")

names = st.sampled_from(NAMES)
leaders = st.none() | names
moments = st.integers(0, 40).map(float)
snapshots = st.builds(
    Snapshot,
    members=st.sets(names).map(lambda chosen: tuple(MEMBERS[name] for name in NAMES if name in chosen)),
    leader=leaders,
    system_id=st.sampled_from(("", *SYSTEMS)),
    timeline=st.integers(0, 4),
    config=st.builds(DcsConfig, paused=st.booleans()),
    heard_s=moments,
    leader_since_s=moments,
    reachable=st.booleans(),
    leased=st.booleans(),
    hold=st.sampled_from(("", "a switchover is announced")),
)
words = st.builds(
    ServerReport,
    role=st.sampled_from((Role.PRIMARY, Role.REPLICA)),
    system_id=st.sampled_from(SYSTEMS),
    timeline=st.integers(0, 4),
    lsn=st.integers(0, 3),
    streaming=st.booleans(),
    asked_s=moments,
)
answers = st.tuples(names, words | st.just("failed"))
events = st.lists(snapshots | answers, max_size=40)


@dataclass
class World:
    """Everything that has been heard, in the order in which it arrived."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    probes: dict[str, Probe] = field(default_factory=dict)
    view: ClusterView = field(default_factory=ClusterView)

    def hear(self, event: Snapshot | tuple[str, ServerReport | str]) -> None:
        if isinstance(event, Snapshot):
            self.snapshot = event
            return
        name, report = event
        probe = self.probes.get(name, Probe())
        self.probes[name] = probe.answered(report) if isinstance(report, ServerReport) else probe.failed("refused")


def check(before: ClusterView, world: World) -> None:
    """The invariant, said once more in other words than merge's."""
    view = world.view
    writable = [member.name for member in view.members if member.writable]
    assert writable == ([view.primary] if view.primary else [])
    assert view.primary not in view.readers
    if view.system_id == before.system_id:
        assert view.timeline >= before.timeline
    check_fence(before, world)
    if view.primary is None:
        return
    assert not world.snapshot.hold
    probe = world.probes[view.primary]
    assert probe.failures < 2
    assert probe.report.role is Role.PRIMARY
    assert probe.report.system_id == view.system_id
    assert probe.report.timeline == view.timeline >= max(1, world.snapshot.timeline)
    if world.snapshot.leader != view.primary:
        assert world.snapshot.leader is None
        assert world.snapshot.config.paused
        assert before.last_leader == view.primary
    if before.primary != view.primary:
        assert probe.failures == 0
        assert probe.report.asked_s >= world.snapshot.leader_since_s


def check_fence(before: ClusterView, world: World) -> None:
    """Nobody is fenced who may be written to, who leads, or who says that it is primary."""
    fenced = world.view.fenced
    if fenced is None:
        return
    assert world.view.primary is None
    assert world.snapshot.leader is None
    assert not world.snapshot.config.paused
    assert fenced == before.last_leader
    probe = world.probes.get(fenced, Probe())
    assert probe.valid_report is None or probe.valid_report.role is Role.REPLICA
    assert world.snapshot.leased or probe.valid_report is not None


def check_readers(world: World) -> None:
    for name in world.view.readers:
        report = world.probes[name].report
        assert world.probes[name].failures < 2
        assert report.role is Role.REPLICA
        if world.view.timeline:  # before there was a primary it is assumed, see test_readable.py
            assert world.probes[name].streamed_timeline > 0
        if world.view.primary:
            assert world.probes[name].timeline == world.view.timeline


@given(events)
@settings(max_examples=400, deadline=None)
def test_at_most_one_writable_member_and_never_an_older_timeline(story: list[object]) -> None:
    world = World()
    for event in story:
        world.hear(event)
        before = world.view
        world.view = merge(before, world.snapshot, world.probes)
        check(before, world)
        check_readers(world)


@given(events, st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_the_same_again_changes_nothing(story: list[object], repeats: int) -> None:
    world = World()
    for event in story:
        world.hear(event)
        world.view = merge(world.view, world.snapshot, world.probes)
        for _ in range(repeats):
            assert merge(world.view, world.snapshot, world.probes) is world.view


@given(st.lists(answers, max_size=40))
@settings(max_examples=300, deadline=None)
def test_members_that_elect_by_their_own_words(story: list[object]) -> None:
    world = World()
    for event in story:
        world.hear(event)
        before = world.view
        world.snapshot = elect(tuple(MEMBERS.values()), before, world.probes)
        world.view = merge(before, world.snapshot, world.probes)
        check(before, world)
        again = elect(tuple(MEMBERS.values()), world.view, world.probes)
        assert merge(world.view, again, world.probes) is world.view


@given(events, snapshots, st.sampled_from(NAMES), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_a_healthy_cluster_always_comes_back(story: list[object], last: Snapshot, leader: str, timeline: int) -> None:
    """Whatever happened before: once DCS and server agree, there is a primary again. Nothing gets stuck."""
    world = World()
    for event in story:
        world.hear(event)
        world.view = merge(world.view, world.snapshot, world.probes)
    system_id = last.system_id or "9"
    world.hear(
        replace(
            last,
            members=tuple(MEMBERS.values()),
            leader=leader,
            system_id=system_id,
            heard_s=90.0,
            leader_since_s=90.0,
            hold="",
        )
    )
    world.view = merge(world.view, world.snapshot, world.probes)
    newest = max(world.view.timeline, last.timeline, timeline)
    world.hear((leader, ServerReport(role=Role.PRIMARY, system_id=system_id, timeline=newest, asked_s=91.0)))
    assert merge(world.view, world.snapshot, world.probes).primary == leader


# -- a cluster that really had these leaders, one after the other, of which the news are lost, repeated and reordered


@st.composite
def news(draw: st.DrawFn) -> list[object]:
    """Give what was said in a number of reigns, each on a new timeline, in the order in which it arrives."""
    said: list[object] = []
    now_s, leader = 1.0, "pg0"
    for timeline, following in enumerate(draw(st.lists(names, min_size=1, max_size=6)), 1):
        everybody = Snapshot(
            members=tuple(MEMBERS.values()), system_id="7", timeline=timeline - 1, heard_s=now_s, leader_since_s=now_s
        )
        announced = draw(st.sampled_from(("", "a switchover is announced")))
        said += [replace(everybody, leader=leader, hold=announced), everybody]
        said.append(replace(everybody, leader=following))
        for name in NAMES:
            role = Role.PRIMARY if name in (following, draw(names)) else Role.REPLICA  # a second one says so, too
            on = timeline if name == following else draw(st.integers(max(1, timeline - 1), timeline))
            asked_s = now_s + draw(st.integers(-2, 2))
            said.append((name, ServerReport(role=role, system_id="7", timeline=on, streaming=True, asked_s=asked_s)))
            said.append((name, "failed"))
        leader, now_s = following, now_s + 3
    arrives = draw(st.lists(st.integers(0, len(said) - 1), max_size=60))  # any of it, any number of times
    return [said[index] for index in (sorted(arrives) if draw(st.booleans()) else arrives)]


@given(news())
@settings(max_examples=150, deadline=None)
def test_news_that_are_lost_repeated_and_reordered(story: list[object]) -> None:
    world = World()
    for event in story:
        world.hear(event)
        before = world.view
        world.view = merge(before, world.snapshot, world.probes)
        check(before, world)
        check_readers(world)


# -- announcements, in simulated time

LIMIT_S = 5.0
steps = st.lists(
    st.tuples(st.floats(0, 4), st.sampled_from(("announce", "scheduled", "clear", "other", "nothing", "repeat"))),
    max_size=30,
)


@given(steps)
@settings(max_examples=150, deadline=None)
def test_a_hold_lasts_no_longer_than_its_announcement_and_its_limit(story: list[tuple[float, str]]) -> None:
    now_s = wall_s = 1000.0
    members = tuple(replace(member, replay_lsn=7) for member in MEMBERS.values())
    view, snapshot, due_s = ClusterView(), Snapshot(members=members, leader="pg0"), None
    last, held_s = NONE, None
    probes = {"pg0": Probe().answered(ServerReport(role=Role.PRIMARY, system_id="7", timeline=1, asked_s=now_s))}
    for pause_s, event in story:
        now_s, wall_s = now_s + pause_s, wall_s + pause_s
        if event in ("announce", "scheduled"):
            due_s = now_s if event == "announce" else float(int(now_s)) + 2
            at = "" if event == "announce" else datetime.fromtimestamp(due_s, UTC).isoformat()
            announced = Switchover(leader="pg0", candidate="pg1", scheduled_at=at)
            snapshot = replace(snapshot, switchover=announced, switchover_since_s=now_s)
        elif event in ("clear", "other"):
            due_s = None
            wrong = Switchover(leader="pg2") if event == "other" else None
            snapshot = replace(snapshot, switchover=wrong, switchover_since_s=now_s)
        for moment_s in (now_s, now_s + 1e-6):  # once more, with nothing new
            now = last = hold(snapshot, moment_s, wall_s + moment_s - now_s, LIMIT_S, last)
            view = merge(view, replace(snapshot, hold=now.reason), probes)
        held_s = (now_s if held_s is None else held_s) if view.primary is None else None
        assert held_s is None or now_s <= held_s + LIMIT_S
        may = due_s is not None and due_s <= now_s
        assert may or view.primary == "pg0"
        if due_s is not None and due_s + DECIDES_S + 1e-3 < now_s < due_s + DECIDES_S + 1 and event != "repeat":
            assert view.primary is None or last.over is not None  # it holds at first
        assert view.leader == "pg0"
        if now.until_s is None:
            assert view.primary == "pg0"  # a hold ends by itself
