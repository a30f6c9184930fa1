"""Leader changes told by hand-written keys of Patroni in a real etcd, over real servers: every moment is the test's."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.load import NOTHING, READS, WRITES, wait_roles
from support.rawclient import RawClient, codes, extended, query, sqlstate, values
from support.router import etcd_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.etcd import EtcdCluster
    from pgrouter.demo.streaming import StreamingCluster

pytestmark = [pytest.mark.pg, pytest.mark.etcd]

ANNOUNCED = {"leader": "pg0", "member": "pg1"}
GONE = {"57P01", "08006"}


# A COMMIT that takes 20 s; the trigger goes with the table.
LATE = """
    create or replace function late() returns trigger language plpgsql as
    'begin perform pg_sleep(20); return null; end';
    create constraint trigger late after insert on items deferrable initially deferred for each row
    execute function late()
"""


class Keys:
    """Patroni's keys of a cluster whose Patroni is the test."""

    def __init__(self, etcd: EtcdCluster, streaming: StreamingCluster) -> None:
        self._etcd = etcd
        self.members: dict[str, dict[str, Any]] = {}
        self.set("config", {"ttl": 30})
        for server in streaming.servers:
            url = f"postgres://127.0.0.1:{server.port}/postgres"
            self.members[server.name] = {"conn_url": url, "state": "running", "xlog_location": 9}
            self.set(f"members/{server.name}", self.members[server.name])
        self.lead("pg0")

    def set(self, key: str, value: dict[str, Any]) -> None:
        self._etcd.put(f"/service/demo/{key}", json.dumps(value))

    def lead(self, name: str) -> None:
        self._etcd.put("/service/demo/leader", name)

    def nobody_leads(self) -> None:
        self._etcd.delete("/service/demo/leader")


@pytest.fixture
def keys(etcd: EtcdCluster, streaming: StreamingCluster) -> Keys:
    streaming.primary.sql("set lock_timeout = '3s'; drop table if exists items; create table items (id int)")
    streaming.wait_caught_up()
    return Keys(etcd, streaming)


@pytest.fixture
def front(router: RouterFactory, etcd: EtcdCluster, keys: Keys) -> Router:  # noqa: ARG001 (the keys are there first)
    cluster = etcd_cluster(etcd)
    cluster["monitor"] = cluster["monitor"] | {"timeout": "500ms"}
    cluster["switchover_timeout"] = "2s"
    return router({"cluster": cluster, "auth": {"type": "trust"}, "pool": {"size": 5, "no_leader_timeout": "4s"}})


@pytest.fixture
def client(front: Router) -> Iterator[psycopg.Connection[Any]]:
    with front.connect() as client:
        client.execute("insert into items values (0)")
        yield client


class Later:
    """A statement in a thread; when it was done, and what came of it."""

    def __init__(self, client: psycopg.Connection[Any], sql: str) -> None:
        self.done_s = 0.0
        self.error: psycopg.Error | None = None
        self._thread = threading.Thread(target=self._run, args=(client, sql.encode()))
        self._thread.start()

    def _run(self, client: psycopg.Connection[Any], sql: bytes) -> None:
        try:
            client.execute(sql)
        except psycopg.Error as error:
            self.error = error
        self.done_s = time.monotonic()

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> psycopg.Error | None:
        self._thread.join(20)
        assert not self.waits
        return self.error


def held(front: Router, client: psycopg.Connection[Any]) -> Later:
    """Begin a write that has to wait."""
    later = Later(client, "insert into items values (1)")
    until(lambda: any(row["cl_waiting"] for row in front.admin("SHOW POOLS")), 5, "a client waits")
    time.sleep(0.2)
    assert later.waits
    return later


