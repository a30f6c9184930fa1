"""Prepared statements and DDL, as on a direct connection: never other bytes than those that were described.

Each story is played on a direct connection and through the router, whose servers have the statement, or have not.
"""

from __future__ import annotations

import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from support.front import running
from support.rawclient import EXECUTE, FLUSH, SYNC, RawClient, parse, query, sqlstate, values
from support.router import static_cluster
from support.stage import DATABASES, TRUST, Heard, Stage, asked, bind, close, describe, execute, heard

from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

pytestmark = [pytest.mark.pg, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[StreamingCluster]:
    with StreamingCluster(2, options=TRUST) as cluster:
        for database in DATABASES:
            cluster.primary.sql(f"create database {database}")
        yield cluster


@pytest.fixture(scope="module", params=["pool of 1", "pool of 2", "with a replica"])
def router(cluster: StreamingCluster, request: pytest.FixtureRequest) -> Iterator[Router]:
    members = cluster.servers if request.param == "with a replica" else [cluster.primary]
    settings = {
        "cluster": static_cluster(members), "auth": {"type": "trust"},
        "pool": {"size": 1 if request.param == "pool of 1" else 2},
    }  # fmt: skip
    with running(settings) as router:
        router.several = request.param != "pool of 1"
        yield router


@pytest.fixture
def stage(cluster: StreamingCluster, router: Router) -> Iterator[Stage]:
    with ExitStack() as stack:
        stage = Stage(cluster, router, stack)
        for database in DATABASES:
            stage.admin(
                database,
                "drop schema if exists s cascade",
                "drop schema if exists s2 cascade",
                "create schema s",
                f"alter database {database} set search_path = s",
            )
        yield stage


# What a statement is about, the statement, and what is done to it after it was described
CHANGES = {
    "a column added": ("create table t(a int, b text); insert into t values (1, 'x')", "select * from t",
                       "alter table t add c int default 3"),
    "a column dropped": ("create table t(a int, b text); insert into t values (1, 'x')", "select * from t",
                         "alter table t drop column a"),
    "a column for another": ("create table t(a text, b text); insert into t values ('a', 'b')", "select * from t",
                             "alter table t drop column a; alter table t add c text default 'c'"),
    "a column renamed": ("create table t(a int, b text); insert into t values (1, 'x')", "select * from t",
                         "alter table t rename a to c"),
    "another type": ("create table t(a int); insert into t values (7)", "select a from t",
                     "alter table t alter a type float4"),
    "another length": ("create table t(a varchar(5)); insert into t values ('x')", "select a from t",
                       "alter table t alter a type varchar(9)"),
    "another table": ("create table t(a int, b text); insert into t values (1, 'x')", "select * from t",
                      "drop table t; create table t(c bigint); insert into t values (5)"),
    "the same table": ("create table t(a int, b text); insert into t values (1, 'x')", "select * from t",
                       "drop table t; create table t(a int, b text); insert into t values (2, 'y')"),
    "a view": ("create view t as select 1 as a", "select * from t",
               "create or replace view t as select 1 as a, 2 as b"),
    "a view made anew": ("create view t as select 1 as a", "select * from t",
                         "drop view t; create view t as select 'x'::text as a"),
    "a function": ("create function f() returns int language sql as 'select 1'", "select f()",
                   "drop function f(); create function f() returns text language sql as $$ select 'x' $$"),
    "a function's columns": (
        "create function f(out a int, out b int) language sql as 'select 1, 2'", "select * from f()",
        "drop function f(); create function f(out b int, out a int) language sql as 'select 1, 2'",
    ),
    "an enum": (
        "create type e as enum ('x'); create table t(a e); insert into t values ('x')", "select a from t",
        "drop table t; drop type e; create type e as enum ('y'); create table t(a e); insert into t values ('y')",
    ),
    "a write": ("create table t(a int); insert into t values (7)", "update t set a = a returning a",
                "alter table t alter a type float4"),
    "an insert": ("create table t(a int)", "insert into t values (1) returning *", "alter table t add b int"),
    "a wider table than fits": ("create table t(a int)", "select * from t", "alter table t " + ", ".join(
        f"add column_with_a_rather_long_name_{i} int" for i in range(1000))),
}  # fmt: skip


@pytest.mark.parametrize("how", ["by itself", "by another", "another way"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_described_stays(stage: Stage, change: str, how: str) -> None:
    made, text, ddl = CHANGES[change]

    def play(database: str) -> list[Heard]:
        stage.admin(database, made)
        client = stage.client(database)
        said = [asked(client, parse(text, "p") + describe("p") + SYNC)]
        run = bind("p", binary=True) + EXECUTE + SYNC
        said += stage.elsewhere(database, client, run) if change != "an insert" else []
        if how == "another way":
            stage.admin(database, ddl)
        else:
            doer = client if how == "by itself" else stage.client(database)
            assert sqlstate(doer.ask(ddl)) == ""
            stage.cluster.wait_caught_up()
        for _ in range(2):
            said += stage.elsewhere(database, client, run)
        said.append(asked(client, close("p") + parse(text, "p") + describe("p") + SYNC))
        said += stage.elsewhere(database, client, run)
        client.ask("drop table if exists t cascade") if "table t" in ddl else None
        return said

    stage.both(play)


def test_parameters_keep_their_types(stage: Stage) -> None:
    def play(database: str) -> list[Heard]:
        stage.admin(database, "create table t(id int primary key, v text); insert into t values (1, 'one')")
        client = stage.client(database)
        said = [asked(client, parse("select v from t where id = $1", "p") + describe("p") + SYNC)]
        run = bind("p", "", b"\0\0\0\1", binary=True) + EXECUTE + SYNC
        said += stage.elsewhere(database, client, run)
        stage.admin(database, "alter table t alter id type bigint")
        client.ask("insert into t values (5, 'five')")
        stage.cluster.wait_caught_up()
        for _ in range(2):
            said += stage.elsewhere(database, client, run)
        return said

    stage.both(play)


@pytest.mark.parametrize("setting", [
    "set search_path = s2", "set role reader", "begin; set local search_path = s2", "create temp table t (c int)",
])  # fmt: skip
def test_what_was_described_stays_under_other_settings(stage: Stage, setting: str) -> None:
    def play(database: str) -> list[Heard]:
        stage.admin(
            database, "create schema s2; create table t(a int); create table s2.t(a text, b text)",
            "insert into t values (1); insert into s2.t values ('x', 'y')",
            "do $$ begin create role reader; exception when duplicate_object then null; end $$",
            "grant usage on schema s, s2 to reader; grant select on s.t, s2.t to reader",
        )  # fmt: skip
        client = stage.client(database)
        said = [asked(client, parse("select * from t", "p") + describe("p") + SYNC)]
        run = bind("p", binary=True) + EXECUTE + SYNC
        if "begin" not in setting and "temp" not in setting:
            said += stage.elsewhere(database, client, run)
        client.ask(setting)
        if "begin" in setting or "temp" in setting:
            said += [asked(client, run) for _ in range(2)]
            client.ask("rollback; discard temp")
        else:
            said += stage.elsewhere(database, client, run)
        client.ask("reset role; reset search_path")
        return said + stage.elsewhere(database, client, run)

    stage.both(play)


def test_nothing_of_a_batch_is_done_that_ends_in_a_changed_plan(stage: Stage) -> None:
    """What was executed in front of it in its implicit transaction is rolled back."""

    def play(database: str) -> list[Any]:
        stage.admin(database, "create table t(a int); create table log(what text); insert into t values (1)")
        client = stage.client(database)
        said = [asked(client, parse("update t set a = a + 1 returning *", "p") + describe("p") + SYNC)]
        stage.admin(database, "alter table t add b int")
        noted = parse("insert into log values ('x')") + bind() + EXECUTE
        for _ in range(2):
            said += stage.elsewhere(database, client, noted + bind("p") + EXECUTE + noted + SYNC)
        client.ask("begin")
        said.append(asked(client, noted + bind("p") + EXECUTE + SYNC))
        said.append(asked(client, noted + SYNC))
        client.ask("rollback")
        return [*said, values(client.ask("select (select count(*) from log), (select a from t)"))]

    stage.both(play)


@pytest.mark.parametrize("change", CHANGES)
def test_the_unnamed_statement_stays_as_described(stage: Stage, change: str) -> None:
    made, text, ddl = CHANGES[change]

    def play(database: str) -> list[Heard]:
        stage.admin(database, made)
        client = stage.client(database)
        said = [asked(client, parse(text) + describe("") + SYNC)]
        run = bind(binary=True) + EXECUTE + SYNC
        said += stage.elsewhere(database, client, run) if change != "an insert" else []
        stage.admin(database, ddl)
        for _ in range(2):
            said += stage.elsewhere(database, client, run)
        said.append(asked(client, describe("") + SYNC))
        said.append(asked(client, parse(text) + describe("") + SYNC))
        return said + stage.elsewhere(database, client, run)

    stage.both(play)


def test_parameters_of_the_unnamed_statement_keep_their_types(stage: Stage) -> None:
    def play(database: str) -> list[Heard]:
        stage.admin(database, "create table t(id int primary key, v text); insert into t values (1, 'one')")
        client = stage.client(database)
        said = [asked(client, parse("select v from t where id = $1") + describe("") + SYNC)]
        stage.admin(database, "alter table t alter id type bigint")
        run = bind("", "", b"\0\0\0\1", binary=True) + EXECUTE + SYNC
        return said + stage.elsewhere(database, client, run) + stage.elsewhere(database, client, run)

    stage.both(play)


# -- who comes later


@pytest.mark.parametrize("how", ["by another", "in DO", "in a function"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_new_parse_means_what_it_does_now(stage: Stage, change: str, how: str) -> None:
    made, text, ddl = CHANGES[change]

    def play(database: str) -> list[Heard]:
        stage.admin(database, made)
        prepare = parse(text, "p") + describe("p") + bind("p", binary=True) + EXECUTE + SYNC
        said = [asked(stage.client(database), prepare) for _ in range(2)]
        do = f"do $do$ begin execute $ddl${ddl}$ddl$; end $do$"
        if how == "in a function":
            stage.admin(
                database,
                f"create function change() returns void language plpgsql as $f$ begin execute $ddl${ddl}$ddl$; end $f$",
            )
            do = "select change()"
        assert sqlstate(stage.client(database).ask(ddl if how == "by another" else do)) == ""
        stage.cluster.wait_caught_up()
        client = stage.client(database)
        said.append(asked(client, prepare))
        return said + stage.elsewhere(database, client, bind("p", binary=True) + EXECUTE + SYNC)

    stage.both(play)


@pytest.mark.parametrize("stays", [True, False])
def test_ddl_that_came_another_way_is_noticed(stage: Stage, stays: bool) -> None:  # noqa: FBT001
    """Also where nobody is connected at the moment when somebody looks."""
    stage.admin("routed", "create table t(a int, e int); insert into t values (1)")
    write = parse("insert into t (a) values ($1) returning a", "p") + describe("p")
    big = (1 << 40).to_bytes(8, "big")
    told = write + bind("p", "", (5).to_bytes(4, "big"), binary=True) + EXECUTE + SYNC
    staying = stage.client("routed") if stays else None
    for _ in range(3):
        with RawClient(stage.ports["routed"]) as client:
            client.login(database="routed")
            assert asked(client, told).codes == "1tT2DCZ"
    stage.admin("routed", "alter table t alter a type bigint")

    def noticed() -> bool:
        with RawClient(stage.ports["routed"]) as client:
            client.login(database="routed")
            said = asked(client, write + bind("p", "", big, binary=True) + EXECUTE + SYNC)
        return said.rows == [b"\0\1" + struct.pack("!i", 8) + big, b"INSERT 0 1\0"]

    until(noticed, 3, "new clients get the new type")
    if staying is not None:
        assert asked(staying, write + bind("p", "", big, binary=True) + EXECUTE + SYNC).codes == "1tT2DCZ"


# -- batches


BATCHES = {
    "executed in front of the Bind": parse("select 1") + bind() + EXECUTE + bind("all") + EXECUTE + SYNC,
    "bound and not executed": bind("all") + SYNC,
    "bound to another portal": bind("all", "a") + bind("one", "b") + execute("b") + SYNC,
    "executed later": bind("all", "a") + bind("one", "b") + execute("b") + execute("a") + bind("one") + EXECUTE + SYNC,
    "executed twice": bind("all", "a") + execute("a") + execute("a") + SYNC,
    "bound over": bind("all") + bind("one") + EXECUTE + SYNC,
    "by name": bind("name") + EXECUTE + bind("one") + EXECUTE + SYNC,
    "by name, not executed": bind("name") + SYNC,
    "by name, behind a Bind of it": bind("one", "a") + bind("name", "b") + execute("b") + execute("a") + SYNC,
    "by name, behind an error": parse("selekt") + bind("name") + EXECUTE + SYNC,
    "behind an error": parse("selekt") + bind("all") + EXECUTE + SYNC,
    "in front of an error": bind("all") + EXECUTE + parse("selekt") + SYNC,
    "two of them, the second behind an error": bind("name") + EXECUTE + parse("selekt") + bind("all") + EXECUTE + SYNC,
    "and parsed again": bind("all") + EXECUTE + parse("select 'new'", "one") + bind("one") + EXECUTE + SYNC,
    "DISCARD ALL bound and not executed": bind("discard") + SYNC,
    "in a pipeline": bind("all") + EXECUTE + SYNC + bind("one") + EXECUTE + SYNC,
    "in a pipeline, not executed": bind("all") + SYNC + bind("one") + EXECUTE + SYNC,
    "in a pipeline, behind an error": parse("selekt") + bind("all") + EXECUTE + SYNC + bind("one") + EXECUTE + SYNC,
    "in a pipeline of queries": query("deallocate one") + bind("one") + EXECUTE + SYNC,
    "a query in a transaction that has failed":
        query("begin; select 1/0") + query("deallocate all") + query("rollback"),
    "by name in one that has failed": query("begin; select 1/0") + query("deallocate one") + query("rollback"),
    "bound in a transaction, executed in its next batch":
        query("begin") + bind("all", "a") + SYNC + execute("a") + SYNC + query("commit"),
    "COMMIT bound, not executed": query("begin") + bind("commit") + SYNC + bind("one") + EXECUTE + SYNC
        + query("rollback"),
    "COMMIT and BEGIN in another order": query("begin") + bind("commit", "a") + bind("begin", "b") + execute("b")
        + execute("a") + SYNC + bind("one") + EXECUTE + SYNC,
    "SET bound, not executed": bind("set") + SYNC + query("show work_mem"),
    "RESET bound, not executed": bind("reset") + SYNC + query("show datestyle") + query("set datestyle = 'German'")
        + bind("reset") + SYNC + query("show datestyle"),
    "a Parse behind an error, bound in the next batch":
        parse("selekt") + parse("select 'new'", "new") + SYNC + bind("new") + EXECUTE + SYNC,
    "and described": parse("selekt") + parse("select 'new'", "new") + SYNC + describe("new") + SYNC,
    "and closed": parse("selekt") + parse("select 'new'", "new") + SYNC + close("new") + parse("select 2", "new")
        + bind("new") + EXECUTE + SYNC,
    "a Close behind an error": parse("selekt") + close("one") + SYNC + bind("one") + EXECUTE + SYNC,
    "a Parse that fails, a Bind in the next batch": parse("selekt", "new") + SYNC + bind("new") + EXECUTE + SYNC,
    "a Query of ours behind a SET": query("set work_mem = '7MB'") + query("deallocate one") + bind("one") + SYNC,
    "of what is not there, behind a SET": query("set work_mem = '7MB'") + query("deallocate nothing"),
    "of all, behind a SET": query("set datestyle = 'German'") + query("deallocate all") + bind("one") + SYNC,
    "a look behind a SET": query("set work_mem = '7MB'") + query("select name from pg_prepared_statements order by 1"),
    "DISCARD ALL executed, and a name parsed again": bind("discard") + EXECUTE + parse("select 'new'", "one")
        + bind("one") + EXECUTE + SYNC,
    "DISCARD ALL executed, and a name bound": bind("discard") + EXECUTE + bind("one") + EXECUTE + SYNC,
    "DISCARD ALL executed, and a SET behind it": parse("set work_mem = '9MB'") + bind("discard") + EXECUTE + bind()
        + EXECUTE + SYNC,
    "DISCARD ALL of a Query": query("set work_mem = '7MB'") + query("discard all") + bind("one") + EXECUTE + SYNC,
    "DISCARD ALL that is refused": query("begin") + query("discard all") + query("rollback") + bind("one") + EXECUTE
        + SYNC,
    "EXECUTE of a DEALLOCATE ALL": query('execute "all"') + bind("one") + EXECUTE + SYNC,
    "EXECUTE of a DEALLOCATE": query("execute name") + parse("select 'new'", "one") + bind("one") + EXECUTE + SYNC,
    "a Query in a batch that was not ended": parse("select 'new'", "new") + query("deallocate new"),
    "a Parse in a transaction that has failed":
        query("begin; select 1/0") + parse("select 'new'", "new") + SYNC + query("rollback"),
    "a Parse in a transaction that will have failed":
        query("begin") + bind("zero") + EXECUTE + SYNC + parse("select 'new'", "new") + SYNC + query("rollback"),
    "a Close and a Parse in one that has failed":
        query("begin; select 1/0") + close("one") + parse("select 'new'", "one") + SYNC + query("rollback"),
    "a Parse behind one that was skipped, not the first of its batch": parse("selekt") + parse("select 'new'", "new")
        + SYNC + bind("one") + parse("select 'newer'", "new") + bind("new") + EXECUTE + SYNC,
    "a Parse with a Flush": parse("select 'new'", "new") + FLUSH + bind("new") + EXECUTE + SYNC,
}  # fmt: skip


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("batch", BATCHES)
def test_what_a_batch_does_to_names(stage: Stage, batch: str, known: bool) -> None:  # noqa: FBT001
    """`known`: the server has the text that is new to the client."""

    def play(database: str) -> list[Heard]:
        if known:
            for _ in range(2):
                other = stage.client(database, datestyle="ISO, YMD")
                asked(other, parse("select 'new'", "new") + bind("new") + EXECUTE + SYNC)
        client = stage.client(database, datestyle="ISO, YMD")
        for name, text in {
            "one": "select 'one'", "all": "deallocate all", "name": "deallocate one", "discard": "discard all",
            "commit": "commit", "begin": "begin", "set": "set work_mem = '9MB'", "reset": "reset datestyle",
            "zero": "select 1/0",
        }.items():  # fmt: skip
            asked(client, parse(text, name) + SYNC)
        client.send(BATCHES[batch])
        said = [heard(client.until_ready()) for _ in range(count(BATCHES[batch]))]
        said += [asked(client, describe(name) + SYNC) for name in ("one", "new", "all")]
        look = "select name, statement from pg_prepared_statements order by name"
        return [*said, heard(client.ask(look)), heard(stage.client(database).ask(look))]

    stage.both(play)


def count(batch: bytes) -> int:
    """Count what ends with ReadyForQuery."""
    at = found = 0
    while at < len(batch):
        found += batch[at : at + 1] in (b"S", b"Q")
        at += 1 + struct.unpack_from("!I", batch, at + 1)[0]
    return found
