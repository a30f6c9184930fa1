"""A client's next message waits for what its server says: whatever comes between, it goes on, and means the same.

Such a wait meets all that may happen meanwhile: transactions that move, settings that are restored first, texts that
take long to read, errors, cancel requests, servers and clients that go.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from support.front import running
from support.rawclient import EXECUTE, SYNC, RawClient, parse, query, sqlstate
from support.router import static_cluster
from support.stage import DATABASES, TRUST, Heard, Stage, asked, bind, describe, heard

from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

pytestmark = [pytest.mark.pg, pytest.mark.timeout(120)]

RUN = bind("p") + EXECUTE + SYNC


@pytest.fixture(scope="module")
def cluster() -> Iterator[StreamingCluster]:
    with StreamingCluster(2, options=TRUST) as cluster:
        for database in DATABASES:
            cluster.primary.sql(f"create database {database}")
        cluster.primary.sql("create role reader; grant pg_read_all_data to reader")
        yield cluster


@pytest.fixture(scope="module")
def router(cluster: StreamingCluster) -> Iterator[Router]:
    settings = {"cluster": static_cluster(cluster.servers), "auth": {"type": "trust"}, "pool": {"size": 2}}
    with running(settings) as router:
        router.several = True
        yield router


@pytest.fixture
def stage(cluster: StreamingCluster, router: Router) -> Iterator[Stage]:
    with ExitStack() as stack:
        stage = Stage(cluster, router, stack)
        for database in DATABASES:
            stage.admin(
                database, "drop schema if exists s cascade", "create schema s; create table s.t(a int, b text)",
                "insert into s.t values (1, 'x')", f"alter database {database} set search_path = s",
            )  # fmt: skip
        yield stage


def prepared_at_the_primary(stage: Stage, database: str, *texts: str) -> RawClient:
    """Give a client with statements p, p1, ... that replicas do not have, and that were described to it."""
    client = stage.client(database)
    client.ask("begin; select txid_current()")
    for number, text in enumerate(texts):
        name = f"p{number or ''}"
        assert sqlstate(client.ask("select 1")) == ""
        asked(client, parse(text, name) + describe(name) + SYNC)
    client.ask("commit")
    stage.cluster.wait_caught_up()
    return client


@contextmanager
def replay_paused(stage: Stage) -> Iterator[None]:
    (standby,) = stage.cluster.standbys
    standby.sql("select pg_wal_replay_pause()")
    try:
        yield
    finally:
        standby.sql("select pg_wal_replay_resume()")
        stage.cluster.wait_caught_up()


# -- read-only transactions


@pytest.mark.parametrize("ddl", [
    "alter table t add c int default 3", "drop table t; create table t(c bigint); insert into t values (5)",
    "alter table t rename to u; create view t as select * from u", "select 1",
])  # fmt: skip
@pytest.mark.parametrize("begin", ["begin read only", "begin read only; set local work_mem = '7MB'"])
def test_a_transaction_on_a_late_replica_goes_on_at_the_primary(stage: Stage, ddl: str, begin: str) -> None:
    """It is described there in other words than the client has heard; the transaction is the same afterwards."""

    def play(database: str) -> list[Heard]:
        with replay_paused(stage):
            stage.cluster.primary.sql(ddl, dbname=database)
            client = stage.client(database)
            client.ask("set pgrouter.route = 'primary'")
            said = [asked(client, parse("select * from t", "p") + describe("p") + SYNC)]
            client.ask("set pgrouter.route = 'auto'")
            said += [heard(client.ask(begin)), *(asked(client, RUN) for _ in range(2))]
            return [*said, heard(client.ask("show work_mem")), heard(client.ask("commit"))]

    stage.both(play)


def test_a_transaction_says_nothing_twice_for_having_waited(stage: Stage) -> None:
    def play(database: str) -> list[Heard]:
        client = prepared_at_the_primary(stage, database, "savepoint a", "select * from t")
        said = [heard(client.ask("begin read only")), asked(client, RUN)]
        said += [asked(client, bind("p1") + EXECUTE + SYNC), heard(client.ask("select txid_current_if_assigned()"))]
        said += [heard(client.ask("rollback to a")), heard(client.ask("release a")), heard(client.ask("rollback to a"))]
        return [*said, heard(client.ask("commit"))]

    stage.both(play)


def test_a_batch_that_waits_is_judged_message_by_message_behind_a_flush(stage: Stage) -> None:
    def play(database: str) -> list[Heard]:
        client = prepared_at_the_primary(stage, database, "select * from t", "select pg_try_advisory_xact_lock(9)")
        said = [heard(client.ask("begin read only")), asked(client, RUN + bind("p1") + EXECUTE + SYNC)]
        return [*said, heard(client.until_ready()), heard(client.ask("commit")), asked(client, RUN)]

    stage.both(play)


# -- settings, long texts, errors


@pytest.mark.parametrize("setting", ["set role reader", "set search_path = s, public", "set work_mem = '7MB'"])
def test_settings_are_restored_in_front_of_the_question(stage: Stage, setting: str) -> None:
    def play(database: str) -> list[Heard]:
        stage.admin(database, "grant usage on schema s to reader")
        client = stage.client(database)
        client.ask(setting)
        said = [asked(client, parse("select * from t", "p") + describe("p") + SYNC)]
        for _ in range(2):
            said += stage.elsewhere(database, client, query("select 1") + RUN)
            said += [heard(client.until_ready()) for _ in range(2)]
        return said

    stage.both(play)


@pytest.mark.parametrize("first", [True, False])
def test_a_long_text_beside_the_question(stage: Stage, first: bool) -> None:  # noqa: FBT001
    """Somebody has to read it, while the server has to say what the other statement looks like."""
    long = parse("select 1" + " + 1" * 4000) + bind() + EXECUTE

    def play(database: str) -> list[Heard]:
        client = prepared_at_the_primary(stage, database, "select * from t")
        batch = (long + bind("p") + EXECUTE if first else bind("p") + EXECUTE + long) + SYNC
        return stage.elsewhere(database, client, batch) + stage.elsewhere(database, client, batch)

    stage.both(play)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("ddl", ["drop table t", "alter table t drop column b"])
def test_an_error_instead_of_the_description(stage: Stage, ddl: str, inside: bool) -> None:  # noqa: FBT001
    def play(database: str) -> list[Heard]:
        client = stage.client(database)
        said = [asked(client, parse("select a, b from t", "p") + describe("p") + SYNC)]
        stage.admin(database, ddl)
        for _ in range(2):
            client.ask("begin" if inside else "select 1")
            said += [asked(client, RUN + RUN), heard(client.until_ready())]
            client.ask("rollback")
        return said

    stage.both(play)


# -- what happens while the server is being asked


class Blocked:
    """A client whose message waits for a server that waits for a lock."""

    def __init__(self, stage: Stage, text: str) -> None:
        self.stage = stage
        self.client = stage.client("routed")
        asked(self.client, parse(text, "p") + describe("p") + SYNC)
        other = stage.client("routed")
        other.ask("begin; select txid_current()")  # has the server that was used
        self.lock = stage.stack.enter_context(stage.cluster.primary.connect("routed"))
        self.lock.autocommit = False
        self.lock.execute("lock table s.t")
        self.client.send(RUN)
        until(lambda: len(self.waits()) == 1, 10, "the server waits for the lock")
        other.ask("rollback")

    def waits(self) -> list[int]:
        rows = self.stage.cluster.primary.sql(
            "select pid from pg_stat_activity where datname = 'routed' and wait_event_type = 'Lock'"
        )
        return [pid for (pid,) in rows]

    def let_go(self) -> None:
        self.lock.rollback()


WRITE = "update t set a = a + 1 returning a, b"


def test_a_server_that_is_lost_meanwhile_is_another_one(stage: Stage) -> None:
    blocked = Blocked(stage, WRITE)
    (pid,) = blocked.waits()
    stage.cluster.primary.sql(f"select pg_terminate_backend({pid})")
    until(lambda: blocked.waits() not in ([], [pid]), 10, "another server is asked, or has it and waits")
    blocked.let_go()
    said = heard(blocked.client.until_ready())
    assert (said.codes, said.error) == ("2DCZ", ())
    assert stage.cluster.primary.sql("select a from s.t", dbname="routed") == [(2,)]  # once


def test_a_cancel_request_meanwhile_is_an_error_in_its_place(stage: Stage) -> None:
    blocked = Blocked(stage, WRITE)
    blocked.client.cancel()
    assert heard(blocked.client.until_ready()).error[0].startswith("57014")
    blocked.let_go()
    assert asked(blocked.client, RUN).codes == "2DCZ"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_goes_meanwhile_leaves_its_server_to_others(stage: Stage, how: str) -> None:
    blocked = Blocked(stage, WRITE)
    getattr(blocked.client, how)()
    blocked.let_go()
    for _ in range(4):
        client = stage.client("routed")
        client.ask("begin; select txid_current()")
        assert asked(client, parse(WRITE, "p") + describe("p") + RUN).error == ()
        client.close()


def test_what_is_sent_meanwhile_comes_behind_it(stage: Stage) -> None:
    blocked = Blocked(stage, WRITE)
    blocked.client.send(query("select a from t") + parse("select 'x'") + bind() + EXECUTE + SYNC)
    blocked.let_go()
    assert [heard(blocked.client.until_ready()).codes for _ in range(3)] == ["2DCZ", "TDCZ", "12DCZ"]
