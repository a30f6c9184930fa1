"""The event sequences recorded from real Patroni clusters, and the view after each event."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pgrouter.cluster.merge import merge
from pgrouter.cluster.patroni_keys import DcsConfig, DcsMember, Snapshot
from pgrouter.cluster.word import LOST_AFTER, SILENT_AFTER, Probe, Word
from pgrouter.topology import ClusterView, Role

SYSTEM = "7710441312518985579"


class Story:
    """Three members; pg0 leads on timeline 2, pg1 and pg2 stream. Each step takes a second."""

    def __init__(self, names: tuple[str, ...] = ("pg0", "pg1", "pg2"), *, steady: bool = True) -> None:
        self.now_s = 100.0
        self.view = ClusterView()
        members = tuple(DcsMember(name=name, host="127.0.0.1", port=7200 + i) for i, name in enumerate(names))
        self.snapshot = Snapshot(members=members, system_id=SYSTEM)
        self.probes: dict[str, Probe] = {}
        if steady:
            self.dcs(leader=names[0])
            self.primary(names[0], 2)
            for name in names[1:]:
                self.replica(name, 2)

    def dcs(self, **changes: object) -> ClusterView:
        """The DCS says something new."""
        self._tick()
        changes.setdefault("heard_s", self.now_s)
        if changes.get("leader") not in (None, self.snapshot.leader):
            changes.setdefault("leader_since_s", self.now_s)
        self.snapshot = replace(self.snapshot, **changes)
        return self._merge()

    def pause(self) -> ClusterView:
        return self.dcs(config=DcsConfig(paused=True))

    def key_gone(self, name: str) -> ClusterView:
        """The lease of a Patroni that held the leader key expires: leader and member go in one revision."""
        return self.dcs(leader=None, members=tuple(each for each in self.snapshot.members if each.name != name))

    def primary(self, name: str, timeline: int, **more: object) -> ClusterView:
        return self.says(name, Role.PRIMARY, timeline, **more)

    def replica(self, name: str, timeline: int, **more: object) -> ClusterView:
        return self.says(name, Role.REPLICA, timeline, **{"streaming": True, **more})

    def says(self, name: str, role: Role, timeline: int, **more: object) -> ClusterView:
        """A server answers."""
        self._tick()
        facts = {"system_id": SYSTEM, "asked_s": self.now_s, "answered_s": self.now_s, "lsn": 1000, **more}
        word = Word(role=role, timeline=timeline, **facts)
        self.probes[name] = self.probes.get(name, Probe()).answered(word)
        return self._merge()

    def fails(self, name: str, times: int = 1) -> ClusterView:
        """A server does not answer."""
        for _ in range(times):
            self._tick()
            self.probes[name] = self.probes.get(name, Probe()).failed("connection refused")
            self._merge()
        return self.view

    def hangs(self, name: str) -> ClusterView:
        """A server gives no sign of life."""
        self._tick()
        self.probes[name] = self.probes.get(name, Probe()).failed("no answer within 3 s", silent=True)
        return self._merge()

    def why(self, name: str) -> str:
        """Why this member is (not) written to or read from."""
        member = self.view.member(name)
        assert member is not None
        return member.reason

    def _tick(self) -> None:
        self.now_s += 1

    def _merge(self) -> ClusterView:
        before = self.view
        self.view = merge(before, self.snapshot, self.probes)
        assert merge(self.view, self.snapshot, self.probes) is self.view, "the same again must change nothing"
        assert sum(member.writable for member in self.view.members) <= 1
        assert (self.view.primary is None) == bool(self.view.no_primary)
        assert all(member.reason for member in self.view.members)
        assert self.view.number - before.number in (0, 1)
        return self.view


def test_steady() -> None:
    story = Story()
    view = story.view
    assert (view.leader, view.primary, view.readers) == ("pg0", "pg0", ("pg1", "pg2"))
    assert (view.timeline, view.system_id) == (2, SYSTEM)
    assert [member.reason for member in view.members] == ["leads", "streams", "streams"]


def test_a_planned_switchover() -> None:
    story = Story()
    story.fails("pg0", LOST_AFTER)  # +0.35 s: Patroni stops it, the key stays until +2.5 s
    assert story.view.primary is None
    assert story.view.leader == "pg0"
    assert story.view.readers == ("pg1", "pg2")
    story.replica("pg1", 2, streaming=False)
    story.replica("pg2", 2, streaming=False)
    story.dcs(leader=None)
    assert story.view.no_primary == "nobody holds the leader key"
    assert story.view.readers == ("pg1", "pg2")
    story.dcs(leader="pg1")
    assert story.view.primary is None  # named, but it answers 25006 for 0.1-0.3 s
    story.replica("pg1", 2, streaming=False)
    assert story.why("pg1") == "leads but is still in recovery"
    story.primary("pg1", 3)
    assert story.view.primary == "pg1"
    assert story.view.readers == ()  # pg2 still ends timeline 2
    story.replica("pg2", 3)
    assert story.view.readers == ("pg2",)
    story.replica("pg0", 3)
    assert story.view.readers == ("pg0", "pg2")


def test_a_crash_with_both_killed() -> None:
    story = Story()
    story.fails("pg0", LOST_AFTER)
    assert story.view.primary is None
    assert "connection refused" in story.view.no_primary
    story.key_gone("pg0")
    assert story.view.member("pg0") is not None  # it led last
    story.dcs(leader="pg2")
    assert story.view.member("pg0") is None
    story.primary("pg2", 3)
    assert story.view.primary == "pg2"


def test_restart_in_place_needs_no_new_name() -> None:
    story = Story()
    story.fails("pg0", LOST_AFTER)
    assert story.view.primary is None
    story.primary("pg0", 2)
    assert story.view.primary == "pg0"


def test_patroni_dies_and_postgres_lives_on() -> None:
    story = Story()
    story.key_gone("pg0")
    assert story.view.primary is None
    story.primary("pg0", 2)
    assert story.view.primary is None
    assert story.why("pg0") == "says it is primary but does not lead: gets nothing"
    story.dcs(leader="pg1")
    story.primary("pg0", 2)
    story.primary("pg1", 3)
    assert story.view.primary == "pg1"
    story.primary("pg0", 2)
    story.primary("pg0", 4)  # whatever it says
    story.dcs()
    assert story.view.primary == "pg1"


def test_failsafe_deletes_and_rewrites_the_key() -> None:
    story = Story()
    story.dcs(leader=None)
    assert (story.view.leader, story.view.primary) == (None, None)
    story.dcs(leader="pg0")
    assert story.view.leader == "pg0"
    assert story.view.primary is None  # its last word is from before
    story.primary("pg0", 2)
    assert story.view.primary == "pg0"


def test_paused_and_only_patroni_dies() -> None:
    story = Story()
    story.pause()
    story.key_gone("pg0")
    assert (story.view.leader, story.view.primary) == (None, "pg0")
    assert story.why("pg0") == "led when the cluster was paused, still says it is primary"
    story.primary("pg1", 3)  # somebody promotes another by hand
    story.dcs()
    assert story.view.primary is None  # the DCS names neither
    story.dcs(leader="pg1")
    story.primary("pg1", 3)
    assert story.view.primary == "pg1"


def test_paused_and_postgres_dies() -> None:
    story = Story()
    story.pause()
    story.fails("pg0", LOST_AFTER)
    story.dcs(leader=None)
    assert story.view.primary is None
    assert story.view.readers == ("pg1", "pg2")
    story.primary("pg0", 2)  # started by hand
    assert story.view.primary == "pg0"


def test_paused_without_a_key_from_the_beginning() -> None:
    story = Story(steady=False)
    story.pause()
    story.primary("pg0", 2)
    assert story.view.primary is None


def test_the_pause_ends_while_nobody_holds_the_key() -> None:
    story = Story()
    story.pause()
    story.key_gone("pg0")
    story.dcs(config=DcsConfig())
    assert story.view.primary is None


def test_etcd_away() -> None:
    story = Story()
    story.dcs(reachable=False, trouble="etcd cannot be reached", heard_s=story.now_s)
    assert story.view.primary == "pg0"
    assert not story.view.dcs_reachable
    assert story.why("pg0") == "led when the DCS was last heard, still says it is primary"
    story.replica("pg0", 2, streaming=False)  # without failsafe mode it demotes itself
    assert story.view.primary is None
    story.primary("pg0", 2)
    assert story.view.primary == "pg0"


def test_another_was_elected_while_etcd_was_away() -> None:
    story = Story()
    story.dcs(reachable=False, trouble="etcd cannot be reached", heard_s=story.now_s)
    story.primary("pg1", 3)
    assert story.view.primary is None
    assert story.view.no_primary == "pg1 says it is primary on a newer timeline, and the DCS has not spoken since"
    story.fails("pg1", LOST_AFTER)  # that it was promoted stays true
    assert story.view.primary is None
    story.dcs(reachable=True, trouble="", leader="pg1")
    story.primary("pg1", 3)
    assert story.view.primary == "pg1"


def test_a_rogue_promotion_is_refused_once_the_dcs_has_spoken() -> None:
    story = Story()
    story.primary("pg1", 3)
    assert story.view.primary is None  # perhaps we just were not told
    story.dcs()
    assert story.view.primary == "pg0"
    assert story.why("pg1") == "says it is primary but does not lead: gets nothing"


def test_what_it_said_before_it_was_named_does_not_count() -> None:
    story = Story()
    story.primary("pg1", 2)
    story.dcs(leader="pg1")
    assert story.view.primary is None
    assert story.view.no_primary == "leads, its own word is awaited"


def test_a_diverged_primary_shows_no_phantoms() -> None:
    story = Story()
    story.fails("pg0", LOST_AFTER)
    story.dcs(leader=None)
    story.replica("pg0", 2, streaming=False)  # restarted as a replica, not rewound yet
    assert story.view.readers == ("pg1", "pg2")
    story.dcs(leader="pg1")
    story.primary("pg1", 3)
    story.replica("pg0", 2, streaming=False)
    assert story.why("pg0") == "is on timeline 2, the primary on 3"
    story.replica("pg0", 3)
    assert story.view.readers == ("pg0",)


@pytest.mark.parametrize("name", ["pg0", "pg1"])
def test_one_failed_probe_changes_nothing(name: str) -> None:
    story = Story()
    before = story.view
    assert story.fails(name) is before


def test_a_replica_that_fails_repeatedly_is_not_read_whatever_the_dcs_says() -> None:
    story = Story()
    story.dcs(members=tuple(replace(each, state="streaming") for each in story.snapshot.members))
    story.fails("pg1", LOST_AFTER)
    assert story.view.readers == ("pg2",)
    assert story.why("pg1") == "does not answer: connection refused"
    story.replica("pg1", 2)
    assert story.view.readers == ("pg1", "pg2")


def test_a_replica_that_stops_streaming() -> None:
    story = Story()
    for _ in range(2):
        assert story.replica("pg1", 2, streaming=False).readers == ("pg1", "pg2")
    assert story.replica("pg1", 2, streaming=False).readers == ("pg2",)
    assert story.why("pg1") == "does not stream"


def test_a_replica_whose_key_expired_is_read_while_it_streams() -> None:
    story = Story()
    story.dcs(members=story.snapshot.members[:1])
    assert story.view.readers == ("pg1", "pg2")
    story.fails("pg2", LOST_AFTER)
    assert story.view.member("pg2") is None


def test_noloadbalance() -> None:
    story = Story()
    tagged = replace(story.snapshot.members[1], tags=(("noloadbalance", "true"),))
    story.dcs(members=(story.snapshot.members[0], tagged, story.snapshot.members[2]))
    assert story.view.readers == ("pg2",)
    assert story.why("pg1") == "tagged noloadbalance"


@pytest.mark.parametrize("role", [Role.PRIMARY, Role.REPLICA])
def test_a_server_of_another_cluster(role: Role) -> None:
    story = Story()
    story.says("pg0", role, 2, system_id="1", streaming=True)
    assert story.view.primary is None
    assert "another cluster" in story.why("pg0")
    story.says("pg1", role, 2, system_id="1", streaming=True)
    assert story.view.readers == ("pg2",)


def test_an_older_timeline_is_refused() -> None:
    story = Story()
    story.dcs(leader="pg1")
    story.primary("pg1", 3)
    story.dcs(leader="pg0")
    story.primary("pg0", 2)
    assert story.view.primary is None
    assert story.view.no_primary == "is on timeline 2, but 3 is in use"


def test_the_history_key_forbids_older_timelines_too() -> None:
    story = Story(steady=False)
    story.dcs(leader="pg0", timeline=3)
    story.primary("pg0", 2)
    assert story.view.primary is None
    story.primary("pg0", 3)
    assert story.view.primary == "pg0"


def test_a_cluster_made_anew_starts_again_at_timeline_1() -> None:
    story = Story()
    story.dcs(system_id="8", leader=None)
    story.dcs(leader="pg0")
    story.primary("pg0", 1, system_id="8")
    assert (story.view.primary, story.view.timeline, story.view.system_id) == ("pg0", 1, "8")


def test_a_standby_cluster_is_read_only() -> None:
    story = Story(steady=False)
    story.dcs(leader="pg0", config=DcsConfig(standby_cluster=True))
    story.replica("pg0", 4)
    story.replica("pg1", 4)
    assert story.view.primary is None
    assert story.view.no_primary == "leads a standby cluster"
    assert story.view.readers == ("pg0", "pg1")


def test_a_leader_without_a_member_key() -> None:
    story = Story(steady=False)
    story.dcs(leader="pg9")
    assert story.view.no_primary == "pg9 is named as leader but has no address"


def test_a_key_that_loses_its_address_keeps_the_old_one() -> None:
    story = Story()
    before = story.view
    assert story.dcs(members=tuple(DcsMember(name=each.name) for each in story.snapshot.members)) is before


def test_only_positions_differ() -> None:
    story = Story()
    before = story.view
    story.primary("pg0", 2, lsn=5000)
    assert story.view is not before
    assert (story.view.number, story.view.reason) == (before.number, before.reason)
    assert [member.lag_bytes for member in story.view.members] == [None, 4000, 4000]


def test_the_reason_of_a_view_says_what_changed() -> None:
    story = Story()
    story.dcs(leader=None)
    assert story.view.reason.startswith("primary pg0 -> none (nobody holds the leader key); leader pg0 -> none")


def test_no_lag_without_a_primary() -> None:
    story = Story()
    story.dcs(leader=None)
    assert [member.lag_bytes for member in story.view.members] == [None, None, None]


def test_a_single_member() -> None:
    story = Story(("only",))
    assert (story.view.primary, story.view.readers) == ("only", ())


def test_an_announced_switchover_holds_writes_and_cuts_nobody() -> None:
    story = Story()
    story.dcs(handover="a switchover from pg0 to pg1 is announced")
    assert (story.view.primary, story.view.leader, story.view.fenced) == (None, "pg0", None)
    assert story.view.no_primary == "a switchover from pg0 to pg1 is announced"
    assert story.view.readers == ("pg1", "pg2")
    story.primary("pg0", 2)
    assert story.view.primary is None
    story.fails("pg0", LOST_AFTER)
    assert "connection refused" in story.view.no_primary
    story.dcs(leader="pg1", handover="")
    story.primary("pg1", 3)
    assert story.view.primary == "pg1"


def test_a_refused_switchover_lets_writes_go_on_at_once() -> None:
    story = Story()
    story.dcs(handover="a switchover from pg0 is announced")
    story.dcs(handover="")  # no new word is awaited: the reign has not ended
    assert story.view.primary == "pg0"


def test_paused_and_an_announced_switchover() -> None:
    story = Story()
    story.pause()
    story.dcs(handover="a switchover from pg0 to pg1 is announced")
    assert story.view.primary is None
    story.dcs(handover="")
    assert story.view.primary == "pg0"


@pytest.mark.parametrize("silence", ["frozen", "a replica"])
def test_the_key_is_gone_and_the_old_leader_is_no_primary(silence: str) -> None:
    story = Story()
    story.key_gone("pg0")
    assert story.view.fenced is None  # failsafe rewrites the key within 0.1 s
    if silence == "frozen":
        story.fails("pg0")
        assert story.view.fenced is None  # one slow probe
        story.fails("pg0")
    else:
        story.replica("pg0", 2, streaming=False)
    assert (story.view.fenced, story.view.leader) == ("pg0", None)
    story.dcs(leader="pg0")
    assert story.view.fenced is None


def test_nobody_is_fenced_by_silence_while_the_key_is_there() -> None:
    story = Story()
    story.fails("pg0", LOST_AFTER)
    assert story.view.fenced is None


def test_paused_keeps_the_sessions_of_its_silent_primary() -> None:
    story = Story()
    story.pause()
    story.key_gone("pg0")
    story.fails("pg0", LOST_AFTER)
    assert (story.view.primary, story.view.fenced) == (None, None)


def test_a_silent_member_is_named_after_five_questions() -> None:
    story = Story()
    for _ in range(SILENT_AFTER - 1):
        story.hangs("pg1")
    assert story.view.silent == ()
    story.hangs("pg1")
    assert (story.view.silent, story.view.primary) == (("pg1",), "pg0")
    story.fails("pg1")  # refused: something lives there
    assert story.view.silent == ()
    for _ in range(SILENT_AFTER):
        story.hangs("pg1")
    story.replica("pg1", 2)
    assert (story.view.silent, story.view.readers) == ((), ("pg1", "pg2"))


def test_without_a_dcs_silence_fences_nobody() -> None:
    story = Story()
    story.dcs(leader=None, leased=False)
    story.fails("pg0", LOST_AFTER)
    assert story.view.fenced is None
    story.replica("pg0", 2, streaming=False)
    assert story.view.fenced == "pg0"
