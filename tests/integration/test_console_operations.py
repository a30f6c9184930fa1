"""PAUSE, RESUME, KILL, DISABLE, RECONNECT, WAIT_CLOSE and SHUTDOWN, with clients at work, in front of real servers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.load import TABLE, Load
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

WRITE = "select pg_current_xact_id()"


@pytest.fixture
def front(router: RouterFactory, streaming: StreamingCluster) -> Router:
    """Give a router with both a primary and replicas in use."""
    pool = {"size": 5, "wait_timeout": "20s", "drain_timeout": "3s"}
    front = router({"cluster": static_cluster(streaming.servers), "pool": pool})
    with front.connect() as client:
        for statement in ("select 1", "select 2", "select 3", WRITE):
            client.execute(statement)
    return front


class Attempt(threading.Thread):
    """Something that may have to wait, in a thread; `result` re-raises."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._act = act
        self._result: Any = None
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._act()
        except Exception as error:  # noqa: BLE001  (`result` raises it)
            self._error = error

    @property
    def waits(self) -> bool:
        """Whether it has not ended."""
        return self.is_alive()

    def result(self) -> Any:
        """Wait for the end."""
        self.join(30)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error
        return self._result


@contextmanager
def console(front: Router) -> Iterator[psycopg.Connection[Any]]:
    """Open a session with the console."""
    with psycopg.connect(front.dsn("pgrouter"), autocommit=True, connect_timeout=30) as connection:
        yield connection


def state(front: Router, key: str) -> str:
    """Return a row of SHOW STATE."""
    return {row["key"]: row["value"] for row in front.admin("SHOW STATE")}[key]


def waiting(front: Router) -> int:
    """Return how many clients wait, as SHOW POOLS says."""
    return sum(row["cl_waiting"] for row in front.admin("SHOW POOLS"))


def consoles(front: Router) -> int:
    """Return how many sessions the console has, including the one that asks."""
    return sum(row["database"] == "pgrouter" for row in front.admin("SHOW CLIENTS"))


def paused(front: Router, database: str = "postgres") -> int:
    """Return a database's column `paused`."""
    return next(int(row["paused"]) for row in front.admin("SHOW DATABASES") if row["name"] == database)


@pytest.mark.parametrize("what", ["PAUSE", "PAUSE postgres", 'pause "postgres"'])
def test_pause_closes_all_server_connections_and_resume_lets_clients_go_on(front: Router, what: str) -> None:
    resume = what.lower().replace("pause", "resume")
    with front.connect() as client, console(front) as boss:
        boss.execute(what.encode())
        assert front.admin("SHOW SERVERS") == []
        assert paused(front) == 1
        assert state(front, "paused") == ("yes" if what == "PAUSE" else "no")
        held = [Attempt(lambda: client.execute(WRITE).fetchone()), Attempt(front.connect)]
        until(lambda: waiting(front) >= 1, 10, "a client that waits")
        late = held[1].result()  # a login needs no server, and its first statement does
        held[1] = Attempt(lambda: late.execute("select 1").fetchone())
        until(lambda: waiting(front) == 2, 10, "two clients that wait")
        assert front.admin("SHOW SERVERS") == []
        boss.execute(resume.encode())
        assert held[1].result() == (1,)
        assert held[0].result() is not None
        assert paused(front) == 0
        late.close()


def test_pause_is_answered_only_when_the_last_transaction_has_ended(front: Router) -> None:
    with front.connect() as client, console(front) as boss:
        client.execute("begin")
        client.execute(WRITE)
        pause = Attempt(lambda: boss.execute("PAUSE"))
        until(lambda: state(front, "paused") == "yes", 10, "the pause")  # another console goes on
        client.execute("select 1")  # as does the transaction
        assert pause.waits
        client.execute("commit")
        pause.result()
        assert front.admin("SHOW SERVERS") == []
        front.admin("RESUME")
        assert client.execute("select 1").fetchone() == (1,)


def test_a_pause_that_is_cancelled_lets_clients_go_on(front: Router) -> None:
    with front.connect() as client, front.connect() as other, console(front) as boss:
        client.execute("begin")
        client.execute(WRITE)
        pause = Attempt(lambda: boss.execute("PAUSE"))
        until(lambda: state(front, "paused") == "yes", 10, "the pause")
        boss.cancel()
        with pytest.raises(psycopg.errors.QueryCanceled):
            pause.result()
        assert other.execute(WRITE).fetchone() is not None
        assert boss.execute("SHOW VERSION").fetchone() is not None


