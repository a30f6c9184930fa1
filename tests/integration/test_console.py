"""The console of a real router, asked by psql, psycopg and asyncpg in the ways they have.

Most of it runs on a router that reaches no server at all: that is when an administrator needs it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import subprocess
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from psycopg.rows import dict_row
from support.front import rss_mb
from support.programs import program
from support.router import RouterFactory, static_cluster

from pgrouter.admin.views import VIEWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

NOBODY_LISTENS = 1  # tcpmux
SETTINGS = {
    "cluster": {"source": "static", "members": [{"name": "pg1", "host": "127.0.0.1", "port": NOBODY_LISTENS}]},
    "auth": {"type": "trust"},
    "admin": {"admin_users": ["boss"], "stats_users": ["watcher"]},
}


@pytest.fixture(scope="module")
def alone() -> Iterator[Router]:
    """Give a router whose only member is not there."""
    factory = RouterFactory()
    try:
        yield factory(SETTINGS)
    finally:
        factory.stop_all()
        factory.remove()


def console(router: Router, user: str = "boss", database: str = "pgrouter", **more: Any) -> psycopg.Connection[Any]:
    """Connect with what a psycopg user gets who sets nothing."""
    return psycopg.connect(router.dsn(database, user=user), connect_timeout=10, **more)


def psql(router: Router, *commands: str, user: str = "boss") -> subprocess.CompletedProcess[str]:
    """Run psql as a person would."""
    arguments = [word for command in commands for word in ("-c", command)]
    return subprocess.run(
        [program("psql"), "-X", router.dsn("pgrouter", user=user), *arguments],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


# -- psql


def test_psql_shows_every_view(alone: Router) -> None:
    done = psql(alone, *(f"SHOW {view}" for view in VIEWS))
    assert (done.returncode, done.stderr) == (0, "")
    for view in VIEWS.values():
        assert re.search(rf"^ *{view.columns[0].name} *(\||$)", done.stdout, re.MULTILINE)


def test_psql_gets_a_clear_error_for_what_is_not_a_command_and_goes_on(alone: Router) -> None:
    done = psql(alone, r"\d", "SELECT * FROM pools", "show version")
    assert done.stderr.count("ERROR:  the console knows no such command") == 2
    assert done.stderr.count("HINT:  SHOW HELP") == 2
    assert "pgrouter" in done.stdout


def test_psql_runs_several_commands_in_one_string(alone: Router) -> None:
    done = psql(alone, "show version; /* a comment; */ SHOW LISTS -- another\n; select 1")
    assert done.stderr == ""
    assert done.stdout.count(" row") == 3


# -- psycopg


def test_psycopg_with_its_defaults(alone: Router) -> None:
    with console(alone, row_factory=dict_row) as connection:
        assert connection.info.server_version == 12601
        with connection.transaction():
            members = connection.execute("SHOW CLUSTER").fetchall()
        lists = {row["list"]: row["items"] for row in connection.execute("show lists")}
        connection.commit()
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute("SELECT * FROM pg_class")
        connection.rollback()
        assert connection.execute("select 1").fetchone() == {"?column?": 1}
    assert [(row["name"], row["port"], row["writable"]) for row in members] == [("pg1", NOBODY_LISTENS, False)]
    assert lists["used_clients"] == 1


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("view", sorted(VIEWS))
def test_psycopg_extended_protocol(alone: Router, view: str, *, binary: bool, prepare: bool) -> None:
    with console(alone, autocommit=True) as connection, connection.cursor(binary=binary) as cursor:
        for _ in range(2):
            cursor.execute(f"SHOW {view}".encode(), prepare=prepare)
            assert [column.name for column in cursor.description or ()] == [c.name for c in VIEWS[view].columns]
            for row in cursor.fetchall():
                assert all(isinstance(value, str | int | Decimal | bool | None) for value in row)


def _first_and_bad(connection: psycopg.Connection[Any], pipeline: psycopg.Pipeline) -> None:
    assert len(connection.execute("SHOW VERSION").fetchall()) == 1
    connection.execute("bogus")
    connection.execute("SHOW VERSION")
    pipeline.sync()


def test_psycopg_pipeline_fails_up_to_its_sync_and_goes_on(alone: Router) -> None:
    with console(alone, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.SyntaxError), connection.pipeline() as pipeline:
            _first_and_bad(connection, pipeline)
        with connection.pipeline():
            cursors = [connection.execute("SHOW VERSION") for _ in range(20)]
        assert [len(cursor.fetchall()) for cursor in cursors] == [1] * 20


def test_psycopg_cancel_does_nothing(alone: Router) -> None:
    with console(alone) as connection:
        connection.cancel_safe(timeout=5)
        assert connection.execute("select 1").fetchone() == (1,)


# -- asyncpg


async def _asyncpg(router: Router) -> None:
    where = {"host": "127.0.0.1", "port": router.port, "user": "boss", "database": "pgrouter"}
    async with asyncpg.create_pool(**where, min_size=1, max_size=2) as pool:
        for _ in range(2):  # the second time after asyncpg's own reset
            async with pool.acquire() as connection:
                (member,) = await connection.fetch("SHOW CLUSTER")
                assert (member["name"], member["port"], member["leader"]) == ("pg1", NOBODY_LISTENS, False)
                statement = await connection.prepare("SHOW LISTS")
                assert len(await statement.fetch()) == len(await statement.fetch()) > 10
                async with connection.transaction():
                    seen = [row["list"] async for row in connection.cursor("SHOW LISTS", prefetch=3)]
                assert seen[0] == "databases"
                with pytest.raises(asyncpg.PostgresSyntaxError):
                    await connection.fetch("SELECT * FROM pg_class")
                assert await connection.fetchval("select 1") == 1


def test_asyncpg_with_its_defaults(alone: Router) -> None:
    asyncio.run(_asyncpg(alone))


# -- who may


def test_a_stranger_is_refused(alone: Router) -> None:
    with pytest.raises(psycopg.OperationalError, match="may not use the console"):
        console(alone, "alice")


def test_a_stats_user_sees_and_commands_nothing(alone: Router) -> None:
    with console(alone, "watcher", autocommit=True) as connection:
        assert connection.execute("SHOW POOLS").fetchall() == []
        for command in ("RELOAD", "SHUTDOWN", "KILL_CLIENT 1"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(command.encode())
        assert connection.execute("select 1").fetchone() == (1,)


def test_the_console_is_there_under_pgbouncers_name(alone: Router) -> None:
    with console(alone, database="pgbouncer") as connection:
        assert connection.execute("select current_database()").fetchone() == ("pgbouncer",)


# -- commands


def test_reload_takes_new_settings_and_refuses_bad_ones(alone: Router) -> None:
    def limit() -> str:
        return {row[0]: row[1] for row in connection.execute("SHOW CONFIG")}["pool.max_clients"]

    with console(alone, autocommit=True) as connection:
        assert limit() == "1000"
        alone.settings["pool"] = {"max_clients": 900}
        alone.write_settings()
        connection.execute("RELOAD")
        assert limit() == "900"
        alone.settings["pool"] = {"max_clients": "many"}
        alone.write_settings()
        with pytest.raises(psycopg.errors.ConfigFileError) as caught:
            connection.execute("RELOAD")
        assert "pool.max_clients" in (caught.value.diag.message_detail or "")
        assert limit() == "900"
        del alone.settings["pool"]
        alone.write_settings()
        connection.execute("RELOAD")
        assert limit() == "1000"


def test_kill_client_ends_one_and_only_one(alone: Router) -> None:
    with console(alone, autocommit=True) as boss, console(alone, autocommit=True) as victim:
        ident = victim.info.backend_pid
        boss.execute(f"KILL_CLIENT {ident}".encode())
        with pytest.raises(psycopg.errors.AdminShutdown):
            victim.execute("SHOW VERSION")
        with pytest.raises(psycopg.errors.UndefinedObject):
            boss.execute(f"KILL_CLIENT {ident}".encode())


def test_shutdown_ends_the_router(router: RouterFactory) -> None:
    ending = router(SETTINGS)
    with console(ending, autocommit=True) as connection:
        connection.execute("SHUTDOWN")
    deadline = time.monotonic() + 10
    while ending.process.alive and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not ending.process.alive


# -- trouble


def test_clients_that_have_not_logged_in_are_shown(alone: Router) -> None:
    with socket.create_connection(("127.0.0.1", alone.port)) as silent, console(alone, row_factory=dict_row) as boss:
        silent.sendall(b"\0\0")
        states = [(row["state"], row["user"]) for row in boss.execute("SHOW CLIENTS")]
        assert sorted(states) == [("active", "boss"), ("login", None)]
        assert len(boss.execute("SHOW POOLS").fetchall()) == 0


def login(router: Router) -> socket.socket:
    """Log in to the console by hand."""
    connection = socket.create_connection(("127.0.0.1", router.port), timeout=20)
    words = b"user\0boss\0database\0pgrouter\0\0"
    connection.sendall(struct.pack("!II", 8 + len(words), 196608) + words)
    answer = b""
    while not answer.endswith(b"Z\0\0\0\5I"):
        answer += connection.recv(65536)
    return connection


HELP = b"Q" + struct.pack("!I", 14) + b"SHOW HELP\0"


def test_a_client_that_does_not_read_is_not_read_from_and_others_do_not_notice(alone: Router) -> None:
    before = rss_mb(alone.process.pid)
    with login(alone) as deaf, console(alone, autocommit=True) as other:
        for _ in range(1000):  # 150 MB of answers
            deaf.sendall(HELP * 100)
            assert other.execute("select 1").fetchone() == (1,)
        assert rss_mb(alone.process.pid) - before < 32
        assert len(other.execute("SHOW CLIENTS").fetchall()) == 2
        answered = 0
        while answered < 1_000_000:  # it listens after all
            answered += len(deaf.recv(65536))


@pytest.mark.parametrize(
    "message",
    [
        b"Q\0\0\0\x03",
        b"Q\x7f\xff\xff\xff",
        b"!\0\0\0\x04",
        b"p\0\0\0\x08abc\0",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
    ],
)
def test_what_is_not_the_protocol_ends_only_its_own_connection(alone: Router, message: bytes) -> None:
    with login(alone) as broken, console(alone, autocommit=True) as other:
        broken.sendall(message)
        assert b"C08P01\0" in broken.recv(65536)
        assert broken.recv(65536) == b""
        assert other.execute("select 1").fetchone() == (1,)


def test_messages_in_pieces(alone: Router) -> None:
    with login(alone) as slow:
        for byte in b"Q\0\0\0\x11SHOW VERSION\0":
            slow.sendall(bytes([byte]))
            time.sleep(0.002)
        assert b"pgrouter" in slow.recv(65536)


# -- what work leaves in the views


@pytest.mark.pg
def test_views_follow_the_work(router: RouterFactory, streaming: StreamingCluster) -> None:
    busy = router({"cluster": static_cluster(streaming.servers)})
    with busy.connect(application_name="worker") as worker:
        worker.execute("CREATE TEMP TABLE kept (i int)")
        for _ in range(10):
            worker.execute("SELECT 1")
        shown = {view: busy.admin(f"SHOW {view}") for view in VIEWS}
    assert [row["role"] for row in shown["CLUSTER"]].count("primary") == 1
    assert sum(row["query_count"] for row in shown["CLUSTER"]) >= 11
    client = next(row for row in shown["CLIENTS"] if row["application_name"] == "worker")
    server = next(row for row in shown["SERVERS"] if row["link"] == client["ptr"])
    assert (client["pin"], client["link"]) == ("temporary object", server["ptr"])
    assert client["remote_pid"] == server["remote_pid"] > 0
    assert server["member"] == next(row["name"] for row in shown["CLUSTER"] if row["writable"])
    (pool,) = shown["POOLS"]
    assert (pool["database"], pool["cl_active"], pool["cl_waiting"], pool["sv_active"]) == ("postgres", 1, 0, 1)
    (stats,) = shown["STATS"]
    assert stats["total_query_count"] >= 11
    assert stats["total_received"] > 100
    assert shown["ROUTES"][0].keys() == {"target", "reason", "count"}


@pytest.mark.pg
def test_totals_survive_the_connections_that_counted_them(router: RouterFactory, streaming: StreamingCluster) -> None:
    busy = router({"cluster": static_cluster(streaming.servers), "pool": {"idle_timeout": 0}})
    with busy.connect() as worker:
        for _ in range(20):
            worker.execute("SELECT 1")
    deadline = time.monotonic() + 10
    while busy.admin("SHOW SERVERS") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert busy.admin("SHOW SERVERS") == []
    assert sum(row["query_count"] for row in busy.admin("SHOW CLUSTER")) >= 20


@pytest.mark.pg
def test_a_client_that_waits_is_seen_and_one_that_works_can_be_killed(
    router: RouterFactory, streaming: StreamingCluster
) -> None:
    busy = router({"cluster": static_cluster(streaming.servers), "pool": {"size": 1}})
    with busy.connect(application_name="holder") as holder, busy.connect(application_name="waiter") as waiter:
        holder.execute("BEGIN")
        holder.execute("CREATE TEMP TABLE held (i int)")
        waiting = threading.Thread(target=waiter.execute, args=("CREATE TEMP TABLE other (i int)",))
        waiting.start()
        try:
            deadline = time.monotonic() + 10
            while busy.admin("SHOW POOLS")[0]["cl_waiting"] == 0 and time.monotonic() < deadline:
                time.sleep(0.05)
            clients = {row["application_name"]: row for row in busy.admin("SHOW CLIENTS")}
            assert [clients[name]["state"] for name in ("holder", "waiter")] == ["active", "waiting"]
            assert clients["waiter"]["request_time"] is not None
        finally:
            busy.admin(f"KILL_CLIENT {holder.info.backend_pid}")
            waiting.join(30)
        assert not waiting.is_alive()
        with pytest.raises(psycopg.errors.AdminShutdown):
            holder.execute("SELECT 1")


# -- SET


def setting(connection: psycopg.Connection[Any], key: str) -> str:
    return next(row[1] for row in connection.execute("SHOW CONFIG").fetchall() if row[0] == key)


def test_set_changes_a_setting_until_the_next_reload(alone: Router) -> None:
    with console(alone, autocommit=True) as boss:
        assert boss.execute("SET default_pool_size = 7").statusmessage == "SET default_pool_size=7"
        boss.execute("SET pool.wait_timeout TO '2s'")
        boss.execute("set query_wait_timeout = 0")  # as in PgBouncer: no limit
        boss.execute("SET log_connections = 0")
        assert [setting(boss, key) for key in ("pool.size", "default_pool_size", "log.connections")] == ["7", "7", "no"]
        assert setting(boss, "pool.wait_timeout") == "1e+09"
        boss.execute("RELOAD")
        assert [setting(boss, key) for key in ("pool.size", "pool.wait_timeout")] == ["20", "120"]


@pytest.mark.parametrize(
    ("command", "sqlstate", "words"),
    [
        ("SET nonsense = 1", "42704", 'there is no setting "nonsense"'),
        ("SET max_client_conn = many", "22023", "pool.max_clients: expected int"),
        ("SET pool_mode = fast", "22023", "pool.mode: expected one of"),
        ("SET listen = 1", "55P02", 'parameter "listen" cannot be changed'),
        ("SET client_encoding = latin1", "0A000", 'always "UTF8"'),
    ],
)
def test_set_of_what_cannot_be_set(alone: Router, command: str, sqlstate: str, words: str) -> None:
    with console(alone, autocommit=True) as boss:
        before = boss.execute("SHOW CONFIG").fetchall()
        with pytest.raises(psycopg.Error) as caught:
            boss.execute(command.encode())
        assert caught.value.diag.sqlstate == sqlstate
        assert words in f"{caught.value.diag.message_primary} {caught.value.diag.message_detail}"
        assert boss.execute("SHOW CONFIG").fetchall() == before


def test_a_stats_user_sets_nothing(alone: Router) -> None:
    with console(alone, "watcher", autocommit=True) as watcher:
        watcher.execute("SET extra_float_digits = 3")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            watcher.execute("SET max_client_conn = 1")
