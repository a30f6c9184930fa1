"""Patronis that lag, freeze, lie dead or are cut off: no answer of theirs brings an old leader back."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgrouter.cluster.health import Probe, ServerReport
from pgrouter.cluster.merge import merge
from pgrouter.cluster.patroni_consensus import Agreement, PatroniReport, agree
from pgrouter.cluster.patroni_keys import DcsConfig, DcsMember, Snapshot
from pgrouter.cluster.patroni_rest import Answer
from pgrouter.topology import ClusterView, Role

NAMES = ("pg0", "pg1", "pg2")
URLS = {name: f"http://{name}:8008" for name in NAMES}
FOR_EVER = 10**6


@dataclass(frozen=True)
class State:
    """The DCS at one moment."""

    reign: int = 0  # number of the last one that has begun
    leader: str | None = "pg0"
    timeline: int = 1
    writes: str = "pg0"  # the server that was promoted last
    old: str | None = None  # one that was primary before, and has not noticed

    def after(self, event: str, name: str) -> State:
        """Give what follows: the key goes, somebody takes it, and is promoted then."""
        if event == "gone" or (event == "taken" and self.leader == name):
            return State(self.reign, None, self.timeline, self.writes, self.old)
        if event == "taken":
            return State(self.reign + 1, name, self.timeline, self.writes, self.old)
        if self.leader is None or self.writes == self.leader:
            return self
        return State(self.reign, self.leader, self.timeline + 1, self.leader, self.writes)

    def answer(self, ttl_s: int) -> Answer:
        """Give what a Patroni that sees this answers."""
        members = tuple(DcsMember(name=name, host="h", port=1, timeline=self.timeline) for name in NAMES)
        said = Snapshot(members=members, leader=self.leader, system_id="7", config=DcsConfig(ttl_s=ttl_s))
        return Answer(snapshot=said, urls=URLS)


@dataclass
class World:
    """The history of a DCS, how far each Patroni has seen it, and what the router makes of their answers."""

    history: list[State] = field(default_factory=lambda: [State()])
    seen: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    reports: dict[str, PatroniReport] = field(default_factory=lambda: {url: PatroniReport() for url in URLS.values()})
    agreed: Agreement | None = None
    now_s: float = 1.0
    ttl_s: int = FOR_EVER
    told: int = 0  # the newest reign that a Patroni with a live view has told as news

    def ask(self, name: str, *, up_to_date: bool, steps: int = 0) -> Snapshot | None:
        last = len(self.history) - 1
        self.seen[name] = last if up_to_date else min(last, self.seen[name] + steps)
        state, url = self.history[self.seen[name]], URLS[name]
        asked_s, self.now_s = self.now_s, self.now_s + 1
        if up_to_date and self.reports[url].leader != state.leader:
            self.told = max(self.told, state.reign)
        self.reports[url] = self.reports[url].answered(url, state.answer(self.ttl_s), asked_s, self.now_s)
        return self._agree()

    def fail(self, name: str) -> Snapshot | None:
        self.reports[URLS[name]] = self.reports[URLS[name]].failed("no")
        return self._agree()

    def _agree(self) -> Snapshot | None:
        self.agreed = agree(self.agreed.snapshot if self.agreed else None, self.reports, self.now_s) or self.agreed
        return self.agreed.snapshot if self.agreed else None


names = st.sampled_from(NAMES)
changes = st.tuples(st.sampled_from(("gone", "taken", "promoted")), names)
asked = st.tuples(st.just("ask"), names)
failed = st.tuples(st.just("fail"), names)
waits = st.tuples(st.just("wait"), names)  # longer than an answer counts
laggards = st.tuples(st.just("lag"), names, st.integers(0, 3))


@given(st.lists(changes | asked | asked | failed, max_size=60), names)
@settings(max_examples=150, deadline=None)
def test_one_that_is_cut_off_never_brings_an_old_leader_back(story: list[tuple[str, ...]], cut_off: str) -> None:
    """The news of a Patroni with a live view are never taken back by one whose view has stopped."""
    world = World()
    for name in NAMES:
        world.ask(name, up_to_date=name != cut_off)
    for event, name in story:
        if event == "ask":
            said = world.ask(name, up_to_date=name != cut_off)
        elif event == "fail":
            said = world.fail(name)
        else:
            world.history.append(world.history[-1].after(event, name))
            continue
        since = [state.leader for state in world.history if state.reign >= world.told]
        assert said.leader in (None, *since)


FORGOTTEN = [
    *(("ask", name) for name in NAMES),
    ("gone", "pg0"),
    ("taken", "pg1"),
    ("promoted", "pg1"),
    ("ask", "pg0"),
    ("wait", "pg0"),
    ("lag", "pg2", 0),
]


@given(st.lists(changes | asked | failed | laggards | waits, max_size=60), names)
@example(FORGOTTEN, "pg1")
@settings(max_examples=150, deadline=None)
def test_whatever_they_show_nobody_writes_on_an_older_timeline_than_was_shown(story: list[tuple], mute: str) -> None:
    """Any number of them may lag, each as it likes; servers that have not noticed go on saying primary, one is mute."""
    world, view = World(ttl_s=3), ClusterView()
    shown = 0
    for event, name, *steps in story:
        if event == "ask":
            said = world.ask(name, up_to_date=True)
        elif event == "lag":
            said = world.ask(name, up_to_date=False, steps=steps[0])
        elif event == "fail":
            said = world.fail(name)
        elif event == "wait":
            world.now_s += world.ttl_s
            continue
        else:
            world.history.append(world.history[-1].after(event, name))
            continue
        if said is None:
            continue
        seen = world.history[world.seen[name]]
        shown = max(shown, seen.timeline if event != "fail" and seen.leader else 0)
        before, view = view, merge(view, said, probes(world, mute))
        assert sum(member.writable for member in view.members) <= 1
        assert view.timeline >= before.timeline
        if view.primary:
            assert view.member(view.primary).timeline >= shown


def probes(world: World, mute: str) -> dict[str, Probe]:
    """Give what the servers say now: the one promoted last, and the one before that, are primaries."""
    state = world.history[-1]
    found = {}
    for name in set(NAMES) - {mute}:
        primary = name in (state.writes, state.old)
        timeline = state.timeline if name != state.old else state.timeline - 1
        role = Role.PRIMARY if primary else Role.REPLICA
        found[name] = Probe().answered(
            ServerReport(role=role, system_id="7", timeline=timeline, streaming=not primary, asked_s=world.now_s)
        )
    return found


@given(st.lists(changes | asked | failed | laggards, max_size=40), names)
@settings(max_examples=100, deadline=None)
def test_when_all_see_the_same_again_it_is_believed(story: list[tuple], leader: str) -> None:
    """Nothing gets stuck: a round in which all answer alike settles it, whatever was before."""
    world = World()
    for event, name, *steps in story:
        if event == "ask":
            world.ask(name, up_to_date=True)
        elif event == "lag":
            world.ask(name, up_to_date=False, steps=steps[0])
        elif event == "fail":
            world.fail(name)
        else:
            world.history.append(world.history[-1].after(event, name))
    for event in ("gone", "taken", "promoted"):
        world.history.append(world.history[-1].after(event, leader))
    for name in NAMES:
        said = world.ask(name, up_to_date=True)
    assert said is not None
    assert (said.leader, said.reachable, said.trouble) == (leader, True, "")
    assert world.agreed is not None
    assert not world.agreed.doubtful
