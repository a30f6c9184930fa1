"""Time limits that a session sets for itself: the session's, never a pooled connection's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.processes import until
from pgrouter.demo.template import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster


@pytest.fixture
def front(streaming: StreamingCluster) -> Iterator[Router]:
    settings = {"cluster": static_cluster([streaming.primary]), "pool": {"size": 1}}
    with running(settings, users={USER: PASSWORD, "timed": "timed"}) as router:
        yield router


def test_an_idle_session_ends_alone(front: Router) -> None:
    with front.connect() as idle, front.connect() as other:
        pid = other.execute("select pg_backend_pid()").fetchone()
        idle.execute("set idle_session_timeout = '50ms'")
        until(lambda: len(front.admin("SHOW CLIENTS")) == 2, 10, "the idle session has ended")  # and the console
        with pytest.raises(psycopg.OperationalError, match="idle-session timeout"):
            idle.execute("select 1")
        assert other.execute("select pg_backend_pid()").fetchone() == pid


@pytest.fixture
def defaults(front: Router, streaming: StreamingCluster) -> Iterator[Callable[[str], None]]:
    """Give what changes how sessions of the role timed in the database limits begin, and waits until they do."""
    sql = streaming.primary.sql
    for text in ("drop database if exists limits", "drop role if exists timed", "create database limits",
                 "create role timed login password 'timed'"):  # fmt: skip
        sql(text)

    def change(text: str) -> None:
        read = front.log_text().count("catalog of limits:")
        for one in text.split(";"):
            sql(one)
        until(lambda: front.log_text().count("catalog of limits:") > read, 10, "the catalog is read")

    with front.connect("limits"):
        yield change
    for text in ("drop database limits with (force)", "drop role timed", "alter system reset all"):
        sql(text)
    sql("select pg_reload_conf()")


def test_sessions_begin_with_the_timeout_of_their_role(front: Router, defaults: Callable[[str], None]) -> None:
    """As ALTER ROLE IN DATABASE, ALTER ROLE, ALTER DATABASE and postgresql.conf say, in this order."""

    def shown(user: str = "timed") -> str:
        with front.connect("limits", user=user, password={USER: PASSWORD}.get(user, user)) as session:
            session.execute("set idle_session_timeout = '1h'")
            assert session.execute("show idle_session_timeout").fetchone() == ("1h",)
            session.execute("reset idle_session_timeout")
            return session.execute("show idle_session_timeout").fetchone()[0]

    assert shown() == "0"
    defaults("alter system set idle_session_timeout = '20min'; select pg_reload_conf()")
    assert shown() == "20min"
    defaults("alter database limits set idle_session_timeout = '30min'")
    assert shown() == "30min"
    assert shown(USER) == "30min"
    defaults("alter role timed set idle_session_timeout = '40min'")
    assert shown() == "40min"
    assert shown(USER) == "30min"
    defaults("alter role timed in database limits set idle_session_timeout = '200ms'")
    with front.connect("limits", user="timed", password="timed") as idle:
        until(lambda: not [row for row in front.admin("SHOW CLIENTS") if row["user"] == "timed"], 10, "the end")
        with pytest.raises(psycopg.OperationalError, match="idle-session timeout"):
            idle.execute("select 1")
    with front.connect("limits", user="timed", password="timed") as keeps:
        keeps.execute("set idle_session_timeout = 0")
        time.sleep(0.5)
        assert keeps.execute("select 1").fetchone() == (1,)


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
