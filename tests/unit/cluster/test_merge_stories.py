"""The event sequences recorded from real Patroni clusters, and the view after each event."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pgrouter.cluster.case import Lag
from pgrouter.cluster.health import LOST_AFTER, SILENT_AFTER, UNSTREAMED_AFTER, Probe, ServerReport
from pgrouter.cluster.merge import merge
from pgrouter.cluster.patroni_keys import DcsConfig, DcsMember, Snapshot
from pgrouter.cluster.readable import ASSUMED, NEAR_BYTES
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
        self.lag = Lag()
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
        word = ServerReport(role=role, timeline=timeline, **facts)
        self.probes[name] = self.probes.get(name, Probe()).answered(word)
        return self._merge()

    def fails(self, name: str, times: int = 1) -> ClusterView:
        """A server does not answer."""
        for _ in range(times):
            self._tick()
            self.probes[name] = self.probes.get(name, Probe()).failed("connection refused")
            self._merge()
        return self.view

    def refuses(self, name: str, *, vouched: bool = False) -> ClusterView:
        """A server lets nobody in, but it runs; `vouched`: open connections go on there."""
        self._tick()
        error, vouched_s = "FATAL:  sorry, too many clients already", self.now_s if vouched else 0.0
        probe = self.probes.get(name, Probe())
        self.probes[name] = probe.failed(error, refused=True, stands=True, vouched_s=vouched_s)
        return self._merge()

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
        self.view = merge(before, self.snapshot, self.probes, self.lag)
        assert merge(self.view, self.snapshot, self.probes, self.lag) is self.view, "the same again must change nothing"
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
    assert story.view.no_primary == (
        "pg0 leads, but pg1 says it is primary on a newer timeline, and the DCS has not spoken since"
    )
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
    assert story.view.no_primary == "pg1 is named as leader, but has not said yet that it is primary"


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
    assert story.view.no_primary == "pg0 is on timeline 2, but 3 is in use"


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
    assert story.view.no_primary == "pg0 leads a standby cluster"
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


def test_without_a_primary_lag_is_measured_from_the_last_known_position() -> None:
    story = Story()
    story.primary("pg0", 2, lsn=1500)
    story.key_gone("pg0")
    story.fails("pg0", LOST_AFTER)
    story.replica("pg2", 2, lsn=1700)  # has received more than the primary had told
    assert [member.lag_bytes for member in story.view.members] == [700, 0, None]


def test_a_single_member() -> None:
    story = Story(("only",))
    assert (story.view.primary, story.view.readers) == ("only", ())


def test_an_announced_switchover_holds_writes_and_cuts_nobody() -> None:
    story = Story()
    story.dcs(hold="a switchover from pg0 to pg1 is announced")
    assert (story.view.primary, story.view.leader, story.view.fenced) == (None, "pg0", None)
    assert story.view.no_primary == "pg0 leads, but a switchover from pg0 to pg1 is announced"
    assert story.view.readers == ("pg1", "pg2")
    story.primary("pg0", 2)
    assert story.view.primary is None
    story.fails("pg0", LOST_AFTER)
    assert "connection refused" in story.view.no_primary
    story.dcs(leader="pg1", hold="")
    story.primary("pg1", 3)
    assert story.view.primary == "pg1"


def test_a_refused_switchover_lets_writes_go_on_at_once() -> None:
    story = Story()
    story.dcs(hold="a switchover from pg0 is announced")
    story.dcs(hold="")  # no new word is awaited: the reign has not ended
    assert story.view.primary == "pg0"


def test_paused_and_an_announced_switchover() -> None:
    story = Story()
    story.pause()
    story.dcs(hold="a switchover from pg0 to pg1 is announced")
    assert story.view.primary is None
    story.dcs(hold="")
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


def test_a_silent_member_is_named_after_some_questions() -> None:
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


# -- reads while there is no primary


def without_receiver(story: Story, name: str, **more: object) -> None:
    for _ in range(UNSTREAMED_AFTER):
        story.replica(name, 2, streaming=False, **more)
        if story.view.primary is not None:
            story.primary(story.view.primary, story.view.timeline)


def test_who_was_put_aside_stays_aside_when_the_key_goes() -> None:
    story = Story()
    without_receiver(story, "pg1")
    assert story.view.readers == ("pg2",)
    story.key_gone("pg0")
    story.fails("pg0", LOST_AFTER)
    for _ in range(9):
        without_receiver(story, "pg1")
    assert story.view.readers == ("pg2",)
    assert story.why("pg1") == "does not stream, and did not when there last was a primary"
    without_receiver(story, "pg2")  # it has nobody to stream from any more
    assert story.view.readers == ("pg2",)
    story.replica("pg1", 2)  # streams again, from a primary that is not named yet, say
    assert story.view.readers == ("pg1", "pg2")


@pytest.mark.parametrize("seen_first", ["the receivers' end", "the primary's"])
def test_a_crash_is_not_held_against_those_whose_streams_it_ends(seen_first: str) -> None:
    story = Story()
    story.primary("pg0", 2)
    if seen_first != "the receivers' end":
        story.fails("pg0", LOST_AFTER)
    for name in ("pg1", "pg2"):
        for _ in range(UNSTREAMED_AFTER + 1):
            story.replica(name, 2, streaming=False)
    story.fails("pg0", LOST_AFTER)
    assert (story.view.primary, story.view.readers) == (None, ("pg1", "pg2"))


def test_a_stream_that_ends_while_the_primary_is_known_by_its_open_connections() -> None:
    story = Story()
    story.refuses("pg0", vouched=True)
    for _ in range(UNSTREAMED_AFTER):
        story.replica("pg1", 2, streaming=False)
        story.refuses("pg0", vouched=True)
    story.fails("pg0", LOST_AFTER)
    assert (story.view.primary, story.view.readers) == (None, ("pg2",))


def test_who_did_not_answer_while_there_was_a_primary_is_not_read_when_it_comes_back() -> None:
    story = Story()
    story.fails("pg1", LOST_AFTER)
    story.key_gone("pg0")
    story.replica("pg1", 2, streaming=False)
    assert story.view.readers == ("pg2",)
    story.fails("pg2", LOST_AFTER)
    story.replica("pg2", 2, streaming=False)  # this one followed
    assert story.view.readers == ("pg2",)


def test_limits_to_the_lag_hold_without_a_primary() -> None:
    story = Story()
    story.lag = Lag(most_bytes=100)
    story.primary("pg0", 2, lsn=1100)
    assert story.view.readers == ("pg1", "pg2")
    story.primary("pg0", 2, lsn=1101)
    assert story.view.readers == ()
    story.key_gone("pg0")
    story.fails("pg0", LOST_AFTER)
    assert story.view.readers == ()
    story.replica("pg1", 2, lsn=1050, streaming=False)
    assert story.view.readers == ("pg1",)
    assert story.why("pg2") == "lags more than reads.max_lag_bytes"
    story.dcs(leader="pg1")
    story.primary("pg1", 3, lsn=1200)
    story.replica("pg2", 3, lsn=1150)
    assert story.view.readers == ("pg2",)


def test_a_replica_at_another_address_has_to_be_seen_to_stream() -> None:
    story = Story()
    story.key_gone("pg0")
    moved = replace(story.snapshot.members[0], port=9999)
    del story.probes["pg1"]  # as the monitor does
    story.dcs(members=(moved, *story.snapshot.members[1:]))
    story.replica("pg1", 2, streaming=False)
    assert story.view.readers == ("pg2",)


def test_a_former_primary_does_not_follow() -> None:
    story = Story()
    story.key_gone("pg0")
    story.replica("pg0", 2, streaming=False, received_lsn=1000)
    assert story.view.readers == ("pg1", "pg2")
    story.replica("pg0", 2)
    assert story.view.readers == ("pg1", "pg2", "pg0")


def started_without_a_primary(**snapshot: object) -> Story:
    story = Story(steady=False)
    story.dcs(**snapshot)
    story.fails("pg0", LOST_AFTER)
    story.replica("pg1", 2, streaming=False, received_lsn=1000)
    story.replica("pg2", 2, streaming=False, received_lsn=1000)
    return story


def test_a_router_that_starts_without_a_primary_serves_reads() -> None:
    story = started_without_a_primary()
    assert (story.view.primary, story.view.readers) == (None, ("pg1", "pg2"))
    assert story.why("pg1") == ASSUMED
    story.dcs(leader="pg1")
    story.primary("pg1", 3)
    assert story.view.readers == ()
    story.replica("pg2", 3)
    assert story.view.readers == ("pg2",)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ({"timeline": 1}, "is on timeline 1, but 2 is in use"),
        ({"received_lsn": 512}, "has not streamed since it was started: may be a former primary"),
        ({"lsn": 900, "received_lsn": 1000}, ""),
        ({"lsn": 0}, ""),  # far behind, but less than a segment
        ({"system_id": "8"}, "belongs to another cluster"),
    ],
)
def test_of_whom_too_little_is_known_is_not_read(word: dict[str, object], why: str) -> None:
    story = started_without_a_primary()
    facts = {"timeline": 2, "streaming": False, "received_lsn": 1000, **word}
    story.says("pg2", Role.REPLICA, **facts)
    assert story.view.readers == (("pg1",) if why else ("pg1", "pg2"))
    assert story.why("pg2").startswith(why or ASSUMED)


@pytest.mark.parametrize("told", [{"optime": 1000 + NEAR_BYTES + 1}, {"timeline": 3}])
def test_what_the_dcs_knows_of_positions_and_history_counts_at_the_start(told: dict[str, int]) -> None:
    assert started_without_a_primary(**told).view.readers == ()


def test_patroni_knows_the_timeline_of_a_replica_that_had_no_restartpoint_since_the_last_failover() -> None:
    """Its control file shows the one before, and its receiver has gone with the primary."""
    story = started_without_a_primary(timeline=3)
    assert story.why("pg1") == "is on timeline 2, but 3 is in use"
    story.dcs(members=tuple(replace(key, timeline=0 if key.name == "pg2" else 3) for key in story.snapshot.members))
    assert story.view.readers == ("pg1",)


def test_members_of_two_clusters_and_nobody_who_says_which_is_ours() -> None:
    story = Story(steady=False)
    story.dcs(system_id="", leased=False)
    story.replica("pg1", 2, received_lsn=1000)
    assert story.view.readers == ("pg1",)
    story.replica("pg2", 2, received_lsn=1000, system_id="8")
    assert story.view.readers == ()
    assert "different system identifiers" in story.why("pg1")


def test_a_standby_cluster_does_not_read_from_who_stands_still() -> None:
    story = Story(steady=False)
    story.dcs(leader="pg0", config=DcsConfig(standby_cluster=True))
    for name in ("pg0", "pg1", "pg2"):
        story.replica(name, 4, received_lsn=1000)
    assert story.view.readers == ("pg0", "pg1", "pg2")
    for _ in range(UNSTREAMED_AFTER):
        story.replica("pg2", 4, streaming=False, received_lsn=1000)
    assert story.view.readers == ("pg0", "pg1", "pg2")  # the others are no further
    story.replica("pg1", 4, lsn=2000, received_lsn=2000)
    assert story.view.readers == ("pg0", "pg1")
    assert story.why("pg2") == "does not stream, while another replica does and is ahead"


def test_a_standby_cluster_is_promoted() -> None:
    story = Story(steady=False)
    story.dcs(leader="pg0", config=DcsConfig(standby_cluster=True))
    story.replica("pg0", 4)
    story.replica("pg1", 4)
    story.dcs(config=DcsConfig())
    assert story.view.no_primary == "pg0 leads but is still in recovery"
    assert story.view.readers == ("pg0", "pg1")
    story.primary("pg0", 5)
    assert (story.view.primary, story.view.readers) == ("pg0", ())
    story.replica("pg1", 5)
    assert story.view.readers == ("pg1",)


def test_a_replica_rebuilt_under_its_name_as_a_server_of_another_cluster() -> None:
    story = Story()
    for _ in range(2):
        story.replica("pg1", 1, system_id="8")
        assert story.view.readers == ("pg2",)
        assert "belongs to another cluster" in story.why("pg1")
        story.key_gone("pg0")
    story.replica("pg1", 2, streaming=False)  # rebuilt once more, from a backup of ours
    assert story.view.readers == ("pg2",)
    story.replica("pg1", 2)
    assert story.view.readers == ("pg1", "pg2")


def test_a_cascading_replica_whose_upstream_dies() -> None:
    story = Story()
    story.fails("pg1", LOST_AFTER)  # pg2 streams from it
    without_receiver(story, "pg2")
    assert story.view.readers == ()
    story.key_gone("pg0")
    assert story.view.readers == ()
    story.replica("pg2", 2)
    assert story.view.readers == ("pg2",)


# -- one server, several names


def keys(story: Story, *names: str, port: int, **tags: str) -> tuple[DcsMember, ...]:
    """Give the members without pg2, and these names at its address."""
    new = (DcsMember(name=name, host="127.0.0.1", port=port, tags=tuple(tags.items())) for name in names)
    return (*story.snapshot.members[:2], *new)


def test_a_member_that_comes_back_under_another_name_leaves_no_ghost() -> None:
    story = Story()
    story.dcs(members=keys(story, "new", port=7202, noloadbalance="true"))
    assert [member.name for member in story.view.members] == ["pg0", "pg1", "new"]
    story.replica("new", 2)
    assert story.view.readers == ("pg1",)
    assert story.why("new") == "tagged noloadbalance"


def test_the_ghost_is_known_by_its_postmaster_too() -> None:
    story = Story()
    story.replica("pg2", 2, started="1700000000000001")
    story.dcs(members=(*story.snapshot.members[:2], DcsMember(name="new", host="pg2.example", port=7202)))
    assert story.view.member("pg2") is not None
    story.replica("new", 2, started="1700000000000001")
    assert story.view.member("pg2") is None
    assert story.view.readers == ("pg1", "new")


def test_two_keys_of_one_server_are_one_reader_with_the_tags_of_both() -> None:
    story = Story()
    both = keys(story, "new", port=7202)
    story.dcs(members=(*both, story.snapshot.members[2]))
    story.replica("new", 2)
    assert story.view.readers == ("pg1", "new")
    assert story.why("pg2") == "is the same server as new"
    tagged = replace(story.snapshot.members[3], tags=(("noloadbalance", "true"),))
    story.dcs(members=(*both, tagged))
    assert story.view.readers == ("pg1",)


def test_a_reader_stays_one_under_its_new_name_without_a_primary() -> None:
    story = Story()
    story.key_gone("pg0")
    story.dcs(members=(*story.snapshot.members[:1], DcsMember(name="new", host="127.0.0.1", port=7202)))
    story.replica("new", 2, streaming=False)
    assert story.view.readers == ("pg1", "new")


def test_a_paused_primary_under_another_name() -> None:
    story = Story()
    story.pause()
    renamed = DcsMember(name="new", host="127.0.0.1", port=7200)
    story.dcs(leader=None, members=(renamed, *story.snapshot.members[1:]))
    story.primary("new", 2)
    assert (story.view.primary, story.view.last_leader) == ("new", "new")


# -- refusals are answers


def test_a_leader_that_refuses_more_connections_goes_on() -> None:
    story = Story()
    before = story.view
    for _ in range(9):
        story.refuses("pg0")
        assert (story.view.primary, story.view.number) == ("pg0", before.number + (story.probes["pg0"].failures > 1))
    assert story.why("pg0").startswith("refuses the login of cluster.monitor.user: FATAL:  sorry, too many clients")
    story.key_gone("pg0")
    assert (story.view.primary, story.view.fenced) == (None, None)
    story.dcs(leader="pg0")
    assert story.view.primary is None  # it must speak again
    story.refuses("pg0", vouched=True)  # its open connections do
    assert story.view.primary == "pg0"
    story.fails("pg0")
    assert story.view.primary is None


def test_lag_behind_a_primary_that_refuses_is_measured_from_the_furthest_replica() -> None:
    story = Story()
    story.lag = Lag(most_bytes=100)
    story.refuses("pg0")
    story.refuses("pg0")
    story.replica("pg1", 2, lsn=1200)
    assert (story.view.primary, story.view.readers) == ("pg0", ("pg1",))
    assert story.why("pg2") == "lags more than reads.max_lag_bytes"


def test_a_replica_that_refuses_may_be_any_distance_behind() -> None:
    story = Story()
    story.refuses("pg1")
    assert story.view.readers == ("pg1", "pg2")
    story.refuses("pg1")
    assert story.view.readers == ("pg2",)
    assert story.view.silent == ()
