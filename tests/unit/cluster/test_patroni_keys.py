"""Patroni's keys as they were recorded from 3.0.2 and 4.1.5, and every kind of garbage."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrouter.cluster.patroni_keys import DcsMember, Snapshot, Switchover, SyncState, decode, is_set

STEADY_4 = {
    "config": '{"ttl":20,"loop_wait":1,"retry_timeout":3,"maximum_lag_on_failover":1048576,"postgresql":{}}',
    "initialize": "7710441312518985579",
    "leader": "pg0",
    "members/pg0": '{"conn_url":"postgres://127.0.0.1:7200/postgres","api_url":"http://127.0.0.1:7210/patroni",'
    '"state":"running","role":"primary","version":"4.1.5","xlog_location":22095256,"timeline":2}',
    "members/pg1": '{"conn_url":"postgres://127.0.0.1:7201/postgres","api_url":"http://127.0.0.1:7211/patroni",'
    '"state":"running","role":"replica","version":"4.1.5","xlog_location":22095256,"replay_lsn":22095200,'
    '"receive_lsn":22095256,"replication_state":"streaming","timeline":2,"tags":{"noloadbalance":true,"nofailover":false}}',
    "status": '{"optime":22095256,"slots":{"pg1":22095256},"retain_slots":["pg0","pg1","pg2"]}',
    "history": '[[1,22094976,"no recovery target specified","2026-11-21T02:44:34.390932+00:00","pg0"]]',
    "failover": "{}",
    "sync": '{"leader":"pg0","quorum":0,"sync_standby":"pg1,pg2"}',
    "failsafe": '{"pg1":"http://127.0.0.1:7211/patroni","pg0":"http://127.0.0.1:7210/patroni"}',
}


def test_the_keys_of_patroni_4() -> None:
    got = decode(STEADY_4)
    assert got.leader == "pg0"
    assert got.system_id == "7710441312518985579"
    assert got.timeline == 2
    assert got.optime == 22095256
    assert got.config.ttl_s == 20
    assert not got.config.paused
    assert got.switchover is None
    assert got.sync == SyncState(leader="pg0", standbys=("pg1", "pg2"))
    assert got.failsafe_members == ("pg0", "pg1")
    first, second = got.members
    assert first == DcsMember(
        name="pg0", host="127.0.0.1", port=7200, role="primary", state="running", timeline=2, replay_lsn=22095256
    )
    assert (second.state, second.replay_lsn) == ("streaming", 22095200)
    assert is_set(second.tags, "noloadbalance")
    assert not is_set(second.tags, "nofailover")
    assert not is_set(second.tags, "nosync")


def test_the_dialect_of_patroni_3() -> None:
    got = decode(
        {
            "leader": "pg0",
            "members/pg0": '{"conn_url":"postgres://127.0.0.1:1/postgres","state":"running","role":"master"}',
            "members/pg1": '{"conn_url":"postgres://127.0.0.1:2/postgres","state":"running","role":"replica"}',
            "status": '{"optime":5}',
        }
    )
    assert [(member.role, member.state) for member in got.members] == [("primary", "running"), ("replica", "running")]
    assert got.optime == 5


def test_the_position_of_patroni_1() -> None:
    assert decode({"optime/leader": "77"}).optime == 77


@pytest.mark.parametrize("role", ["master", "promoted", "primary"])
def test_all_words_for_a_primary(role: str) -> None:
    assert decode({"members/a": json.dumps({"role": role})}).members[0].role == "primary"


def test_a_switchover_that_is_asked_for() -> None:
    asked = decode({"failover": '{"leader":"pg2","member":"pg0"}'}).switchover
    assert asked == Switchover(leader="pg2", candidate="pg0")


def test_pause_and_failsafe() -> None:
    config = decode({"config": '{"pause":true,"failsafe_mode":true,"synchronous_mode":"quorum"}'}).config
    assert (config.paused, config.failsafe, config.synchronous, config.ttl_s) == (True, True, True, 30)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgres://10.0.0.1:5433/postgres", ("10.0.0.1", 5433)),
        ("postgresql://db.example/postgres?application_name=x", ("db.example", 5432)),
        ("postgres://user:secret@[2001:db8::1]:5432/postgres", ("2001:db8::1", 5432)),
        ("http://10.0.0.1:5433/", ("", 0)),
        ("postgres://10.0.0.1:99999/", ("", 0)),
        ("postgres://10.0.0.1:x/", ("", 0)),
        ("postgres://[::1/", ("", 0)),
        ("postgres:///postgres", ("", 0)),
        ("", ("", 0)),
        (17, ("", 0)),
        (None, ("", 0)),
    ],
)
def test_addresses(url: object, address: tuple[str, int]) -> None:
    member = decode({"members/a": json.dumps({"conn_url": url})}).members[0]
    assert (member.host, member.port) == address


def test_nothing_at_all() -> None:
    assert decode({}) == Snapshot()


@pytest.mark.parametrize("key", ["members/", "members", "members/a/b", "members/a\nb", "leaderx"])
def test_keys_that_are_no_member(key: str) -> None:
    assert decode({key: "{}"}).members == ()


@pytest.mark.parametrize(
    "value", ["", "null", "[", "[]", "17", '"x"', "[" * 100_000, "\x00", '{"a":' * 50_000, "9" * 5000]
)
def test_garbage_is_empty(value: str) -> None:
    keys = ("config", "initialize", "history", "failover", "sync", "failsafe", "status", "members/a")
    for key in keys:
        got = decode({key: value})
        assert got.leader is None
        assert got.members in ((), (DcsMember(name="a"),))
        assert got.timeline == 0
        assert got.switchover is None


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "conn_url",
        "role",
        "state",
        "timeline",
        "tags",
        "replay_lsn",
        "replication_state",
        "ttl",
        "pause",
        "leader",
        "member",
    ]
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*STEADY_4, "members/x", "optime/leader"]),
        st.text() | st.builds(json.dumps, ANY_JSON | st.dictionaries(FIELDS, ANY_JSON)),
    )
)
def test_no_value_is_an_exception(keys: dict[str, str]) -> None:
    got = decode(keys)
    assert isinstance(got, Snapshot)
    hash(got)  # immutable all the way down
    assert repr(got).isprintable()
    assert all(0 <= member.port < 65536 and member.timeline >= 0 for member in got.members)


def test_patroni_3_and_4_side_by_side_while_it_is_upgraded() -> None:
    """One member after the other gets the new version; the leader is the last."""
    old = '{"conn_url":"postgres://127.0.0.1:1/postgres","state":"running","role":"%s","xlog_location":7,"timeline":2}'
    keys = STEADY_4 | {"leader": "old", "members/old": old % "master", "members/behind": old % "replica"}
    told = decode(keys)
    assert told.leader == "old"
    assert {member.name: (member.role, member.state) for member in told.members} == {
        "behind": ("replica", "running"),
        "old": ("primary", "running"),
        "pg0": ("primary", "running"),  # its key is late: who leads is told by the leader key alone
        "pg1": ("replica", "streaming"),
    }


def test_a_history_of_thousands_of_lines() -> None:
    lines = [[number, number * 1000, "no recovery target specified"] for number in range(1, 5001)]
    assert decode({"history": json.dumps(lines)}).timeline == 5001