def test_the_pause_outlives_the_console_that_asked_for_it(front: Router) -> None:
    with front.connect() as client:
        client.execute("begin")
        client.execute(WRITE)
        boss = psycopg.pq.PGconn.connect(front.dsn("pgrouter").encode())
        boss.send_query(b"PAUSE")
        until(lambda: state(front, "paused") == "yes", 10, "the pause")
        boss.finish()
        until(lambda: consoles(front) == 1, 10, "the end of that console: the other one asks")
        client.execute("commit")
        until(lambda: front.admin("SHOW SERVERS") == [], 10, "no server connection")
        assert state(front, "paused") == "yes"
        front.admin("RESUME")
        client.execute("select 1")


def test_a_database_that_nobody_has_used_yet_can_be_paused(front: Router) -> None:
    front.admin("PAUSE template1")
    login = Attempt(lambda: front.connect("template1"))
    until(lambda: waiting(front) == 1, 10, "a login that waits")
    with front.connect() as client:
        assert client.execute("select 1").fetchone() == (1,)
    front.admin("RESUME template1")
    with login.result() as client:
        assert client.execute("select current_database()").fetchone() == ("template1",)


def test_who_is_held_for_longer_than_the_wait_timeout_gets_its_error_and_no_other(
    router: RouterFactory, streaming: StreamingCluster
) -> None:
    limits = {"wait_timeout": "3s", "connect_timeout": "1s", "login_timeout": "1s", "no_leader_timeout": "1s"}
    front = router({"cluster": static_cluster(streaming.servers), "pool": limits})
    with front.connect() as client:
        client.execute("select 1")
        front.admin("PAUSE")
        for server in streaming.servers:  # what PAUSE is for
            server.stop("fast")
        login = Attempt(lambda: front.connect("template1"))
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled) as caught:
            client.execute(WRITE)
        assert 2.5 < time.monotonic() - began < 10
        assert "the database is paused" in (caught.value.diag.message_detail or "")
        with pytest.raises(psycopg.OperationalError, match="no server connection became free in time"):
            login.result()
        streaming.heal()
        held = Attempt(lambda: client.execute(WRITE).fetchone())
        until(lambda: waiting(front) == 1, 10, "a client that waits")
        front.admin("RESUME")
        assert held.result() is not None


def test_busy_clients_notice_nothing_of_servers_that_are_restarted_during_a_pause(
    router: RouterFactory, streaming: StreamingCluster
) -> None:
    front = router({"cluster": static_cluster(streaming.servers)})
    with front.connect() as client:
        client.execute(TABLE.encode())
    with Load(front, writers=4, readers=4) as load:
        load.wait_progress()
        for what in ("", " postgres"):
            front.admin(f"PAUSE{what}")
            for server in streaming.servers:
                server.stop("fast")
            streaming.heal()
            assert front.admin("SHOW SERVERS") == []
            front.admin(f"RESUME{what}")
            load.wait_progress()
        front.admin("RECONNECT")
        load.wait_progress()
    assert (load.errors, load.lost) == (Counter(), Counter())
    with front.connect() as client:
        assert not load.missing(client.execute("select writer, number from written").fetchall())


