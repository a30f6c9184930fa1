"""Members that come and go while the router runs."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.load import NOTHING, READS, TABLE, WRITES, Load, roles, wait_roles
from support.router import patroni_cluster, rest_cluster, static_cluster

from pgrouter.demo.patroni import PatroniCluster, PatroniOptions
from pgrouter.demo.processes import until, write_file

if TYPE_CHECKING:
    from support.router import Router, RouterFactory

    from pgrouter.demo.patroni import Member
    from pgrouter.demo.postgres import Server
    from pgrouter.demo.streaming import StreamingCluster


def list_members(front: Router, *servers: Server) -> None:
    """Write the file with these static members and have it read."""
    front.settings["cluster"] = static_cluster(servers)
    front.write_settings()
    front.admin("RELOAD")


@pytest.mark.pg
def test_static_members_come_and_go_with_a_reload(router: RouterFactory, streaming: StreamingCluster) -> None:
    pg0, pg1, pg2 = streaming.servers
    front = router({"cluster": static_cluster([pg0, pg1])})
    pg0.sql("drop table if exists written; create table written (writer int, number int)")
    streaming.wait_caught_up()
    with Load(front) as load:
        load.wait_progress()
        list_members(front, pg0, pg1, pg2)
        wait_roles(front, pg0=WRITES, pg1=READS, pg2=READS)
        asked = {row["name"]: row["query_count"] for row in front.admin("SHOW CLUSTER")}
        until(lambda: shown(front, "pg2")["query_count"] > 20, 30, "reads")
        list_members(front, pg0, pg2)
        assert set(roles(front)) == {"pg0", "pg2"}  # at once, although pg1 would answer still
        load.wait_progress()
    assert asked["pg2"] <= 20
    assert not load.errors, load
    ours = "select count(*) from pg_stat_activity where application_name ~ 'pgrouter'"
    until(lambda: pg1.sql(ours) == [(0,)], 20, "nobody there any more")


@pytest.mark.pg
def test_writes_wait_while_the_primary_is_not_on_the_list(router: RouterFactory, streaming: StreamingCluster) -> None:
    pg0, *standbys = streaming.servers
    front = router({"cluster": static_cluster(streaming.servers)})
    with front.connect() as client, front.connect() as reader:
        client.execute("drop table if exists ticks; create table ticks (a int)")
        list_members(front, *standbys)
        assert roles(front) == {"pg1": READS, "pg2": READS}
        assert reader.execute("select 1").fetchone() == (1,)  # the writer might wait: who has its write is not known
        timer = threading.Timer(0.7, list_members, (front, pg0, *standbys))
        timer.start()
        began_s = time.monotonic()
        client.execute("insert into ticks values (1)")
        assert time.monotonic() - began_s > 0.5
        timer.join()
    assert roles(front)["pg0"] == WRITES
    assert NOTHING not in roles(front).values()


def fronts(router: RouterFactory, cluster: PatroniCluster) -> list[Router]:
    """Start a router that follows etcd, and one that asks Patroni."""
    return [router({"cluster": section(cluster)}) for section in (patroni_cluster, rest_cluster)]


def tag(member: Member, tags: dict[str, Any]) -> None:
    """Have a member carry exactly these tags."""
    path = member._workdir / f"{member.name}.yml"
    write_file(path, json.dumps(json.loads(path.read_text()) | {"tags": tags}))
    status, text = member.api("/reload", {}, "POST")
    assert status in (200, 202), text


def shown(front: Router, name: str) -> dict[str, Any]:
    """Give a member's row of SHOW CLUSTER, empty when it has none."""
    return next((row for row in front.admin("SHOW CLUSTER") if row["name"] == name), {})


