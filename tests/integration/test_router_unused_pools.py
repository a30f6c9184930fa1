"""Pools and databases that nobody uses leave neither memory nor sessions behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.front import rss_mb, running
from support.rawclient import RawClient
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

NAMES = 300


@pytest.fixture
def front(streaming: StreamingCluster) -> Iterator[Router]:
    """Give a router that forgets soon."""
    settings = {
        "cluster": static_cluster(streaming.servers),
        "auth": {"type": "trust"},
        "pool": {"unused_timeout": "1s", "idle_timeout": "1s"},
        "log": {"connections": False},
    }
    with running(settings) as router:
        yield router


def pools(router: Router) -> set[str]:
    return {row["database"] for row in router.admin("SHOW POOLS")} - {"pgrouter", "pgbouncer"}


def test_names_that_do_not_exist_leave_nothing(front: Router) -> None:
    def attempt(number: int) -> None:
        with pytest.raises(psycopg.OperationalError, match=f'database "nothing{number}" does not exist'):
            front.connect(f"nothing{number}")

    for number in range(20):
        attempt(number)
    before_mb = rss_mb(front.process.pid)
    for number in range(NAMES):
        attempt(number)
    until(lambda: not pools(front), 10, "no pool is left")
    assert rss_mb(front.process.pid) - before_mb < 10


def test_a_pool_is_forgotten_after_its_last_connection(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        client.execute("select 1")
        until(lambda: pools(front) == {"postgres"}, 5, "it is there")
        until(lambda: not streaming.primary.sql(SESSIONS), 10, "no session is left but the monitor's")
        assert pools(front) == {"postgres"}  # it has a client
        assert client.execute("select 2").fetchone() == (2,)
    until(lambda: not pools(front), 10, "it is forgotten")
    with front.connect() as client:
        assert client.execute("select 3").fetchone() == (3,)


SESSIONS = """
    select datname, application_name from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name !~ '^pgrouter'
"""


def test_a_login_to_a_database_that_was_dropped_fails(front: Router, streaming: StreamingCluster) -> None:
    streaming.primary.sql("drop database if exists passing")
    streaming.primary.sql("create database passing")
    streaming.wait_caught_up()
    with front.connect("passing") as client:
        client.execute("select 1")
    until(
        lambda: not streaming.primary.sql("select from pg_stat_activity where datname = 'passing'"), 10, "nobody there"
    )
    streaming.primary.sql("drop database passing")
    streaming.wait_caught_up()
    with pytest.raises(psycopg.OperationalError, match='database "passing" does not exist'):
        front.connect("passing")


def test_a_login_goes_on_with_what_is_known_while_no_server_answers(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        client.execute("select 1")
        until(lambda: not streaming.primary.sql(SESSIONS), 10, "no session is left")
        for server in streaming.servers:
            server.freeze()
        try:
            with RawClient(front.port, timeout_s=20) as other:
                other.login()
        finally:
            for server in streaming.servers:
                server.thaw()