def test_nobody_is_connected_to_a_paused_database(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        client.execute("drop database if exists moved")
        client.execute("create database moved")
    with front.connect("moved") as client:
        for statement in (WRITE, "select 1"):
            client.execute(statement)
        front.admin("PAUSE moved")
        leader = next(row for row in front.admin("SHOW CLUSTER") if row["writable"])
        server = next(server for server in streaming.servers if server.name == leader["name"])
        server.sql("alter database moved rename to elsewhere")  # the catalog's connection must go, too
        server.sql("alter database elsewhere rename to moved")
        held = Attempt(lambda: client.execute(WRITE).fetchone())
        until(lambda: waiting(front) == 1, 10, "a client that waits")
        front.admin("RESUME moved")
        assert held.result() is not None
    with front.connect() as client:
        client.execute("drop database moved")


REFUSED = {
    "RESUME": "pooler is not paused",
    "RESUME postgres": "database postgres is not paused",
    "PAUSE pgbouncer": "cannot pause admin db: pgbouncer",
    "KILL pgrouter": "cannot kill admin db: pgrouter",
    "DISABLE pgbouncer": "cannot disable admin db: pgbouncer",
    "RECONNECT pgbouncer": "cannot reconnect admin db: pgbouncer",
    "WAIT_CLOSE pgbouncer": "cannot wait in admin db: pgbouncer",
    "DISABLE": "a database is required",
    "SUSPEND": "SUSPEND is not supported",
    "PAUSE a b": "no such command",
    "SHUTDOWN now": "no such command",
}


def test_errors_have_pgbouncers_words_and_change_nothing(front: Router) -> None:
    with front.connect() as client, console(front) as boss:
        for command, words in REFUSED.items():
            with pytest.raises(psycopg.Error, match=words):
                boss.execute(command.encode())
            client.execute("select 1")


def test_nothing_can_be_paused_twice(front: Router) -> None:
    front.admin("PAUSE")
    for command in ("PAUSE", "PAUSE postgres", "KILL", "KILL postgres"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="already paused"):
            front.admin(command)
    front.admin("RESUME")


def test_a_name_that_is_not_listed_is_no_database(router: RouterFactory, streaming: StreamingCluster) -> None:
    names = [{"name": "app", "database": "postgres"}]
    front = router({"cluster": static_cluster(streaming.servers), "databases": names})
    with front.connect("app") as client:
        client.execute("select 1")
        for command in ("PAUSE nowhere", "RESUME nowhere", "KILL nowhere", "DISABLE nowhere", "ENABLE nowhere"):
            with pytest.raises(psycopg.errors.InvalidCatalogName, match="no such database: nowhere"):
                front.admin(command)
        front.admin("PAUSE app")
        assert front.admin("SHOW SERVERS") == []
        front.admin("RESUME app")
        client.execute("select 1")


def test_kill_ends_everybody_and_pauses(front: Router) -> None:
    with front.connect() as idle, front.connect() as busy, console(front) as boss:
        busy.execute("begin")
        busy.execute(WRITE)
        sleeper = Attempt(lambda: busy.execute("select pg_sleep(60)"))
        until(lambda: any(row["state"] == "active" for row in front.admin("SHOW SERVERS")), 10, "a busy server")
        boss.execute("KILL postgres")
        for act in (sleeper.result, lambda: idle.execute("select 1")):
            with pytest.raises(psycopg.errors.AdminShutdown, match="administrator command"):
                act()
        assert front.admin("SHOW SERVERS") == []
        assert paused(front) == 1
        with front.connect() as late:
            held = Attempt(lambda: late.execute(WRITE).fetchone())
            until(lambda: waiting(front) == 1, 10, "a client that waits")
            boss.execute("RESUME postgres")
            assert held.result() is not None


@pytest.mark.parametrize("resume", ["RESUME", "RESUME postgres"])
def test_kill_of_all_databases(front: Router, resume: str) -> None:
    with front.connect() as client:
        front.admin("KILL")
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
    assert paused(front) == 1
    front.admin(resume)
    with front.connect() as client:
        client.execute("select 1")


def test_disabled_databases_take_no_new_clients(front: Router) -> None:
    with front.connect() as client:
        front.admin("DISABLE postgres")
        with pytest.raises(psycopg.OperationalError, match='FATAL:  database "postgres" is disabled'):
            front.connect()
        client.execute("select 1")
        assert next(row["disabled"] for row in front.admin("SHOW DATABASES") if row["name"] == "postgres") == 1
        front.admin("ENABLE postgres")
        front.connect().close()


def test_reconnect_replaces_server_connections_and_wait_close_waits_for_that(front: Router) -> None:
    with front.connect() as client, console(front) as boss:
        client.execute("begin")
        client.execute(WRITE)
        old = {row["ptr"] for row in front.admin("SHOW SERVERS")}
        boss.execute("RECONNECT")
        (left,) = front.admin("SHOW SERVERS")
        assert (left["state"], left["close_needed"]) == ("active", 1)
        with front.connect() as other:
            assert other.execute(WRITE).fetchone() is not None  # by a new connection
        wait = Attempt(lambda: boss.execute("WAIT_CLOSE postgres"))
        client.execute("select 1")
        time.sleep(0.3)
        assert wait.waits
        client.execute("commit")
        wait.result()
        assert not old & {row["ptr"] for row in front.admin("SHOW SERVERS")}
        boss.execute("WAIT_CLOSE")


# -- the end


def test_shutdown_is_at_once(front: Router) -> None:
    with front.connect() as client:
        client.execute("begin")
        client.execute(WRITE)
        front.admin("SHUTDOWN")
        until(lambda: not front.process.alive, 10, "the end")
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute("select 1")
    assert "1 clients are cut" in front.log_text()


def test_shutdown_that_waits_for_servers_lets_transactions_end(front: Router) -> None:
    with front.connect() as client, front.connect() as idle, console(front) as boss:
        client.execute("begin")
        client.execute(WRITE)
        boss.execute("SHUTDOWN WAIT_FOR_SERVERS")
        with pytest.raises(psycopg.errors.AdminShutdown):
            idle.execute("select 1")
        with pytest.raises(psycopg.OperationalError):
            front.connect()
        assert {row[0]: row[1] for row in boss.execute("SHOW STATE").fetchall()}["draining"] == "yes"
        with pytest.raises(psycopg.Error, match="pooler is shutting down"):
            boss.execute("RESUME")
        client.execute("commit")
        until(lambda: not front.process.alive, 10, "the end")
    assert "draining: waiting for 2 clients" in front.log_text()


def test_the_limit_of_a_drain_and_whom_it_cuts(front: Router) -> None:
    with front.connect() as client:
        client.execute("begin")
        client.execute(WRITE)
        front.admin("SHUTDOWN WAIT_FOR_SERVERS")
        until(lambda: not front.process.alive, 15, "the end")
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute("select 1")
    assert "draining: 1 clients are cut after 3 seconds (pool.drain_timeout)" in front.log_text()


def test_shutdown_that_waits_for_clients_waits_until_they_leave(front: Router) -> None:
    with console(front) as boss:
        with front.connect() as client:
            boss.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            with pytest.raises(psycopg.OperationalError):
                front.connect()
            deadline = time.monotonic() + 4  # longer than pool.drain_timeout
            while time.monotonic() < deadline:
                assert client.execute(WRITE).fetchone() is not None
                time.sleep(0.2)
        until(lambda: not front.process.alive, 10, "the end")
        with pytest.raises(psycopg.errors.AdminShutdown):
            boss.execute("SHOW STATE")


# -- events


def test_events_say_what_has_happened_and_how_long_writes_were_held(
    router: RouterFactory, streaming: StreamingCluster
) -> None:
    front = router({"cluster": static_cluster(streaming.servers)})

    def primaries() -> list[dict[str, Any]]:
        return [row for row in front.admin("SHOW EVENTS") if row["kind"] == "primary"]

    until(lambda: primaries() and "is primary" in primaries()[-1]["text"], 10, "a primary")
    name = primaries()[-1]["member"]
    for command in ("PAUSE postgres", "RESUME postgres", "SET default_pool_size = 3", "RELOAD"):
        front.admin(command)
    assert [row["kind"] for row in front.admin("SHOW EVENTS")][-4:] == ["pause", "resume", "set", "reload"]
    assert "pool.size" in front.admin("SHOW EVENTS")[-1]["text"]
    next(server for server in streaming.servers if server.name == name).stop("fast")
    until(lambda: "no longer primary" in primaries()[-1]["text"], 20, "no primary")
    streaming.heal()
    back = until(lambda: "writes were held" in primaries()[-1]["text"] and primaries()[-1], 30, "a primary again")
    assert float(back["seconds"]) > 0


def test_the_console_can_be_reached_over_a_unix_socket_until_the_end(
    router: RouterFactory, streaming: StreamingCluster, tmp_path: Path
) -> None:
    listen = [{"host": "127.0.0.1", "port": 0}, {"unix": str(tmp_path), "port": 6432}]
    front = router({"cluster": static_cluster(streaming.servers), "listen": listen})
    with front.connect() as client:
        client.execute("begin")
        client.execute(WRITE)
        front.admin("SHUTDOWN WAIT_FOR_SERVERS")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            front.connect()
        with pytest.raises(psycopg.OperationalError, match="pgrouter is shutting down"):
            front.connect(host=str(tmp_path), port=6432)
        with psycopg.connect(front.dsn("pgrouter", host=str(tmp_path), port=6432), autocommit=True) as boss:
            assert {row[0]: row[1] for row in boss.execute("SHOW STATE").fetchall()}["draining"] == "yes"
            boss.execute("SHUTDOWN")
            until(lambda: not front.process.alive, 10, "the end")
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute("commit")
