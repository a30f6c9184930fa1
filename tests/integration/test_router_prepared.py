"""Prepared statements and DDL, as on a direct connection: never other bytes than those that were described.

Each story is played on a direct connection and through the router, whose servers have the statement, or have not.
"""

from __future__ import annotations

import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from support.front import running
from support.rawclient import EXECUTE, FLUSH, SYNC, Message, RawClient, message, parse, query, sqlstate, values
from support.router import static_cluster

from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router

pytestmark = [pytest.mark.pg, pytest.mark.timeout(120)]

TRUST = ServerOptions(hba=("host all postgres 127.0.0.1/32 trust",))
DATABASES = ("direct", "routed")
INT4, INT8 = 23, 20


def describe(name: str, kind: str = "S") -> bytes:
    return message(b"D", f"{kind}{name}\0".encode())


def close(name: str) -> bytes:
    return message(b"C", f"S{name}\0".encode())


def execute(portal: str) -> bytes:
    return message(b"E", portal.encode() + bytes(5))


def bind(name: str = "", portal: str = "", *given: bytes, binary: bool = False) -> bytes:
    """Give a Bind with these values; they and the results in binary, or in text."""
    body = f"{portal}\0{name}\0".encode() + struct.pack("!HHH", 1, binary, len(given))
    body += b"".join(struct.pack("!i", len(value)) + value for value in given)
    return message(b"B", body + struct.pack("!HH", 1, binary))


class Heard(NamedTuple):
    """What can be compared of an answer."""

    codes: str
    rows: list[bytes]
    columns: list[bytes]
    error: tuple[str, ...]


def heard(said: list[Message]) -> Heard:
    errors = tuple(f"{m.fields['C']} {m.fields['M']} {m.fields['R']}" for m in said if m.code == "E")
    return Heard(
        "".join(m.code for m in said), [m.body for m in said if m.code in "DC"],
        [name for m in said if m.code == "T" for name in names(m.body)], errors,
    )  # fmt: skip


def names(columns: bytes) -> Iterator[bytes]:
    """Give each column's name and length of its type."""
    at = 2
    for _ in range(struct.unpack_from("!H", columns)[0]):
        end = columns.index(0, at) + 1
        yield columns[at:end] + columns[end + 10 : end + 12]
        at = end + 18


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


class Stage:
    """The same story in front of PostgreSQL and of the router."""

    def __init__(self, cluster: StreamingCluster, router: Router, stack: ExitStack) -> None:
        self.cluster, self.router, self.stack = cluster, router, stack
        self.ports = {"direct": cluster.primary.port, "routed": router.port}

    def both(self, play: Callable[[str], Any]) -> None:
        """Play it directly and through the router, and compare what `play` gives."""
        direct = play("direct")
        routed = play("routed")
        assert routed == direct

    def client(self, database: str, **more: str) -> RawClient:
        client = self.stack.enter_context(RawClient(self.ports[database]))
        client.login(database=database, **more)
        return client

    def admin(self, database: str, *texts: str) -> None:
        """Do something another way than through the router."""
        for text in texts:
            self.cluster.primary.sql(text, dbname=database)
        self.cluster.wait_caught_up()

    def occupied(self, database: str) -> RawClient:
        """Have the next client get another server connection, where there are several."""
        client = self.client(database)
        if self.router.several:
            client.ask("begin; select txid_current()")
        return client

    def elsewhere(self, database: str, client: RawClient, data: bytes) -> list[Heard]:
        """Send it twice: on the server connection that was used last, and on another."""
        answers = [asked(client, data)]
        with RawClient(self.ports[database]) as other:
            other.login(database=database)
            if database == "routed" and self.router.several:
                other.ask("begin; select txid_current()")
            answers.append(asked(client, data))
        return answers


def asked(client: RawClient, data: bytes) -> Heard:
    client.send(data)
    return heard(client.until_ready())


@pytest.fixture
def stage(cluster: StreamingCluster, router: Router) -> Iterator[Stage]:
    with ExitStack() as stack:
        stage = Stage(cluster, router, stack)
        for database in DATABASES:
            stage.admin(
                database,
                "drop schema if exists s cascade", "drop schema if exists s2 cascade", "create schema s",
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
    "a view": ("create view t as select 1 as a", "select * from t", "create or replace view t as select 1 as a, 2 as b"),
    "a view made anew": ("create view t as select 1 as a", "select * from t",
                         "drop view t; create view t as select 'x'::text as a"),
    "a function": ("create function f() returns int language sql as 'select 1'", "select f()",
                   "drop function f(); create function f() returns text language sql as $$ select 'x' $$"),
    "a function's columns": ("create function f(out a int, out b int) language sql as 'select 1, 2'",
                             "select * from f()",
                             "drop function f(); create function f(out b int, out a int) language sql"
                             " as 'select 1, 2'"),
    "an enum": ("create type e as enum ('x'); create table t(a e); insert into t values ('x')", "select a from t",
                "drop table t; drop type e; create type e as enum ('y', 'x'); create table t(a e);"
                " insert into t values ('x')"),
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
