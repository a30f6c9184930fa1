"""Clusters as they are found: no primary, a receiver that stands still, no connection left. Real servers."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Self

import psycopg
import pytest
from support.front import running
from support.router import MONITOR, etcd_cluster, static_cluster

from pgrouter.cluster.readable import ASSUMED
from pgrouter.demo import template
from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, Settings

    from pgrouter.demo.etcd import EtcdCluster
    from pgrouter.demo.postgres import Server

pytestmark = pytest.mark.pg

WHO = "select current_setting('demo.member'), count(*) from found"


def settings(cluster: StreamingCluster, **more: object) -> Settings:
    return {
        "cluster": static_cluster(cluster.servers),
        "routing": {"read_consistency": "eventual"},
        "pool": {"no_leader_timeout": "2s"},
        **more,
    }


@pytest.fixture
def table(streaming: StreamingCluster) -> StreamingCluster:
    streaming.primary.sql("drop table if exists found; create table found (id int)")
    streaming.wait_caught_up()
    return streaming


def member(router: Router, name: str) -> dict[str, object]:
    return next(row for row in router.admin("SHOW CLUSTER") if row["name"] == name)


def reads(router: Router, times: int = 12) -> set[tuple[str, int]]:
    """Give who has answered, and how many rows he had."""
    with router.connect() as client:
        return {client.execute(WHO).fetchone() for _ in range(times)}


@contextlib.contextmanager
def without_receiver(standby: Server, primary: Server) -> Iterator[None]:
    """Let a standby not find its primary."""
    before = standby.sql("show primary_conninfo")[0][0]
    standby.sql("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
    standby.sql("select pg_reload_conf()")
    primary.sql("select pg_terminate_backend(pid) from pg_stat_replication")  # the other one is back at once
    try:
        yield
    finally:
        standby.sql(f"""alter system set primary_conninfo = '{before.replace("'", "''")}'""")
        standby.sql("select pg_reload_conf()")


@pytest.mark.parametrize("limits", [{}, {"max_lag": "5s"}], ids=["any lag", "max_lag"])
def test_who_was_put_aside_stays_aside_without_a_primary(table: StreamingCluster, limits: dict[str, str]) -> None:
    primary, (late, well) = table.primary, table.standbys
    with running(settings(table, reads=limits)) as router, without_receiver(late, primary):
        until(lambda: not member(router, late.name)["readable"], 20, "the late one is out")
        until(lambda: member(router, well.name)["readable"], 20, "the other one is in")
        primary.sql("insert into found select generate_series(1, 5)")
        until(lambda: well.sql("select count(*) from found")[0][0] == 5, 20, "the other one has it")
        primary.kill()
        until(lambda: not any(row["writable"] for row in router.admin("SHOW CLUSTER")), 20, "no primary")
        end_s = time.monotonic() + 1.5
        while time.monotonic() < end_s:
            assert reads(router) == {(well.name, 5)}
        assert "did not when there last was a primary" in str(member(router, late.name)["reason"])


def test_a_router_that_starts_without_a_primary_serves_reads(table: StreamingCluster) -> None:
    table.primary.sql("insert into found values (1)")
    table.wait_caught_up()
    table.primary.kill()
    with running(settings(table)) as router:
        both = {(standby.name, 1) for standby in table.standbys}
        until(lambda: reads(router) == both, 10, "both are read from")  # a receiver may have just ended
        assert member(router, table.standbys[0].name)["reason"] == ASSUMED
        with router.connect() as client, pytest.raises(psycopg.errors.CannotConnectNow) as refused:
            client.execute("insert into found values (2)")
        assert "no member says it is primary" in str(refused.value.diag.message_detail)
        table.primary.start()
        until(lambda: member(router, table.primary.name)["writable"], 20, "the primary is back")


def test_a_session_sees_its_own_writes_without_a_primary(table: StreamingCluster) -> None:
    late, well = table.standbys
    asked = settings(table) | {"routing": {"read_consistency": "session"}}
    with running(asked) as router:
        until(lambda: len(reads(router)) == 2, 20, "both are read from")
        late.sql("select pg_wal_replay_pause()")
        try:
            with router.connect() as client:
                client.execute("insert into found values (1)")
                until(lambda: client.execute(WHO).fetchone() == (well.name, 1), 20, "it reads where its write is")
                table.primary.kill()
                until(lambda: not any(row["writable"] for row in router.admin("SHOW CLUSTER")), 20, "no primary")
                assert {client.execute(WHO).fetchone() for _ in range(20)} == {(well.name, 1)}
                assert (late.name, 0) in reads(router)  # of others nothing is known, and any lag will do
        finally:
            late.sql("select pg_wal_replay_resume()")


