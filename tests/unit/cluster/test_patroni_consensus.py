"""Whose word counts when Patronis do not agree: small stories, one question after the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from pgrouter.cluster.patroni_consensus import UNREACHABLE, Agreement, PatroniReport, agree
from pgrouter.cluster.patroni_keys import DcsConfig, DcsMember, Snapshot
from pgrouter.cluster.patroni_rest import Answer

A, B, C = URLS = ("http://a:8008", "http://b:8008", "http://c:8008")
NAMES = dict(zip("abc", URLS, strict=True))
TTL_S = 20


@dataclass
class Room:
    """Patronis that are asked one after the other, half a second for each answer."""

    reports: dict[str, PatroniReport] = field(default_factory=lambda: dict.fromkeys(URLS, PatroniReport()))
    agreed: Agreement | None = None
    now_s: float = 100.0

    def says(self, who: str, leader: str | None, timeline: int = 1, **more: object) -> Room:
        """Have a Patroni answer."""
        url, asked_s = NAMES[who], self.now_s
        self.now_s += 0.5
        members = tuple(DcsMember(name=name, host="h", port=1, timeline=timeline) for name in "abc")
        said = Snapshot(members=members, leader=leader, config=DcsConfig(ttl_s=TTL_S), **more)
        self.reports[url] = self.reports[url].answered(url, Answer(snapshot=said, urls=NAMES), asked_s, self.now_s)
        return self._agree()

    def all_say(self, leader: str | None, timeline: int = 1) -> Room:
        for who in "abc":
            self.says(who, leader, timeline)
        return self

    def fails(self, *names: str) -> Room:
        """Have Patronis not answer, twice."""
        for url in (NAMES[name] for name in names):
            self.reports[url] = self.reports[url].failed("no").failed("no")
        return self._agree()

    def wait(self, seconds: float) -> Room:
        self.now_s += seconds
        return self

    def _agree(self) -> Room:
        self.agreed = agree(self.agreed.snapshot if self.agreed else None, self.reports, self.now_s) or self.agreed
        return self

    @property
    def snapshot(self) -> Snapshot:
        assert self.agreed is not None
        return self.agreed.snapshot

    @property
    def leader(self) -> str | None:
        return self.snapshot.leader


def test_nothing_is_known_before_anybody_has_answered_or_failed() -> None:
    assert agree(None, {}, 1.0) is None or not agree(None, {}, 1.0).snapshot.reachable
    assert Room()._agree().agreed is None
    room = Room().fails("a", "b")
    assert room.agreed is None
    assert room.fails("c").snapshot.trouble == UNREACHABLE
    assert not room.snapshot.reachable


def test_the_first_choice_waits_for_everybody() -> None:
    room = Room().says("a", "a")
    assert room.leader is None
    assert room.snapshot.trouble == f"{B}, {C} not heard yet"
    assert room.agreed.urls == set(URLS)
    assert room.says("b", "b").leader is None
    assert room.says("c", "b").leader == "b"  # two of three
    assert room.snapshot.leader_since_s == room.now_s


def test_one_url_leads_to_all_and_is_not_believed_before_they_have_spoken() -> None:
    room = Room({A: PatroniReport()})
    assert room.says("a", "a").leader is None
    room.reports |= {B: PatroniReport(), C: PatroniReport()}
    assert room.fails("b").leader is None
    assert room.says("c", "a").leader == "a"


def test_a_change_is_believed_from_the_first_one_that_tells_it() -> None:
    room = Room().all_say("a")
    assert room.says("c", None).leader is None
    assert room.says("b", "b").leader == "b"
    since_s = room.snapshot.leader_since_s
    assert room.says("c", "b").leader == "b"
    assert room.says("a", "b").leader == "b"
    assert room.snapshot.leader_since_s == since_s
    assert not room.agreed.doubtful


def test_one_that_is_cut_off_brings_nobody_back() -> None:
    room = Room().all_say("a").says("b", "b").says("c", "b")
    for _ in range(50):
        assert room.says("a", "a").leader == "b"  # for ever what it saw last
        assert room.says("b", "b").says("c", "b").leader == "b"
    assert room.agreed.doubtful


def test_one_that_is_cut_off_brings_nobody_back_when_all_others_have_gone() -> None:
    room = Room().all_say("a").says("b", "b", 1).fails("b", "c")
    while room.now_s < 100 + TTL_S:
        assert room.says("a", "a").leader == "b"


def test_what_was_said_longer_ago_than_a_key_lasts_does_not_count() -> None:
    room = Room().all_say("a").says("b", "b").fails("b", "c").wait(TTL_S + 1)
    assert room.says("a", "a").leader == "a"


def test_a_newer_timeline_is_never_forgotten() -> None:
    room = Room().all_say("a").says("b", "b", 2).fails("b", "c").wait(10 * TTL_S)
    assert room.says("a", "a").leader == "a"  # it is named, but
    assert room.snapshot.timeline == 2  # nobody on timeline 1 gets a write


def test_another_cluster_begins_anew() -> None:
    room = Room().says("a", "a", 9, system_id="1").says("b", "a", 9, system_id="1").says("c", "a", 9, system_id="1")
    assert room.snapshot.timeline == 9
    for who in "abc":
        room.says(who, "a", 1, system_id="2")
    assert (room.leader, room.snapshot.timeline) == ("a", 1)


def test_one_that_is_behind_turns_in_vain() -> None:
    room = Room().all_say("a", 2).says("a", "b", 3).says("b", "c", 4)
    assert room.leader == "c"
    assert room.says("a", "b", 3).says("c", "b", 3).leader == "c"  # these see the reign before
    assert room.snapshot.timeline == 4
    assert room.says("c", None).leader is None  # but whoever says that nobody leads is heard


def test_one_that_is_left_behind_in_the_middle_of_a_change_is_overruled() -> None:
    room = Room().all_say("a").says("a", None).says("b", "b").says("c", None)
    assert room.leader is None  # c turned last
    assert room.says("a", "b").leader == "b"
    assert room.says("c", None).leader == "b"


def test_the_majority_does_not_overrule_what_one_says_of_itself() -> None:
    room = Room().all_say("a").says("b", "b")  # "I lead", and two that are cut off do not know
    assert room.says("a", "a").says("c", "a").says("a", "a").leader == "b"
    room = Room().all_say("a").says("a", None)  # "I do not"
    assert room.says("b", "a").says("c", "a").says("b", "a").leader is None
    assert room.fails("a").says("b", "a").says("c", "a").leader == "a"  # it has gone; the others go on


def test_two_that_do_not_agree() -> None:
    room = Room({A: PatroniReport(), B: PatroniReport()})
    room.agreed = None
    reports = {A: PatroniReport(), B: PatroniReport()}
    urls = {"a": A, "b": B}
    for url, name in ((A, "a"), (B, "b")):
        members = (DcsMember(name=name, host="h", port=1, timeline=1),)
        answer = Answer(snapshot=Snapshot(members=members, leader=name), urls=urls)
        reports[url] = reports[url].answered(url, answer, 1, 2)
    agreed = agree(None, reports, 3)
    assert agreed.snapshot.leader is None
    assert agreed.snapshot.trouble == "Patronis disagree who leads: a, b"
    # The same, when one of them was named before: no turn has been heard, so it stays.
    known = Snapshot(leader="a", leader_since_s=1.0)
    assert agree(known, reports, 3).snapshot.leader == "a"


def test_nobody_answers_any_more() -> None:
    room = Room().all_say("a")
    assert room.fails("a", "b").snapshot.reachable
    assert room.fails("c").snapshot.trouble == UNREACHABLE
    assert (room.leader, room.snapshot.reachable) == ("a", False)
    assert len(room.snapshot.members) == 3
    assert room.says("b", "a").snapshot.reachable
    assert room.snapshot.trouble == ""


def test_a_single_failure_is_nothing() -> None:
    room = Room().all_say("a")
    for url in URLS:
        room.reports[url] = room.reports[url].failed("no")
    assert room._agree().snapshot.reachable


def test_a_leader_counts_as_confirmed_when_more_than_half_have_said_so_since() -> None:
    room = Room().all_say("a")
    assert room.snapshot.heard_s == 100.5  # the second youngest of 100, 100.5 and 101
    room.fails("b", "c").says("a", "a").says("a", "a")
    assert room.snapshot.heard_s == 101.0  # a alone moves its own word only
    room.says("b", "a")
    assert room.snapshot.heard_s == 102.0


def test_the_members_of_the_believed_are_asked() -> None:
    room = Room().all_say("a")
    answer = Answer(snapshot=Snapshot(leader="b"), urls={"b": B, "d": "http://d:8008"})
    room.reports[B] = room.reports[B].answered(B, answer, room.now_s, room.now_s)
    assert room._agree().agreed.urls == {B, "http://d:8008"}