def test_an_announced_switchover_holds_what_begins_and_lets_go_on_what_has_begun(
    front: Router, keys: Keys, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    with front.connect() as busy, RawClient(front.port) as ahead:
        ahead.login()
        ahead.ask("begin")
        busy.execute("begin")
        busy.execute("insert into items values (2)")
        keys.set("failover", ANNOUNCED)
        wait_roles(front, pg0=NOTHING, pg1=READS, pg2=READS)
        later = held(front, client)
        busy.execute("insert into items values (3)")
        busy.execute("commit")
        ahead.send(query("insert into items values (4)") + query("commit") + query("insert into items values (5)"))
        assert [sqlstate(ahead.until_ready()) for _ in range(2)] == ["", ""]
        assert later.waits
        until(lambda: streaming.primary.sql("select count(*) from items where id = 4") == [(1,)], 5, "committed")
        assert streaming.primary.sql("select count(*) from items where id in (1, 5)") == [(0,)]
        assert busy.execute("select count(*) > 0 from items").fetchone() == (True,)  # reads go on
        keys.set("failover", {})  # Patroni has refused it
        assert later.result() is None
        assert sqlstate(ahead.until_ready()) == ""
        wait_roles(front, pg0=WRITES)
    assert streaming.primary.sql("select id from items order by 1") == [(i,) for i in range(6)]


def test_a_hold_that_nothing_follows_ends(front: Router, keys: Keys, client: psycopg.Connection[Any]) -> None:
    keys.set("failover", ANNOUNCED)
    wait_roles(front, pg0=NOTHING)
    began_s = time.monotonic()
    later = held(front, client)
    assert later.result() is None
    assert 0.5 < later.done_s - began_s < 3.5
    assert front.log_contains(r"primary pg0 -> none \(pg0 leads, but a switchover from pg0 to pg1 is announced\)")
    client.execute("insert into items values (2)")
    keys.set("failover", ANNOUNCED)  # again: written anew, so announced anew
    wait_roles(front, pg0=NOTHING)


def test_nothing_is_held_before_its_moment(front: Router, keys: Keys, client: psycopg.Connection[Any]) -> None:
    """Not even where the leader's key tells no position, as it does when a switchover has begun."""
    moment = datetime.now(UTC) + timedelta(seconds=500)
    keys.set("failover", ANNOUNCED | {"scheduled_at": moment.isoformat()})
    keys.set("members/pg0", {name: value for name, value in keys.members["pg0"].items() if name != "xlog_location"})
    for _ in range(20):
        began_s = time.monotonic()
        client.execute("insert into items values (1)")
        assert time.monotonic() - began_s < 1
        time.sleep(0.02)
    assert front.admin("SHOW CLUSTER")[0]["writable"]


def test_a_scheduled_switchover_holds_from_its_moment_on(
    front: Router, keys: Keys, client: psycopg.Connection[Any]
) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=1.5)
    keys.set("failover", ANNOUNCED | {"scheduled_at": moment.isoformat()})
    while datetime.now(UTC) < moment - timedelta(seconds=0.3):
        began_s = time.monotonic()
        client.execute("insert into items values (1)")
        assert time.monotonic() - began_s < 1
    wait_roles(front, pg0=NOTHING)
    assert datetime.now(UTC) >= moment
    assert client.execute("select 1").fetchone() == (1,)


def test_what_is_not_about_this_leader_holds_nothing(
    front: Router, keys: Keys, client: psycopg.Connection[Any]
) -> None:
    for announced in ({"leader": "pg2", "member": "pg1"}, {"member": "pg0"}):
        keys.set("failover", announced)
        for _ in range(10):
            client.execute("insert into items values (1)")
            time.sleep(0.02)
    keys.set("failover", {"member": "pg2"})  # a failover by hand
    wait_roles(front, pg0=NOTHING)


def test_a_key_that_is_deleted_and_written_again_costs_nobody_a_session(
    front: Router, keys: Keys, client: psycopg.Connection[Any]
) -> None:
    with front.connect() as busy, front.connect() as pinned:
        pinned.execute("create temp table mine (a int)")
        busy.execute("begin")
        busy.execute("insert into items values (1)")
        keys.nobody_leads()
        wait_roles(front, pg0=NOTHING)
        waits = [held(front, client), held(front, pinned)]
        busy.execute("insert into items values (2)")
        keys.lead("pg0")
        assert [later.result() for later in waits] == [None, None]
        busy.execute("commit")
        pinned.execute("insert into mine values (1)")
        assert pinned.execute("select count(*) from mine").fetchone() == (1,)
        assert client.execute("/*pgrouter: primary*/ select count(*) from items").fetchone() == (5,)


