"""Marks never promise what a replica has not replayed: a world of WAL, moments and answers in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pgrouter.cluster import freshness
from pgrouter.cluster.freshness import Freshness
from pgrouter.cluster.health import Probe, ServerReport
from pgrouter.topology import ClusterView, Member, Role

if TYPE_CHECKING:
    import pytest

NAMES = ("a", "b", "c")
SYSTEM = "7"


@dataclass
class Server:
    """A server's data as the set of writes that it has, in the order of its WAL; a position is their number."""

    wal: list[int] = field(default_factory=list)


@dataclass
class World:
    """A primary that writes, replicas that follow, and a router that hears of it late."""

    now_s: float = 1.0
    timeline: int = 1
    primary: str = "a"
    servers: dict[str, Server] = field(default_factory=lambda: {name: Server() for name in NAMES})
    timelines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 1))
    probes: dict[str, Probe] = field(default_factory=dict)
    asked: list[tuple[str, ServerReport]] = field(default_factory=list)  # answers under way
    answered: dict[int, float] = field(default_factory=dict)  # write -> when the router had the answer
    knows: Freshness = field(default_factory=Freshness)
    writes: int = 0

    def tick(self) -> None:
        self.now_s += 1.0

    def view(self) -> ClusterView:
        members = tuple(Member(name=name, host="h", port=1) for name in NAMES)
        return ClusterView(
            members=members, primary=self.primary, last_leader=self.primary, timeline=self.timeline, system_id=SYSTEM
        )

    # -- what happens

    def write(self) -> None:
        self.writes += 1
        self.servers[self.primary].wal.append(self.writes)
        self.tick()
        self.answered[self.writes] = self.now_s

    def replay(self, name: str, most: int) -> None:
        source, replica = self.servers[self.primary].wal, self.servers[name].wal
        if name != self.primary and self.timelines[name] == self.timeline:
            replica.extend(source[len(replica) : len(replica) + most])

    def ask(self, name: str) -> None:
        """A server answers a question of now; the router will hear it later."""
        self.tick()
        primary = name == self.primary
        report = ServerReport(
            role=Role.PRIMARY if primary else Role.REPLICA,
            system_id=SYSTEM,
            timeline=self.timelines[name],
            lsn=len(self.servers[name].wal),
            streaming=not primary,
            asked_s=self.now_s,
            answered_s=self.now_s,
        )
        self.asked.append((name, report))

    def hear(self, which: int) -> None:
        self.tick()
        if self.asked:
            name, report = self.asked.pop(which % len(self.asked))
            last = self.probes.get(name, Probe())
            if last.report is None or last.report.asked_s < report.asked_s:  # one question at a time to each
                self.probes[name] = last.answered(report)

    def restart(self, name: str, back: int) -> None:
        """A replica was killed and begins again further back; whoever lost a connection to it says so."""
        self.tick()
        if name != self.primary:
            wal = self.servers[name].wal
            del wal[max(0, len(wal) - back) :]
            self.knows.distrust(name, self.now_s)

    def promote(self, name: str) -> None:
        """Another leads; who has less follows it, who has more is rewound later."""
        self.tick()
        self.timeline += 1
        self.primary = name
        wal = self.servers[name].wal
        self.timelines[name] = self.timeline
        for other, server in self.servers.items():
            if server.wal == wal[: len(server.wal)]:
                self.timelines[other] = self.timeline
        lost = set(self.answered) - set(wal)
        for write in lost:
            del self.answered[write]

    def check(self) -> None:
        marks = self.knows.marks(self.view(), self.probes)
        for name, mark in marks.items():
            if name == self.primary or self.timelines[name] != self.timeline:
                continue  # no reader: it does not stream from the primary
            must_have = {write for write, moment in self.answered.items() if moment < mark.fresh_s}
            assert must_have <= set(self.servers[name].wal)
            assert mark.lsn <= len(self.servers[name].wal)


names = st.sampled_from(NAMES)
events = st.one_of(
    st.tuples(st.just("write")),
    st.tuples(st.just("replay"), names, st.integers(1, 5)),
    st.tuples(st.just("ask"), names),
    st.tuples(st.just("hear"), st.integers(0, 9)),
    st.tuples(st.just("restart"), names, st.integers(1, 3)),
    st.tuples(st.just("promote"), names),
)


@given(st.lists(events, max_size=80))
@settings(max_examples=400, deadline=None)
def test_a_mark_is_a_promise_kept(story: list[tuple[Any, ...]]) -> None:
    world = World()
    for what, *more in story:
        getattr(world, what)(*more)
        world.check()


def test_a_mark_follows_what_was_replayed() -> None:
    world = World()
    world.write()
    for name in NAMES:
        world.ask(name)
        world.hear(0)
    marks = world.knows.marks(world.view(), world.probes)
    assert {name: mark.fresh_s for name, mark in marks.items()} == {"b": 0.0, "c": 0.0}
    world.replay("b", 1)
    world.ask("b")
    world.hear(0)
    marks = world.knows.marks(world.view(), world.probes)
    assert marks["b"].fresh_s > world.answered[1] > marks["c"].fresh_s


def test_the_same_position_later_makes_every_mark_younger() -> None:
    world = World()
    world.write()
    world.replay("b", 1)
    for name in ("a", "b", "a"):
        world.ask(name)
        world.hear(0)
        world.check()
    assert world.knows.marks(world.view(), world.probes)["b"].fresh_s == world.probes["a"].report.asked_s


def test_samples_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "MOST_SAMPLES", 64)
    world = World()
    heard: list[float] = []
    for _ in range(400):
        world.write()
        world.ask("a")
        world.hear(0)
        world.check()
    world.replay("b", world.writes // 2)
    for _ in range(3):
        world.replay("b", world.writes // 8)
        world.ask("b")
        world.hear(0)
        heard.append(world.knows.marks(world.view(), world.probes)["b"].fresh_s)
    assert len(world.knows._samples) <= 64
    assert all(earlier < later for earlier, later in pairwise(heard))
