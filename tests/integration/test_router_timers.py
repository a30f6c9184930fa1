"""Time limits that a session sets for itself: the session's, never a pooled connection's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster


@pytest.fixture
def front(streaming: StreamingCluster) -> Iterator[Router]:
    with running({"cluster": static_cluster([streaming.primary]), "pool": {"size": 1}}) as router:
        yield router


def test_an_idle_session_ends_alone(front: Router) -> None:
    with front.connect() as idle, front.connect() as other:
        pid = other.execute("select pg_backend_pid()").fetchone()
        idle.execute("set idle_session_timeout = '50ms'")
        until(lambda: len(front.admin("SHOW CLIENTS")) == 2, 10, "the idle session has ended")  # and the console
        with pytest.raises(psycopg.OperationalError, match="idle-session timeout"):
            idle.execute("select 1")
        assert other.execute("select pg_backend_pid()").fetchone() == pid


def test_a_tiny_statement_timeout_is_kept_and_stops_only_its_own(front: Router) -> None:
    for _ in range(20):
        with front.connect() as tiny, front.connect() as other:
            tiny.execute("set statement_timeout = 1")
            assert other.execute("select 1").fetchone() == (1,)
            with pytest.raises(psycopg.errors.QueryCanceled):
                tiny.execute("select pg_sleep(1)")


def test_defaults_that_would_wait_for_others_keep_nobody(front: Router, streaming: StreamingCluster) -> None:
    streaming.primary.sql("drop table if exists waits; create table waits (a int)")
    with psycopg.connect(streaming.primary.dsn()) as writer, front.connect() as session:
        writer.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        writer.execute("insert into waits values (1)")
        for name, value in (("isolation", "'serializable'"), ("read_only", "on"), ("deferrable", "on")):
            session.execute(f"set default_transaction_{name} = {value}".encode())
        session.execute("reset all")
        assert session.execute("show default_transaction_deferrable").fetchone() == ("off",)
