"""The router follows the catalog of its databases: what a name does decides, also after it has changed."""

# ruff: noqa: S608  (the SQL is ours)

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

DATABASE = "names"
MEMBER = "current_setting('demo.member')"
REPLICAS = {"pg1", "pg2"}
PRIMARY = {"pg0"}


@pytest.fixture(scope="module")
def front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    routing = {"catalog_interval": "500ms", "read_consistency": "eventual"}  # where statements go by themselves
    with running({"cluster": static_cluster(_streaming_cluster.servers), "routing": routing}) as router:
        yield router


@pytest.fixture
def database(streaming: StreamingCluster) -> Iterator[str]:
    primary = streaming.primary
    primary.sql(f"create database {DATABASE}")
    primary.sql(
        "create table items (id int); create sequence numbers;"
        f"create function calm() returns text stable language sql as $$ select {MEMBER} $$;"
        f"create function wild() returns text volatile language sql as $$ select {MEMBER} $$;"
        f"create view calm_view as select {MEMBER} as member;"
        f"create view wild_view as select {MEMBER} as member, nextval('numbers') from generate_series(1, 1);",
        dbname=DATABASE,
    )
    streaming.wait_caught_up()
    yield DATABASE
    primary.sql(f"drop database {DATABASE} with (force)")


@pytest.fixture
def client(front: Router, database: str) -> Iterator[psycopg.Connection[Any]]:
    with front.connect(database) as connection:
        until(lambda: members(connection, "select calm()") == REPLICAS, 30, "the catalog is known")
        yield connection


def members(client: psycopg.Connection[Any], statement: str, times: int = 6, **more: Any) -> set[str]:
    rows = [client.execute(statement.encode(), **more).fetchone() for _ in range(times)]
    return set(Counter(row[0] for row in rows if row))


def test_functions_and_views_go_where_they_must(client: psycopg.Connection[Any]) -> None:
    assert members(client, "select wild()") == PRIMARY
    assert members(client, "select member from calm_view") == REPLICAS
    assert members(client, "select member from wild_view") == PRIMARY


@pytest.mark.parametrize("prepare", [False, True])
def test_what_is_redefined_through_the_router_is_never_read_by_its_old_meaning(
    client: psycopg.Connection[Any],
    prepare: bool,  # noqa: FBT001
) -> None:
    assert members(client, "select calm()", prepare=prepare) == REPLICAS
    client.execute(
        f"create or replace function calm() returns text volatile language sql as $$ select {MEMBER} $$".encode()
    )
    assert members(client, "select calm()", times=50, prepare=prepare) == PRIMARY
    client.execute("alter function calm() stable")
    until(lambda: members(client, "select calm()", prepare=prepare) == REPLICAS, 30, "known to be calm again")


def test_ddl_in_a_transaction_counts_when_it_is_committed(client: psycopg.Connection[Any]) -> None:
    with client.transaction():
        client.execute("create or replace view calm_view as select member from wild_view")
    assert members(client, "select member from calm_view", times=50) == PRIMARY


def test_what_has_changed_elsewhere_is_noticed(client: psycopg.Connection[Any], streaming: StreamingCluster) -> None:
    streaming.primary.sql("alter function wild() stable", dbname=DATABASE)
    until(lambda: members(client, "select wild()") == REPLICAS, 30, "wild() was found to be stable")
    streaming.primary.sql("create function new() returns int stable language sql as 'select 1'", dbname=DATABASE)
    streaming.primary.sql("alter function wild() volatile", dbname=DATABASE)
    until(lambda: members(client, "select wild()") == PRIMARY, 30, "wild() was found to be volatile")


def test_a_table_that_was_just_made_is_read_where_it_is(client: psycopg.Connection[Any]) -> None:
    for i in range(20):
        client.execute(f"create table fresh_{i} as select {MEMBER} as member".encode())
        assert client.execute(f"select count(*) from fresh_{i}".encode()).fetchone() == (1,)


def test_another_database_has_another_catalog(
    front: Router, client: psycopg.Connection[Any], streaming: StreamingCluster
) -> None:
    streaming.primary.sql(f"create function wild() returns text stable language sql as $$ select {MEMBER} $$")
    try:
        with front.connect() as other:
            until(lambda: members(other, "select wild()") == REPLICAS, 30, "the other catalog is known")
            assert members(client, "select wild()") == PRIMARY
    finally:
        streaming.primary.sql("drop function wild()")


def test_a_catalog_that_cannot_be_read_costs_functions_not_tables(streaming: StreamingCluster, database: str) -> None:
    streaming.primary.sql(
        f"drop role if exists watcher; create role watcher login password 'w';"
        f"revoke connect on database {database} from public"
    )
    cluster = static_cluster(streaming.servers)
    cluster["monitor"] = {"user": "watcher", "password": "w", "database": "postgres"}
    with running({"cluster": cluster}) as router, router.connect(database) as client:
        until(lambda: router.log_contains("catalog of names: .*could not be read"), 30, "it is said")
        reading = f"select {MEMBER} from items right join (values (1)) v on true"
        until(lambda: members(client, reading) == REPLICAS, 30, "tables are read from replicas")
        assert members(client, "select calm()") == PRIMARY
    streaming.primary.sql("drop role watcher")


