"""What the primary has and a replica that is late does not have yet: the second run finds it, whatever it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

# schema `behind` before; what is changed while the replicas stand still; what is asked then, and the answer
BEFORE = """
    create type behind.mood as enum ('sad'); create table behind.t (id int, m behind.mood);
    insert into behind.t values (1, 'sad');
    create domain behind.small as int check (value < 10);
    create domain behind.present as int not null;
    create table behind.a (id int, twice int); create table behind.b (id int, twice int);
    insert into behind.a values (1, 2); insert into behind.b values (1, 2);
    create table behind.grouped (id int, name text); insert into behind.grouped values (1, 'x');
    create function behind.one(int, text) returns int immutable language sql as 'select 1';
    create function behind.one(text, int) returns int immutable language sql as 'select 1';
    create table behind.collated (l text collate "C", r text collate "POSIX");
    insert into behind.collated values ('a', 'b');
    create type behind.pair as (a int, b int);
    create function behind.same(behind.pair, behind.pair) returns bool immutable language sql as 'select $1.a = $2.a';
    create function behind.sum(behind.pair) returns int immutable language sql as 'select ($1).a + ($1).b';
    create table behind.secret (id int); insert into behind.secret values (5);
    revoke all on behind.secret from public;
    create procedure behind.later(int) language sql as 'select 1';
"""
KINDS: dict[str, tuple[str, str, Any]] = {
    "enum value": ("alter type behind.mood add value 'glad'", "select count(*) from behind.t where m = 'glad'", 0),
    "enum value in an array": (
        "alter type behind.mood add value 'calm'", "select count(*) from behind.t where m = any ('{calm}')", 0),
    "regclass": ("create table behind.new (id int)", "select count('behind.new'::regclass)", 1),
    "column": ("alter table behind.t add column n int default 4", "select n from behind.t", 4),
    "operator": (
        "create operator behind.=== (leftarg = behind.pair, rightarg = behind.pair, function = behind.same)",
        "select ('(1,2)'::behind.pair operator(behind.===) '(1,2)'::behind.pair)::text", "true"),
    "cast": (
        "create cast (behind.pair as int) with function behind.sum",
        "select '(1,2)'::behind.pair::int", 3),
    "text search configuration": (
        "create text search configuration behind.ts (copy = simple)",
        "select to_tsvector('behind.ts', 'x')::text", "'x':1"),
    "collation": (
        "create collation behind.coll (locale = 'C')", "select ('a' < 'b' collate behind.coll)::text", "true"),
    "collation of a column": (
        'alter table behind.collated alter column r type text collate "C"',
        "select (l < r)::text from behind.collated", "true"),
    "constraint of a domain": (
        "alter domain behind.small drop constraint small_check", "select 11::behind.small", 11),
    "a domain's not null": (
        "alter domain behind.present drop not null", "select coalesce(null::behind.present, 7)", 7),
    "a column dropped": (
        "alter table behind.b drop column twice", "select twice from behind.a join behind.b on a.id = b.id", 2),
    "a function dropped": ("drop function behind.one(text, int)", "select behind.one('1', '2')", 1),
    "a primary key": (
        "alter table behind.grouped add primary key (id)", "select name from behind.grouped group by id", "x"),
    "a privilege": ("grant usage on schema behind to public; grant select on behind.secret to behind_reader",
                    "select id from behind.secret", 5),
    "a function instead of a procedure": (
        "drop procedure behind.later; create function behind.later(int) returns int stable language sql as 'select 8'",
        "select behind.later(1)", 8),
}  # fmt: skip


@pytest.fixture(scope="module")
def front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    primary = _streaming_cluster.primary
    primary.sql("create role behind_reader login password 'reader'")
    settings = {
        "cluster": static_cluster(_streaming_cluster.servers),
        "routing": {"catalog_interval": "100ms", "read_consistency": "eventual"},
    }
    with running(settings, users={"postgres": "postgres", "behind_reader": "reader"}) as router:
        yield router
    primary.sql("drop schema if exists behind cascade; drop owned by behind_reader; drop role behind_reader")


@pytest.fixture
def client(front: Router, streaming: StreamingCluster) -> Iterator[psycopg.Connection[Any]]:
    streaming.primary.sql("drop schema if exists behind cascade; create schema behind;" + BEFORE)
    streaming.primary.sql("grant usage on schema behind to behind_reader; grant all on behind.t to behind_reader")
    streaming.primary.sql("grant select on behind.a, behind.b, behind.grouped, behind.collated to behind_reader")
    streaming.wait_caught_up()
    with front.connect(user="behind_reader", password="reader") as client:
        until(lambda: to_replica(client, "select id from behind.a, behind.t"), 30, "the catalog is known")
        yield client


def to_replica(client: psycopg.Connection[Any], sql: str) -> bool:
    return client.execute(f"explain route {sql}".encode(), prepare=False).fetchone() == ("route:      replica",)


@contextmanager
def standing_still(streaming: StreamingCluster) -> Iterator[None]:
    for standby in streaming.standbys:
        standby.sql("select pg_wal_replay_pause()")
    try:
        yield
    finally:
        for standby in streaming.standbys:
            standby.sql("select pg_wal_replay_resume()")


def again(front: Router) -> int:
    return sum(row["count"] for row in front.admin("SHOW ROUTES") if row["reason"] == "refused by a replica")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_new_is_found(
    front: Router, client: psycopg.Connection[Any], streaming: StreamingCluster, kind: str
) -> None:
    change, asked, answer = KINDS[kind]
    with standing_still(streaming):
        streaming.primary.sql(change)
        until(lambda: to_replica(client, asked), 30, "the catalog has it, and the read goes to a replica")
        before = again(front)
        simple = client.execute(asked.encode(), prepare=False).fetchone()
        with client.cursor(binary=False) as cursor:
            extended = cursor.execute(asked.encode(), prepare=True).fetchone()
        assert (simple, extended) == ((answer,), (answer,))
        assert again(front) - before >= 2  # a prepared one is described first


def test_a_new_enum_value_as_a_parameter(
    front: Router, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    asked = b"select count(*) from behind.t where m = %s"
    for binary in (False, True):
        assert client.execute(asked, ["sad"], binary=binary).fetchone() == (1,)
    with standing_still(streaming):
        streaming.primary.sql("alter type behind.mood add value 'glad'")
        for prepare in (False, True):
            before = again(front)
            assert client.execute(asked, ["glad"], prepare=prepare).fetchone() == (0,)
            assert again(front) == before + 1


def test_a_setting_that_names_a_new_object(
    front: Router, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    with standing_still(streaming):
        streaming.primary.sql("create text search configuration behind.ts (copy = simple)")
        client.execute("set default_text_search_config = 'behind.ts'")
        for prepare in (False, True):
            assert client.execute("select to_tsvector('x y')::text", prepare=prepare).fetchone() == ("'x':1 'y':2",)
        assert client.execute("show default_text_search_config").fetchone() == ("behind.ts",)
        with front.connect(
            user="behind_reader", password="reader", options="-c\\ default_text_search_config=behind.ts"
        ) as other:
            assert other.execute("select to_tsvector('x')::text").fetchone() == ("'x':1",)


def test_what_is_wrong_everywhere_is_the_primarys_error(
    front: Router, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    del streaming
    before = again(front)
    for asked in ("select count(*) from behind.t where m = 'nothing'", "select 'x'::int from behind.t"):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="invalid input"):
            client.execute(asked.encode())
    assert again(front) == before + 2
    assert client.execute("select 1").fetchone() == (1,)