def test_a_former_primary_that_was_not_rewound_is_not_assumed_to_be_well(table: StreamingCluster) -> None:
    """Three servers in recovery, one of which has rows that never were, for a router that has seen nothing."""
    former, (left, right) = table.primary, table.standbys
    with without_receiver(left, former), without_receiver(right, former):
        until(lambda: not former.sql("select 1 from pg_stat_replication"), 20, "nobody streams")
        former.sql("insert into found values (666)")
        former.kill()
        former.configure(1)  # in recovery, with a primary that is not there
        former.start()
        with running(settings(table)) as router:
            assert "former primary that has not been rewound" in str(member(router, former.name)["reason"])
            until(lambda: reads(router) == {(left.name, 0), (right.name, 0)}, 10, "both are read from")


@pytest.mark.etcd
def test_a_router_that_starts_in_the_second_failover_of_an_hour(table: StreamingCluster, etcd: EtcdCluster) -> None:
    """No restartpoint since the first: PostgreSQL shows the timeline before, Patroni's key the one that is in use."""
    former, (second, last) = table.primary, table.standbys
    former.kill()
    second.promote()
    last.stop()
    table.follow(last, second)
    until(lambda: second.sql("select 1 from pg_stat_replication"), 20, "it streams")
    second.sql("insert into found values (1)")
    until(lambda: last.sql("select count(*) from found") == [(1,)], 20, "it has followed")
    for server in (second, last):
        url = f"postgres://127.0.0.1:{server.port}/postgres"
        etcd.put(f"/service/demo/members/{server.name}", json.dumps({"conn_url": url, "timeline": 2}))
    etcd.put("/service/demo/history", '[[1, 100, "no recovery target specified"]]')
    etcd.put("/service/demo/leader", second.name)
    second.kill()
    shown = "select timeline_id from pg_control_checkpoint()"
    assert last.sql(shown) == [(1,)]
    with running(settings(table) | {"cluster": etcd_cluster(etcd)}) as router:
        until(lambda: reads(router, 3) == {(last.name, 1)}, 20, "it is read from")
        assert member(router, last.name)["reason"] == ASSUMED


# -- who streams from whom, and who is somebody else


@pytest.mark.slow
def test_a_cascading_replica_whose_upstream_dies(table: StreamingCluster) -> None:
    """It is read from while it streams, from whomever, and stays out until it streams again."""
    primary, (upstream, last) = table.primary, table.standbys
    last.stop()
    table.follow(last, upstream)
    try:
        with running(settings(table)) as router:
            until(lambda: len(reads(router)) == 2, 20, "both are read from")
            upstream.kill()
            until(lambda: not member(router, last.name)["readable"], 20, "it has nobody to stream from")
            assert member(router, last.name)["reason"] == "does not stream"
            primary.sql("insert into found values (1)")
            assert reads(router) == {(primary.name, 1)}
            upstream.start()
            until(lambda: reads(router) == {(upstream.name, 1), (last.name, 1)}, 20, "both are read from")
    finally:
        last.stop()
        table.follow(last, primary)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["primary", "standby"])
def test_a_replica_rebuilt_under_its_name_as_one_of_another_cluster(table: StreamingCluster, number: int) -> None:
    """As a primary there, or as a standby: it gets nothing, and is read from when it is one of ours again."""
    primary, (kept, rebuilt) = table.primary, table.standbys
    with running(settings(table)) as router:
        until(lambda: len(reads(router)) == 2, 20, "both are read from")
        rebuilt.kill()
        others = StreamingCluster(1 + number, options=ServerOptions(auth="md5"))  # made from another template
        other = others.servers[number]
        other.port = rebuilt.port
        with others:
            until(lambda: "another cluster" in str(member(router, rebuilt.name)["reason"]), 20, "it is a stranger")
            assert reads(router) == {(kept.name, 0)}
            with router.connect() as client:
                client.execute("insert into found values (1)")
            assert member(router, primary.name)["writable"]
        rebuilt.start()
        until(lambda: {name for name, _ in reads(router)} == {kept.name, rebuilt.name}, 20, "it is one of ours")


