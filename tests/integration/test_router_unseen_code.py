"""What is left where nothing says so: no catalog, a wrong declaration, tables that only search_path makes temporary."""

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

LIAR = """
create or replace function public.liar() returns void language plpgsql as $$ begin set datestyle to german; end $$;
drop table if exists public.watched;
create table public.watched (a int);
create or replace function public.watch() returns trigger language plpgsql as
    $$ begin perform set_config('search_path', 'pg_catalog', false); return new; end $$;
create trigger watch before insert on public.watched for each row execute function public.watch();
"""


@pytest.fixture
def front(streaming: StreamingCluster) -> Iterator[Router]:
    streaming.primary.sql(LIAR)
    routing = {"stateless_functions": ["liar"]}
    with running({"cluster": static_cluster([streaming.primary]), "pool": {"size": 1}, "routing": routing}) as router:
        yield router


def test_a_reported_setting_that_a_function_was_said_not_to_set(front: Router) -> None:
    with front.connect() as one, front.connect() as other:
        one.execute("select liar()")
        assert other.execute("show datestyle").fetchone() == ("ISO, MDY",)
        assert one.execute("show datestyle").fetchone() == ("German, DMY",)


def test_a_trigger_of_a_database_that_the_monitor_may_not_read(streaming: StreamingCluster) -> None:
    primary = streaming.primary
    primary.sql("drop database if exists blind")
    primary.sql("create database blind")
    try:
        primary.sql("revoke connect on database blind from public")
        with psycopg.connect(primary.dsn(dbname="blind"), autocommit=True) as direct:
            direct.execute(LIAR)
        with running({"cluster": static_cluster([primary]), "pool": {"size": 1}}) as front:
            with front.connect(dbname="blind") as one, front.connect(dbname="blind") as other:
                one.execute("insert into watched values (1)")
                assert other.execute("show search_path").fetchone() == ('"$user", public',)
                assert one.execute("show search_path").fetchone() == ("pg_catalog",)
            with front.connect(dbname="blind") as one, front.connect(dbname="blind") as other:
                one.execute("insert into public.watched values (1)")
                assert other.execute("select count(*) from watched").fetchone() == (2,)
    finally:
        primary.sql("drop database blind with (force)")


def test_a_table_is_temporary_where_search_path_says_so(front: Router) -> None:
    with front.connect() as one:
        one.execute("select set_config('search_path', 'pg_temp, public', false)")
        one.execute("create table mine (a int)")
        assert "temporary object" in [row["pin"] for row in front.admin("SHOW CLIENTS")]
        one.execute("insert into mine values (1)")
        one.execute("drop table mine")
        with front.connect() as other:
            assert other.execute("select to_regclass('pg_temp.mine')").fetchone() == (None,)


def test_a_seed_is_nobody_elses(front: Router) -> None:
    with front.connect() as one, front.connect() as other:
        for sql in ("select setseed(0.5)", "set seed = 0.5", "select set_config('seed', '0.5', false)"):
            before = one.execute("select pg_backend_pid()").fetchone()
            one.execute(sql)
            drawn = one.execute("select random()").fetchone()
            one.execute(sql)
            assert one.execute("select random()").fetchone() == drawn
            one.execute("discard all")
            until(lambda: other.execute("select pg_backend_pid()").fetchone() != before, 10, "the server is closed")  # noqa: B023


def test_an_idle_session_timeout_is_shown_and_kept_by_who_keeps_its_server(front: Router) -> None:
    with front.connect() as session:
        session.execute("set idle_session_timeout = 300000")
        assert session.execute("show idle_session_timeout").fetchone() == ("5min",)
        assert session.execute("/* x */ SHOW Idle_session_timeout;").fetchone() == ("5min",)
        session.execute("listen something")
        session.execute("set idle_session_timeout = '200ms'")
        until(lambda: len(front.admin("SHOW CLIENTS")) == 1, 10, "the idle session has ended")  # but for the console
        with pytest.raises(psycopg.OperationalError, match="idle-session timeout"):
            session.execute("select 1")
    with front.connect() as session:
        assert session.execute("show idle_session_timeout").fetchone() == ("0",)
