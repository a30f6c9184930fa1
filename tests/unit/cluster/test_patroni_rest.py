"""Patroni's answers as recorded from 3.0.2 and 4.1.5 (three members, pg1 leads), and every kind of garbage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.cluster.patroni_keys import Snapshot, Switchover, SyncState, is_set
from pgrouter.cluster.patroni_rest import MOST_MEMBERS, Answer, NotPatroniError, base_url, read_answer

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "patroni_answers.json").read_text())
versions = pytest.mark.parametrize("version", RECORDED)


def read(version: str, state: str = "steady", *others: str) -> Answer:
    bodies = {name: json.dumps(RECORDED[version][name]).encode() for name in (state, *others)}
    return read_answer(bodies.pop(state), **bodies)


@versions
def test_a_steady_cluster(version: str) -> None:
    answer = read(version, "steady", "config", "history", "patroni")
    got = answer.snapshot
    assert got.leader == "pg1"
    assert [member.name for member in got.members] == ["pg0", "pg1", "pg2"]
    for member, told in zip(got.members, RECORDED[version]["steady"]["members"], strict=True):
        assert (member.host, member.port) == ("127.0.0.1", told["port"])
        assert member.state == told["state"]
        assert member.timeline == told["timeline"]
        assert member.role == ("primary" if member.name == "pg1" else "replica")
        assert answer.urls[member.name] + "/patroni" == told["api_url"]
    assert got.system_id == "7712432481460505227"
    assert got.config.ttl_s == 5
    assert got.config.failsafe
    assert not got.config.paused
    assert not got.config.standby_cluster
    assert got.timeline == 2
    assert got.switchover is None
    assert got.sync == SyncState()
    assert answer.scope == ("demo" if version == "4.1.5" else "")


@versions
def test_cluster_alone_is_enough(version: str) -> None:
    got = read(version).snapshot
    assert (got.leader, got.system_id, got.timeline, got.config.ttl_s) == ("pg1", "", 0, 30)


@versions
def test_pause(version: str) -> None:
    assert read(version, "paused").snapshot.config.paused
    assert read(version, "paused", "config").snapshot.config.paused  # /config may be older than /cluster
    assert not read(version, "steady", "config").snapshot.config.paused


@versions
def test_a_scheduled_switchover(version: str) -> None:
    asked = Switchover(leader="pg1", scheduled_at="2030-01-01T02:00:00+00:00")
    assert read(version, "scheduled").snapshot.switchover == asked


def test_a_leader_that_stops_has_no_position() -> None:
    answers = {state: read_answer(cluster(role="leader", state=state)) for state in ("running", "stopping")}
    states = {state: answer.snapshot.members[0] for state, answer in answers.items()}
    assert bool(states["running"].replay_lsn)
    assert not states["stopping"].replay_lsn


@versions
def test_synchronous_replicas(version: str) -> None:
    state = "quorum" if version == "4.1.5" else "sync"
    got = read(version, state).snapshot
    standbys = ("pg0", "pg2") if state == "quorum" else ("pg0",)
    assert got.sync == SyncState(leader="pg1", standbys=standbys)
    assert got.members[0].role == f"{state}_standby"


@versions
def test_tags(version: str) -> None:
    tags = read(version, "tags").snapshot.members[0].tags
    assert tags == (("nofailover", "true"), ("noloadbalance", "true"), ("zone", "a"))
    assert is_set(tags, "noloadbalance")


@versions
def test_nobody_leads(version: str) -> None:
    got = read(version, "leaderless", "config").snapshot
    assert got.leader is None
    assert [member.name for member in got.members] == ["pg0", "pg2"]
    assert got.sync == SyncState()


def cluster(**member: object) -> bytes:
    return json.dumps({"members": [{"name": "a", "host": "h", "port": 5, "role": "replica", **member}]}).encode()


def test_a_standby_cluster_is_told_by_its_leaders_role() -> None:
    old = b'{"standby_cluster": {"host": "x"}}'
    assert read_answer(cluster(role="standby_leader")).snapshot.config.standby_cluster
    assert read_answer(cluster(role="standby_leader")).snapshot.leader == "a"
    assert not read_answer(cluster(role="leader"), old).snapshot.config.standby_cluster  # promoted since
    assert read_answer(cluster(), old).snapshot.config.standby_cluster


@pytest.mark.parametrize(
    ("member", "address"),
    [
        ({}, ("h", 5)),
        ({"port": None}, ("h", 5432)),
        ({"host": "::1"}, ("::1", 5)),
        ({"host": None}, ("", 0)),
        ({"port": "x"}, ("", 0)),
        ({"port": 99999}, ("", 0)),
        ({"host": {}}, ("", 0)),
    ],
)
def test_addresses(member: dict[str, object], address: tuple[str, int]) -> None:
    (got,) = read_answer(cluster(**member)).snapshot.members
    assert (got.host, got.port) == address


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8008/patroni", "http://127.0.0.1:8008"),
        ("https://PG1.example/patroni", "https://pg1.example:443"),
        ("http://[::1]:8008/patroni", "http://[::1]:8008"),
        ("pg1:8008", "http://pg1:8008"),
        ("pg1", "http://pg1:80"),
        ("ftp://pg1:8008", ""),
        ("http://pg1:x", ""),
        ("http://pg1:8008\r\nX: y", ""),
        ("http://[::1", ""),
        ("", ""),
    ],
)
def test_the_url_of_a_patroni(url: str, base: str) -> None:
    assert base_url(url, "http") == base


def test_a_member_without_a_url_that_can_be_asked() -> None:
    assert read_answer(cluster(api_url="file:///etc/passwd")).urls == {}
    assert read_answer(cluster(api_url="pg1:8008")).urls == {}
    assert read_answer(cluster(api_url=5)).urls == {}


def test_a_list_without_end_is_cut() -> None:
    members = [{"name": f"m{number}"} for number in range(MOST_MEMBERS * 2)]
    assert len(read_answer(json.dumps({"members": members}).encode()).snapshot.members) == MOST_MEMBERS


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"members": {}}', b"<html>", b"\xff", b'{"members": [', b"[" * 100_000]
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(NotPatroniError):
        read_answer(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["leader", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(["name", "role", "state", "host", "port", "api_url", "timeline", "tags", "lag"])
members = st.lists(st.dictionaries(fields, json_values, max_size=9) | json_values, max_size=4)
clusters = st.fixed_dictionaries(
    {"members": members},
    optional={"pause": json_values, "scheduled_switchover": json_values, "scope": json_values},
)


@given(clusters, st.binary(max_size=20) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_never_raises(cluster: dict[str, object], other: bytes) -> None:
    answer = read_answer(json.dumps(cluster).encode(), other, other, other)
    assert isinstance(answer.snapshot, Snapshot)
    assert answer.snapshot.leader is None or isinstance(answer.snapshot.leader, str)
