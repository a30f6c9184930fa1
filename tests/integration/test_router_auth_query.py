"""auth.query: secrets from the primary, asked for by a role that is no superuser; nobody's password is in a file."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.router import static_cluster

from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import Server

pytestmark = pytest.mark.pg

QUERY = "select * from lookup.secret_of($1)"
SETUP = """
create role asker login password 'asks';
create database secrets;
\\
create schema lookup;
create sequence lookup.asked;
create function lookup.secret_of(name, out usename name, out passwd text) returns setof record
language sql security definer set search_path = pg_catalog, pg_temp as
$$select rolname, rolpassword from pg_authid where rolname = $1 and nextval('lookup.asked') > 0$$;
revoke all on function lookup.secret_of(name) from public;
grant execute on function lookup.secret_of(name) to asker;
grant usage on schema lookup to asker;
create function public.unqualified(name, out usename name, out passwd text) returns setof record
language sql as $$select 'x'::name, 'trap'::text$$;
alter database secrets set search_path = public;
create role alice login password 'wonder';
create role late login password 'wonder' valid until '2001-01-01';
create role never nologin password 'wonder';
create role without login
"""
AUTH = {"query": QUERY, "query_user": "asker", "query_password": "asks", "query_database": "secrets"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[StreamingCluster]:
    with StreamingCluster(2) as made:
        first, second = SETUP.split("\\")
        for statement in first.split(";")[:2]:
            made.primary.sql(statement)
        made.primary.sql(second, "secrets")
        made.wait_caught_up()
        yield made


@pytest.fixture
def servers(cluster: StreamingCluster) -> Iterator[tuple[Server, ...]]:
    yield cluster.servers
    cluster.primary.thaw()


def front(router: RouterFactory, servers: tuple[Server, ...], **auth: Any) -> Router:
    return router({"cluster": static_cluster(servers), "auth": AUTH | auth})


def outcome(port: int, user: str, password: str) -> str:
    try:
        with psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=user,
            password=password,
            dbname="postgres",
            connect_timeout=20,
            autocommit=True,
        ) as connection:
            row = connection.execute("select current_user").fetchone()
            return str(row and row[0])
    except psycopg.OperationalError as error:
        return str(error).partition("FATAL:")[2].strip().partition("\n")[0]


def asked(server: Server) -> int:
    return int(server.sql("select last_value from lookup.asked", "secrets")[0][0])


@pytest.mark.parametrize("way", ["scram-sha-256", "md5", "password"])
def test_clients_hear_the_same_as_from_postgresql(router: RouterFactory, servers: tuple[Server, ...], way: str) -> None:
    one = front(router, servers, type=way)
    for user in ("alice", "late", "never", "without", "nobody", "postgres"):
        for password in ("wonder", "wrong"):
            direct, routed = (outcome(port, user, password) for port in (servers[0].port, one.port))
            assert routed == direct, (user, password)
    assert outcome(one.port, "postgres", "postgres") == "postgres"  # from the users file


def test_logins_at_the_same_time_share_an_answer(router: RouterFactory, servers: tuple[Server, ...]) -> None:
    one = front(router, servers)
    before = asked(servers[0])
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: outcome(one.port, "alice", "wonder"), range(40))) == {"alice"}
    assert asked(servers[0]) - before <= 3


def test_a_new_password_is_noticed_when_it_is_used(router: RouterFactory, servers: tuple[Server, ...]) -> None:
    one = front(router, servers, query_max_age="1h")
    assert outcome(one.port, "alice", "wonder") == "alice"
    servers[0].sql("alter role alice password 'mirror'")
    try:
        until(lambda: outcome(one.port, "alice", "mirror") == "alice", 10, "the new password")
        assert "password authentication failed" in outcome(one.port, "alice", "wonder")
    finally:
        servers[0].sql("alter role alice password 'wonder'")


def test_a_role_that_may_no_longer_log_in_is_refused(router: RouterFactory, servers: tuple[Server, ...]) -> None:
    one = front(router, servers, query_max_age="0.1s")
    assert outcome(one.port, "alice", "wonder") == "alice"  # from now on its pool has a connection
    servers[0].sql("alter role alice nologin")
    try:
        until(lambda: outcome(one.port, "alice", "wonder") == 'role "alice" is not permitted to log in', 5, "refused")
    finally:
        servers[0].sql("alter role alice login")


def test_without_a_primary_the_last_answer_holds(router: RouterFactory, servers: tuple[Server, ...]) -> None:
    one = front(router, servers, query_max_age="0.1s")
    assert outcome(one.port, "alice", "wonder") == "alice"
    servers[0].freeze()
    time.sleep(0.2)  # the answer is too old now
    assert outcome(one.port, "alice", "wonder") == "alice"
    began = time.monotonic()
    assert outcome(one.port, "late", "wonder") == 'the role "late" cannot be looked up'
    assert 5 < time.monotonic() - began < 15
    servers[0].thaw()
    until(lambda: "password authentication failed" in outcome(one.port, "late", "wonder"), 20, "asked again")


def test_no_code_of_others_runs_as_the_asking_role(router: RouterFactory, servers: tuple[Server, ...]) -> None:
    one = front(router, servers, query="select * from unqualified($1)")
    assert "password authentication failed" in outcome(one.port, "alice", "trap")
    assert one.log_contains(r"auth.query: .*function unqualified\(unknown\) does not exist")


def test_the_default_query_reads_pg_authid(router: RouterFactory, servers: tuple[Server, ...]) -> None:
    one = front(router, servers, query="", query_user="postgres", query_password="postgres")
    assert outcome(one.port, "alice", "wonder") == "alice"


def test_a_role_that_may_not_ask_lets_nobody_in(router: RouterFactory, servers: tuple[Server, ...]) -> None:
    one = front(router, servers, query="")
    assert "password authentication failed" in outcome(one.port, "alice", "wonder")
    assert one.log_contains("auth.query: .*permission denied for table pg_authid")