# -- no connection left


class Writer(threading.Thread):
    """Writes every 20 ms, and keeps its longest wait and its errors."""

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router, self.over, self.done = router, threading.Event(), 0
        self.longest_s, self.errors = 0.0, []

    def run(self) -> None:
        with self.router.connect() as client:
            while not self.over.wait(0.02):
                start_s = time.monotonic()
                try:
                    client.execute("insert into found values (7)")
                    self.done += 1
                except psycopg.Error as error:
                    self.errors.append(str(error))
                self.longest_s = max(self.longest_s, time.monotonic() - start_s)

    def __enter__(self) -> Self:
        self.start()
        until(lambda: self.done or self.errors, 20, "it writes")
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def end_probes(primary: Server) -> None:
    primary.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgrouter monitor'")


def test_a_leader_that_refuses_the_monitor_goes_on(table: StreamingCluster) -> None:
    """The role's limit is reached: nothing of the router's own would make room, and the clients are not concerned."""
    primary = table.primary
    with running(settings(table)) as router:
        try:
            with Writer(router) as writer:
                primary.sql(f"alter role {template.MONITOR} connection limit 0")
                end_probes(primary)
                until(lambda: "too many connections for role" in str(member(router, primary.name)["reason"]), 20, "no")
                done = writer.done
                until(lambda: writer.done > done + 50, 20, "writes go on")
                assert member(router, primary.name)["writable"]
            assert (writer.errors, writer.longest_s < 2) == ([], True)
        finally:
            primary.sql(f"alter role {template.MONITOR} connection limit -1")
        until(lambda: member(router, primary.name)["reason"] == "leads", 20, "it gets in again")


@pytest.mark.timeout(60)
def test_the_router_makes_room_for_its_own_question(table: StreamingCluster) -> None:
    """All connections are taken, some of them by the router's own idle pool."""
    primary = table.primary
    with running(settings(table)) as router, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(router.connect()) for _ in range(5)]
        for client in clients:
            client.execute("begin")
            client.execute("insert into found values (1)")
        for client in clients:
            client.execute("commit")
        with Writer(router) as writer:
            made = "is closed: the server has no connection left"
            while not router.log_contains(made):  # a place that becomes free just now may be had without that
                primary.sql(f"alter role {template.MONITOR} nologin")
                try:
                    end_probes(primary)
                    until(lambda: "not permitted to log in" in str(member(router, primary.name)["reason"]), 20, "out")
                    _fill(primary, stack)  # the monitor's place is somebody else's now
                finally:
                    primary.sql(f"alter role {template.MONITOR} login")
                with contextlib.suppress(TimeoutError):
                    until(lambda: router.log_contains(made), 5, "room is made")
            until(lambda: member(router, primary.name)["reason"] == "leads", 20, "it gets in again")
            assert member(router, primary.name)["writable"]
        assert (writer.errors, writer.longest_s < 2) == ([], True)


def _fill(primary: Server, stack: contextlib.ExitStack) -> None:
    """Take what is left, as an ordinary role, so that the superuser's places stay."""
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            stack.enter_context(psycopg.connect(primary.dsn(user="filler", password="filler")))


@pytest.fixture(autouse=True)
def _filler(streaming: StreamingCluster) -> None:
    with contextlib.suppress(psycopg.errors.DuplicateObject):
        streaming.primary.sql("create role filler login password 'filler'")


@pytest.mark.slow
def test_reads_on_a_frozen_replica_end_within_15_s(table: StreamingCluster) -> None:
    asked = settings(table)
    asked["cluster"]["monitor"] = {name: value for name, value in MONITOR.items() if name != "interval"}
    with running(asked) as router, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(router.connect()) for _ in range(4)]
        until(lambda: len(reads(router)) == 2, 20, "both are read from")
        table.standbys[0].freeze()
        start_s = time.monotonic()
        took: list[float] = []

        def read(client: psycopg.Connection[object]) -> None:
            client.execute(WHO)
            took.append(time.monotonic() - start_s)

        threads = [threading.Thread(target=read, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(took) == 4
        assert 5 < max(took) < 15