@pytest.mark.cluster
@pytest.mark.slow
def test_tags_are_followed(router: RouterFactory, patroni: PatroniCluster) -> None:
    both = fronts(router, patroni)
    one, other = patroni.replicas()
    try:
        tag(one, {"noloadbalance": True, "nofailover": True, "zone": "a"})
        tag(other, {"nofailover": True, "nosync": True, "clonefrom": True})  # these are about failing over
        for front in both:
            wait_roles(front, **{one.name: NOTHING, other.name: READS})
            until(lambda front=front: "nosync" in shown(front, other.name)["tags"], 10, "the other's tags")
            row = shown(front, one.name)
            assert row["reason"] == "tagged noloadbalance"
            assert row["tags"] == "nofailover=true noloadbalance=true zone=a"
    finally:
        tag(one, {})
        tag(other, {})
    for front in both:
        wait_roles(front, **{one.name: READS, other.name: READS})


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_members_come_and_go_under_load(router: RouterFactory, patroni: PatroniCluster) -> None:
    both = fronts(router, patroni)
    patroni.require_leader().sql(TABLE)
    with Load(both[0]) as load, Load(both[1]) as polled:
        load.wait_progress()
        new = patroni.add_member()
        for front in both:
            wait_roles(front, **{new.name: READS})
            until(lambda front=front: shown(front, new.name)["query_count"] > 20, 30, "reads of the new one")
        patroni.remove_member(new)
        for front in both:
            until(lambda front=front: not shown(front, new.name), 60, "the router forgets it")
        load.wait_progress()
        polled.wait_progress()
    for each in (load, polled):
        assert not each.lost, each
        assert not {kind for kind, _ in each.errors} & {"write"}, each
        assert sum(each.errors.values()) <= 3, each  # a read each, in flight when it was killed


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", [True, "quorum"])
def test_synchronous_replicas_and_a_cascade(router: RouterFactory, patroni: PatroniCluster, mode: object) -> None:
    both = fronts(router, patroni)
    leader = patroni.require_leader()
    first, second = patroni.replicas()
    leader.sql(TABLE)
    try:
        leader.api("/config", {"synchronous_mode": mode}, "PATCH")
        tag(second, {"replicatefrom": first.name, "nosync": True})
        until(lambda: first.sql("select count(*) from pg_stat_replication") == [(1,)], 30, "a cascade")
        until(lambda: leader.sql("show synchronous_standby_names") != [("",)], 30, "synchronous replication")
        for front in both:
            wait_roles(front, **{leader.name: WRITES, first.name: READS, second.name: READS})
            with front.connect() as client:
                client.execute("insert into written values (1, 1)")
    finally:
        tag(second, {})
        leader.api("/config", {"synchronous_mode": None}, "PATCH")
        until(lambda: leader.sql("show synchronous_standby_names") == [("",)], 30, "asynchronous replication")


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_cluster_of_one(router: RouterFactory) -> None:
    with PatroniCluster(PatroniOptions(members=1)) as alone:
        both = fronts(router, alone)
        (member,) = alone.members
        member.sql(TABLE)
        for front in both:
            with front.connect() as client:
                client.execute("insert into written values (1, 1)")
                assert client.execute("select count(*) from written").fetchone()
        with Load(both[0]) as load, Load(both[1]) as polled:
            load.wait_progress()
            member.kill_postgres()  # Patroni starts it again
            load.wait_progress()
            polled.wait_progress()
        for each in (load, polled):
            assert not each.lost, each
            assert {state for _, state in each.errors} <= {"57P01", "57P02", "08006", "57P03"}, each


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_standby_cluster_until_it_is_promoted(router: RouterFactory, streaming: StreamingCluster) -> None:
    """It begins from the same template as the cluster that it follows, so they are one system."""
    streaming.primary.sql(TABLE)
    follows = {"standby_cluster": {"host": "127.0.0.1", "port": streaming.primary.port}}
    cluster = PatroniCluster(PatroniOptions(members=2, dcs=follows))
    cluster._all_healthy = lambda: len(cluster.status()) == 2 and all(s.state == "streaming" for s in cluster.status())
    leaders = lambda: [cluster.member(s.name) for s in cluster.status() if s.role == "standby_leader"]  # noqa: E731
    cluster.leader = lambda: next(iter(leaders()), None)
    with cluster:
        leader = cluster.leader()
        assert leader is not None
        both = fronts(router, cluster)
        until(lambda: leader.sql("select to_regclass('written') is not null") == [(True,)], 30, "the table")
        for front in both:
            until(lambda front=front: list(roles(front).values()) == [READS, READS], 30, "two that are read from")
            row = shown(front, leader.name)
            assert (row["leader"], row["standby_cluster"], row["reason"]) == (True, True, "leads a standby cluster")
            with front.connect() as client:
                assert client.execute("select count(*) from written").fetchone() == (0,)
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="read-only transaction"):
                    client.execute("insert into written values (1, 1)")
                with client.transaction():
                    assert client.execute("select count(*) from written").fetchone() == (0,)
        streaming.primary.kill()
        status, text = leader.api("/config", {"standby_cluster": None}, "PATCH")
        assert status == 200, text
        for front in both:
            wait_roles(front, **{leader.name: WRITES})
            with front.connect() as client:
                client.execute("insert into written values (1, 1)")
            until(lambda front=front: not shown(front, leader.name)["standby_cluster"], 10, "an ordinary cluster")