def test_what_belongs_to_one_server_waits_for_it_too(
    front: Router, keys: Keys, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    """currval and lastval are with the server that wrote: it is not asked while it may not be written to."""
    streaming.primary.sql("drop table if exists numbered; create table numbered (id serial)")
    client.execute("insert into numbered default values")
    keys.set("failover", {"leader": "pg0"})
    wait_roles(front, pg0=NOTHING)
    later = Later(client, "insert into numbered values (lastval() + 1)")
    time.sleep(0.3)
    assert later.waits
    assert streaming.primary.sql("select id from numbered") == [(1,)]
    keys.set("failover", {})
    assert later.result() is None
    assert streaming.primary.sql("select id from numbered") == [(1,), (2,)]


@pytest.mark.slow
def test_a_pinned_session_does_not_wait_for_ever(front: Router, keys: Keys, streaming: StreamingCluster) -> None:
    with front.connect() as pinned:
        pinned.execute("create temp table mine (a int)")
        keys.nobody_leads()
        wait_roles(front, pg0=NOTHING)
        with pytest.raises(psycopg.Error) as caught:
            pinned.execute("insert into items values (1)")
        assert caught.value.sqlstate == "57P03"
        assert streaming.primary.sql("select count(*) from items") == [(0,)]
        keys.lead("pg0")
        wait_roles(front, pg0=WRITES)
        pinned.execute("insert into mine values (1)")


def test_a_frozen_leader_whose_key_is_gone_holds_nobody_up(
    front: Router, keys: Keys, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    client.execute("begin")
    client.execute("insert into items values (1)")
    streaming.primary.freeze()
    later = Later(client, "insert into items values (2)")
    wait_roles(front, pg0=NOTHING)
    time.sleep(0.3)
    assert later.waits  # the key is there: it may come back
    keys.nobody_leads()
    error = later.result()
    assert error is not None
    assert error.sqlstate in GONE
    assert not client.closed
    client.execute("rollback")
    streaming.primary.thaw()
    keys.lead("pg0")
    wait_roles(front, pg0=WRITES)
    client.execute("insert into items values (3)")
    assert streaming.primary.sql("select id from items order by 1") == [(0,), (3,)]


def test_no_write_reaches_the_old_primary_once_another_leads(
    front: Router, keys: Keys, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    with front.connect() as busy, front.connect() as pinned:
        pinned.execute("create temp table mine (a int)")
        busy.execute("begin")
        busy.execute("insert into items values (1)")
        keys.nobody_leads()
        wait_roles(front, pg0=NOTHING)
        waits = held(front, client), held(front, pinned)
        streaming.standbys[0].promote()
        keys.lead("pg1")
        wait_roles(front, pg0=NOTHING, pg1=WRITES)
        assert waits[0].result() is None
        assert waits[1].result() is not None
        assert pinned.closed
        with pytest.raises(psycopg.Error) as caught:
            busy.execute("commit")
        assert caught.value.sqlstate in GONE
        assert busy.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        busy.execute("insert into items values (2)")
    assert streaming.standbys[0].sql("select id from items order by 1") == [(0,), (1,), (2,)]
    assert streaming.primary.sql("select id from items") == [(0,)]
    assert front.log_contains("ALARM: pg0 says it is primary while pg1 leads")


def test_servers_that_end_while_writes_are_held_are_not_noticed(
    front: Router, keys: Keys, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    with front.connect() as other:
        other.execute("insert into items values (0)")
        keys.set("failover", ANNOUNCED)
        wait_roles(front, pg0=NOTHING)
        waits = held(front, client), Later(other, "begin")
        streaming.primary.stop("fast")
        until(lambda: streaming.standbys[0].sql("select count(*) from items") == [(2,)], 10, "all is replayed")
        keys.nobody_leads()
        streaming.standbys[0].promote()
        keys.lead("pg1")
        assert [later.result() for later in waits] == [None, None]
        other.execute("commit")
        assert client.execute("/*pgrouter: primary*/ select count(*) from items").fetchone() == (3,)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("make", [query, extended])
def test_the_fate_of_a_commit_is_unknown(front: Router, streaming: StreamingCluster, make: Any) -> None:
    """The COMMIT hangs in the server, which is then lost: it may have been committed."""
    streaming.primary.sql(LATE)
    with RawClient(front.port) as client:
        client.login()
        client.ask("begin")
        client.ask("insert into items values (1)")
        client.send(make("commit"))
        time.sleep(0.3)
        streaming.primary.sql("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'commit%'")
        said = client.until_ready()
        assert sqlstate(said) in GONE
        error = next(m for m in said if m.code == "E")
        assert error.fields["S"] == "ERROR"
        assert "unknown whether the transaction was committed" in error.fields["D"]
        assert "08007" in error.fields["D"]
        assert codes(said).endswith("EZ")
        assert said[-1].body == b"I"  # as after a COMMIT that PostgreSQL refuses
        assert values(client.ask("select 1")) == [["1"]]


@pytest.mark.usefixtures("keys")
def test_the_fate_of_a_commit_of_a_session_that_cannot_go_on(front: Router, streaming: StreamingCluster) -> None:
    streaming.primary.sql(LATE)
    with RawClient(front.port) as client:
        client.login()
        client.ask("create temp table mine (a int)")
        client.ask("begin")
        client.ask("insert into items values (1)")
        client.send(query("commit"))
        time.sleep(0.3)
        streaming.primary.sql("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'commit%'")
        error = next(m for m in client.until_closed() if m.code == "E")
        assert error.fields["S"] == "FATAL"
        assert "unknown whether the transaction was committed" in error.fields["D"]
        assert "its session state (temporary object" in error.fields["D"]