def test_a_session_with_a_search_path_of_its_own_sees_other_names(client: psycopg.Connection[Any]) -> None:
    client.execute("create schema hut")
    client.execute(f"create function hut.calm() returns text volatile language sql as $$ select {MEMBER} $$".encode())
    until(lambda: members(client, "select calm()", prepare=True) == REPLICAS, 30, "the catalog is known again")
    client.execute("set search_path = hut, public")
    assert members(client, "select calm()", prepare=True) == PRIMARY
    client.execute("reset search_path")
    assert members(client, "select calm()", prepare=True) == REPLICAS


@pytest.mark.parametrize("prepare", [False, True])
def test_explain_route_in_a_session(client: psycopg.Connection[Any], prepare: bool) -> None:  # noqa: FBT001
    def explained(statement: str, prepare: bool = prepare) -> list[str]:  # noqa: FBT001
        return [row[0] for row in client.execute(statement.encode(), prepare=prepare).fetchall()]

    def reads_replicas() -> bool:  # not prepared: that is explained once
        return explained("explain route select 1", prepare=False)[0] == "route:      replica"

    assert explained("explain route select calm()") == ["route:      replica", "reason:     read", "functions:  calm"]
    assert explained("EXPLAIN  Route\n select 'é', wild()") == [
        "route:      primary",
        "reason:     catalog: wild (volatile function)",
        "at:          select 'é', wild()",
        "                         ^",
        "functions:  wild",
    ]
    client.execute("set pgrouter.route = 'primary'")
    assert explained("explain route select 1") == [
        "route:      primary", "reason:     session route", "by itself:  replica: read"
    ]  # fmt: skip
    with client.transaction():
        client.execute("create table fresh (id int)")
        assert explained("explain route insert into fresh values (1)")[:2] == [
            "route:      primary", "reason:     the transaction is open there"
        ]  # fmt: skip
        assert client.execute("select count(*) from fresh").fetchone() == (0,)
    client.execute("set pgrouter.route = 'auto'")
    until(reads_replicas, 30, "replicas have the table")
    client.execute("begin read only")
    client.execute("select 1")
    assert explained("explain route select 2")[0] == "route:      replica"
    assert explained("explain route select pg_advisory_xact_lock(1)")[0] == "route:      primary"
    client.execute("rollback")
    client.execute("create temp table kept (a int)")
    assert explained("explain route select 3")[:2] == [
        "route:      primary", "reason:     the session keeps its server: temporary object"
    ]  # fmt: skip
    client.execute("discard all")
    client.execute("insert into items values (1)")
    until(reads_replicas, 30, "replicas have the write")
    assert client.execute("explain select 1").fetchone() == ("Result  (cost=0.00..0.01 rows=1 width=4)",)
    with pytest.raises(psycopg.errors.SyntaxError):
        client.execute("explain route")
    assert explained("/* why */ explain -- so\nroute select calm()")[0] == "route:      replica"
    with pytest.raises(psycopg.errors.SyntaxError):  # looks the same to the cache, and is not known for what it is
        client.execute("/* /* why */ */ explain route select calm()")


def test_explain_route_beside_other_statements_of_a_pipeline(client: psycopg.Connection[Any]) -> None:
    with client.pipeline(), client.cursor() as one, client.cursor() as two, client.cursor() as three:
        one.execute("select 1")
        two.execute("explain route select wild()")
        three.execute("select 3")
        assert one.fetchone() == (1,)
        assert two.fetchone() == ("route:      primary",)
        assert three.fetchone() == (3,)


def test_a_database_that_nobody_uses_can_be_dropped(front: Router, streaming: StreamingCluster) -> None:
    primary = streaming.primary
    primary.sql("create database briefly")
    streaming.wait_caught_up()
    watching = "select count(*) from pg_stat_activity where datname = 'briefly' and application_name ~ 'catalog'"
    with front.connect("briefly") as client:
        client.execute("create table t (id int)")
        until(lambda: primary.sql(watching) == [(1,)], 30, "its catalog is read")
    until(lambda: primary.sql(watching) == [(0,)], 30, "and no longer")
    with front.connect() as client:
        client.execute("drop database briefly")  # the pool's own connections to it are closed for that


@pytest.mark.parametrize("statement", ["drop database briefly", "create database copied template briefly"])
def test_a_database_can_be_dropped_or_copied_at_once(
    front: Router, streaming: StreamingCluster, statement: str
) -> None:
    primary = streaming.primary
    with front.connect() as client:
        client.execute("create database briefly")
        try:
            streaming.wait_caught_up()
            for _ in range(3):
                with front.connect("briefly") as user:
                    user.execute("create table if not exists t (id int)")
                    user.execute("select * from t")
            client.execute(statement)
        finally:
            primary.sql("drop database if exists briefly with (force)")
            primary.sql("drop database if exists copied")


def test_a_primary_that_hangs_while_it_is_asked_does_not_keep_the_router_from_ending(
    streaming: StreamingCluster, router: RouterFactory
) -> None:
    front = router({"cluster": static_cluster(streaming.servers), "routing": {"catalog_interval": "100ms"}})
    with front.connect() as client:
        client.execute("create table if not exists hanging (a int)")
    streaming.primary.freeze()
    try:
        time.sleep(1)  # it is asked by now
        began = time.monotonic()
        front.stop()
        assert time.monotonic() - began < 2
    finally:
        streaming.primary.thaw()
