"""Pools that share the connections of a server: who gives way, who waits, what a full server says."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.router import static_cluster

from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

pytestmark = pytest.mark.pg

USERS = [f"u{number}" for number in range(1, 7)]
PASSWORD = "secret"
MAX_CONNECTIONS = 20  # of which PostgreSQL keeps three for superusers, and the router's own role uses some


@pytest.fixture(scope="module")
def small() -> Iterator[StreamingCluster]:
    """Give a server with few connections, and six users."""
    with StreamingCluster(1, options=ServerOptions(max_connections=MAX_CONNECTIONS)) as cluster:
        for user in USERS:
            cluster.primary.sql(f"create role {user} login password '{PASSWORD}'")
        cluster.primary.sql("create role narrow login connection limit 2 password 'secret'")
        cluster.primary.sql("create database narrow connection limit 1")
        yield cluster


def start(router: RouterFactory, cluster: StreamingCluster, **pool: object) -> Router:
    users = {"postgres": "postgres", "narrow": PASSWORD} | dict.fromkeys(USERS, PASSWORD)
    return router({"cluster": static_cluster(cluster.servers), "pool": pool}, users=users)


def connect(front: Router, user: str, dbname: str = "postgres") -> psycopg.Connection[Any]:
    dsn = front.dsn(dbname, user=user, password=PASSWORD, connect_timeout=30)
    return psycopg.connect(dsn, autocommit=True)


def connections(front: Router, user: str) -> int:
    row = next((row for row in front.admin("SHOW USERS") if row["name"] == user), None)
    return int(row["current_connections"]) if row is not None else 0


def fill(front: Router, stack: ExitStack, user: str) -> None:
    """Let a user have as many idle server connections as it may."""
    clients = [stack.enter_context(connect(front, user)) for _ in range(MAX_CONNECTIONS)]
    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(lambda client: client.execute("select pg_sleep(0.3)"), clients))


@pytest.mark.parametrize("limits", [{}, {"max_member_connections": 12}], ids=["the server's own", "configured"])
def test_idle_connections_of_others_give_way_at_once(
    router: RouterFactory, small: StreamingCluster, limits: dict[str, int]
) -> None:
    front = start(router, small, **limits)
    with ExitStack() as stack:
        fill(front, stack, "u1")
        assert connections(front, "u1") >= limits.get("max_member_connections", 14)
        for user in USERS[1:]:
            began = time.monotonic()
            with connect(front, user) as client:
                assert client.execute("select current_user").fetchone() == (user,)
            assert time.monotonic() - began < 5


def test_a_busy_user_does_not_starve_the_others(router: RouterFactory, small: StreamingCluster) -> None:
    front = start(router, small)
    done = dict.fromkeys(USERS, 0)
    slowest = dict.fromkeys(USERS, 0.0)
    over = time.monotonic() + 6
    errors: list[str] = []

    def work(user: str) -> None:
        try:
            with connect(front, user) as client:
                while time.monotonic() < over:
                    began = time.monotonic()
                    client.execute("select pg_sleep(0.01)")
                    slowest[user] = max(slowest[user], time.monotonic() - began)
                    done[user] += 1
        except psycopg.Error as error:
            errors.append(f"{user}: {error}")

    numbers = dict.fromkeys(USERS, 4) | {"u1": 30}
    threads = [threading.Thread(target=work, args=(user,)) for user in USERS for _ in range(numbers[user])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert min(done.values()) > 50, done
    assert max(slowest.values()) < 3, slowest


def test_limits_per_user_and_database_hold(router: RouterFactory, small: StreamingCluster) -> None:
    overrides = [{"user": "u1", "max_user_connections": 2}, {"database": "template1", "max_db_connections": 3}]
    front = start(router, small, wait_timeout="1s", connect_timeout="1s", overrides=overrides)
    with ExitStack() as stack:
        for client in [stack.enter_context(connect(front, "u1")) for _ in range(2)]:
            client.execute("begin")
        third = stack.enter_context(connect(front, "u1"))
        with pytest.raises(psycopg.errors.QueryCanceled, match=r"pool.max_user_connections \(2\)"):
            third.execute("select 1")
        for user in ("u2", "u3", "u4"):
            stack.enter_context(connect(front, user, "template1")).execute("begin")
        with pytest.raises(psycopg.OperationalError, match=r"pool.max_db_connections \(3\)"):
            connect(front, "u5", "template1")
        assert stack.enter_context(connect(front, "u5")).execute("select 1").fetchone() == (1,)


def test_clients_are_limited_per_database_and_per_user(router: RouterFactory, small: StreamingCluster) -> None:
    front = start(router, small, max_db_clients=3, overrides=[{"user": "u1", "max_user_clients": 1}])
    with ExitStack() as stack:
        first = stack.enter_context(connect(front, "u1"))
        with pytest.raises(psycopg.OperationalError, match='FATAL:  too many connections for role "u1"'):
            connect(front, "u1")
        for _ in range(2):
            stack.enter_context(connect(front, "u2"))
        with pytest.raises(psycopg.OperationalError, match='FATAL:  too many connections for database "postgres"'):
            connect(front, "u3")
        stack.enter_context(connect(front, "u3", "template1"))
        first.close()
        until(lambda: _lets_in(front, "u1"), 10, "there is room again")


def _lets_in(front: Router, user: str) -> bool:
    try:
        connect(front, user).close()
    except psycopg.OperationalError:
        return False
    return True


def test_at_the_end_the_servers_own_words_are_the_error(router: RouterFactory, small: StreamingCluster) -> None:
    front = start(router, small, wait_timeout="1s", connect_timeout="1s")
    with ExitStack() as stack:
        for client in [stack.enter_context(connect(front, "narrow")) for _ in range(2)]:
            client.execute("begin")
        third = stack.enter_context(connect(front, "narrow"))
        with pytest.raises(psycopg.errors.TooManyConnections, match='too many connections for role "narrow"'):
            third.execute("select 1")
        stack.enter_context(connect(front, "u1", "narrow")).execute("begin")
        with pytest.raises(psycopg.OperationalError, match='FATAL:  too many connections for database "narrow"'):
            connect(front, "u2", "narrow")
