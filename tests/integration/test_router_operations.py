"""The router as a process: ready line, reload, draining, checking a configuration, several listeners."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from support.rawclient import RawClient, codes, query, sqlstate
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

RUN = [sys.executable, "-c", "import sys; from pgrouter.cli.main import main; sys.exit(main())"]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=30)


@pytest.fixture
def front(router: RouterFactory, streaming: StreamingCluster) -> Router:
    return router({"cluster": static_cluster(streaming.servers), "pool": {"size": 5, "drain_timeout": "5s"}})


@pytest.fixture
def process(tmp_path: Path, streaming: StreamingCluster, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Start a router as our own child, so that its exit code can be had; gives (process, port)."""
    settings = {
        "listen": [{"host": "127.0.0.1", "port": 0}],
        "cluster": static_cluster(streaming.servers),
        "auth": {"type": "trust", "users_file": "users"},
        "pool": {"drain_timeout": getattr(request, "param", "60s")},
    }
    (tmp_path / "users").write_text('"postgres" "postgres"\n')
    (tmp_path / "router.yml").write_text(yaml.safe_dump(settings))
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [*RUN, "run", "--config", str(tmp_path / "router.yml")], stdout=subprocess.PIPE, stderr=log, text=True
        ) as child,
    ):
        assert child.stdout is not None
        ready = child.stdout.readline()
        assert ready.startswith("pgrouter ready: 127.0.0.1:")
        yield child, int(ready.rsplit(":", 1)[1])
        child.kill()


def dsn(port: int) -> str:
    return f"host=127.0.0.1 port={port} user=postgres password=postgres dbname=postgres connect_timeout=30"


# -- reload


def reload(front: Router) -> None:
    done = front.log_text().count("configuration reloaded")
    front.write_settings()
    front.process.reload()
    until(lambda: front.log_text().count("configuration reloaded") > done, 30, "reloaded")


def test_a_larger_pool_is_taken_while_clients_wait(front: Router) -> None:
    front.settings["pool"] |= {"size": 1}
    reload(front)
    with front.connect() as holder, front.connect() as waiter:
        holder.execute("begin")
        thread = threading.Thread(target=waiter.execute, args=("begin",))
        thread.start()
        until(lambda: any(row["cl_waiting"] for row in front.admin("SHOW POOLS")), 30, "it waits")
        front.settings["pool"] |= {"size": 2}
        reload(front)
        thread.join(30)
        assert not thread.is_alive()


def test_new_users_can_log_in_and_removed_ones_cannot(front: Router, streaming: StreamingCluster) -> None:
    streaming.primary.sql("drop role if exists newcomer; create role newcomer login password 'secret'")
    streaming.wait_caught_up()
    users = front.settings["auth"]["users_file"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(front.dsn(user="newcomer", password="secret"), connect_timeout=30)
    with open(users, "a") as file:  # noqa: PTH123
        file.write('"newcomer" "secret"\n')
    reload(front)
    with psycopg.connect(front.dsn(user="newcomer", password="secret"), connect_timeout=30) as made:
        assert made.execute("select current_user").fetchone() == ("newcomer",)
    with open(users, "w") as file:  # noqa: PTH123
        file.write('"postgres" "postgres"\n')
    reload(front)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(front.dsn(user="newcomer", password="secret"), connect_timeout=30)


@pytest.mark.parametrize(
    "broken", ["not: [closed", "cluster: {source: static, members: []}\n", "", "pool: {size: many}\n"]
)
def test_a_broken_file_changes_nothing(front: Router, broken: str) -> None:
    with front.connect() as client:
        front.process.config.write_text(broken)
        front.process.reload()
        until(lambda: front.log_contains("ERROR .*reload"), 30, "the problem in the log")
        assert client.execute("select 1").fetchone() == (1,)
        with front.connect() as another:
            assert another.execute("select 1").fetchone() == (1,)
    front.write_settings()


def test_a_users_file_that_is_gone_changes_nothing(front: Router) -> None:
    users = front.settings["auth"]["users_file"]
    os.rename(users, users + ".away")  # noqa: PTH104
    front.process.reload()
    until(lambda: front.log_contains("ERROR"), 30, "the problem in the log")
    with front.connect() as client:
        assert client.execute("select 1").fetchone() == (1,)


# -- stopping


def test_sigterm_lets_a_transaction_finish_and_exits_0(process: Any, streaming: StreamingCluster) -> None:
    child, port = process
    streaming.primary.sql("drop table if exists kept; create table kept (a int)")
    with psycopg.connect(dsn(port)) as working, RawClient(port) as idle:
        idle.login()
        working.execute("insert into kept values (1)")
        child.send_signal(signal.SIGTERM)
        assert sqlstate(idle.until_closed()) == "57P01"
        with pytest.raises(ConnectionRefusedError):
            RawClient(port)
        working.execute("insert into kept values (2)")
        assert child.poll() is None
        working.commit()
        assert child.wait(30) == 0
        with pytest.raises(psycopg.OperationalError, match=r"shutting down|closed"):
            working.execute("select 1")
    assert streaming.primary.sql("select count(*) from kept") == [(2,)]


WORK = {
    "reads": ("select 1",),
    "writes": ("insert into busy values (1)",),
    "transactions": ("begin", "insert into busy values (1)", "select pg_sleep(0.01)", "commit"),
    "read-only transactions": ("begin read only", "select count(*) from busy", "commit"),
    "a pinned session": ("create temp table if not exists t (a int)", "begin", "insert into busy values (1)", "commit"),
    "several in one": ("begin; insert into busy values (1); commit; insert into busy values (1)",),
}


def test_sigterm_ends_busy_clients_between_their_transactions(process: Any, streaming: StreamingCluster) -> None:
    child, port = process
    streaming.primary.sql("drop table if exists busy; create table busy (a int)")
    rows: Counter[str] = Counter()
    said: dict[str, tuple[str, str, str]] = {}
    ready = threading.Barrier(len(WORK) + 1)

    def work(name: str) -> None:
        with RawClient(port) as client:
            client.login()
            ready.wait()
            while name not in said:
                inserted = 0
                for text in WORK[name]:
                    client.send(query(text))
                    answer = client.until_ready()
                    if sqlstate(answer) or not answer or answer[-1].code != "Z":
                        said[name] = text, codes(answer), sqlstate(answer)
                        break
                    inserted += text.count("insert")
                else:
                    rows[name] += inserted

    workers = [threading.Thread(target=work, args=(name,)) for name in WORK]
    for worker in workers:
        worker.start()
    ready.wait()
    time.sleep(0.5)
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    assert time.monotonic() - began < 2
    for worker in workers:
        worker.join()
    assert {name: last[1:] for name, last in said.items()} == dict.fromkeys(WORK, ("E", "57P01"))
    assert all(said[name][0] in (texts[0], "begin") for name, texts in WORK.items())
    assert all(rows[name] for name, texts in WORK.items() if "insert" in "".join(texts))
    assert streaming.primary.sql("select count(*) from busy") == [(rows.total(),)]


@pytest.mark.parametrize("process", ["2500ms"], indirect=True)
def test_a_transaction_without_end_is_ended(process: Any) -> None:
    child, port = process
    with psycopg.connect(dsn(port)) as endless:
        endless.execute("select txid_current()")
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        assert 2 < time.monotonic() - began < 20
        with pytest.raises(psycopg.OperationalError, match=r"shutting down|closed"):
            endless.execute("select 1")


def test_sigterm_lets_a_slow_reader_have_its_answer(process: Any) -> None:
    child, port = process
    with RawClient(port, receive_buffer=16 * 1024) as slow:
        slow.login()
        slow.send(query("select repeat('x', 10000) from generate_series(1, 900)"))
        time.sleep(0.5)  # what the sockets do not take lies in the router
        child.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        said = slow.until_ready()
        assert codes(said) == "T" + "D" * 900 + "CZ"
        assert sqlstate(slow.until_closed()) == "57P01"
    assert child.wait(30) == 0


def test_sigterm_does_not_wait_for_idle_pinned_clients(process: Any) -> None:
    child, port = process
    began = time.monotonic()
    with psycopg.connect(dsn(port), autocommit=True) as pinned:
        pinned.execute("listen news")
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        assert time.monotonic() - began < 20


def test_a_second_sigterm_ends_at_once(process: Any) -> None:
    child, port = process
    with psycopg.connect(dsn(port)) as endless:
        endless.execute("select txid_current()")
        child.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert child.poll() is None
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        child.wait(30)
        assert time.monotonic() - began < 20  # drain_timeout is 60 s
        with pytest.raises(psycopg.OperationalError, match=r"shutting down|closed"):
            endless.execute("select 1")


def test_sigint_ends_an_idle_router(process: Any) -> None:
    child, _port = process
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 0


def test_nothing_is_left_on_the_servers(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        for _ in range(6):
            client.execute("select 1")
        client.execute("create temp table t (a int)")
    front.stop()
    others = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
    for server in streaming.servers:
        until(lambda server=server: server.sql(others)[0][0] == 0, 30, f"no connection to {server.name}")


def test_the_console_shuts_down(front: Router) -> None:
    with front.connect() as client:
        client.execute("select 1")
        front.admin("SHUTDOWN")
        until(lambda: not front.process.alive, 30, "the end")


# -- starting


def test_it_starts_before_its_cluster(router: RouterFactory, streaming: StreamingCluster) -> None:
    for server in streaming.servers:
        server.stop("immediate")
    front = router({"cluster": static_cluster(streaming.servers), "pool": {"connect_timeout": "50s"}})
    opened: list[psycopg.Connection[Any]] = []
    thread = threading.Thread(target=lambda: opened.append(front.connect(connect_timeout=50)))
    thread.start()  # a login waits for a server, it is not refused
    time.sleep(0.5)
    streaming.heal()
    thread.join(50)
    assert opened
    with opened[0] as client:
        client.execute("create table if not exists late (a int)")


def test_two_listeners_and_a_taken_port(router: RouterFactory, streaming: StreamingCluster) -> None:
    listen = [{"host": "127.0.0.1", "port": 0}, {"host": "127.0.0.1", "port": 0, "mode": "replica"}]
    front = router({"cluster": static_cluster(streaming.servers), "listen": listen})
    assert len(set(front.process.ports)) == 2
    for port in front.process.ports:
        with psycopg.connect(dsn(port)) as client:
            assert client.execute("select 1").fetchone() == (1,)
    attributes = [("read-write", "standby"), ("standby", "read-write")]  # of each port: what it is, and what it is not
    for port, (is_one, is_none) in zip(front.process.ports, attributes, strict=True):
        psycopg.connect(dsn(port), target_session_attrs=is_one).close()
        with pytest.raises(psycopg.OperationalError, match=r"hot standby|read-only|in recovery"):
            psycopg.connect(dsn(port), target_session_attrs=is_none)
    taken = front.process.config.with_name("taken.yml")
    taken.write_text(yaml.safe_dump(front.settings | {"listen": [{"host": "127.0.0.1", "port": front.port}]}))
    done = command("run", "--config", taken)
    assert done.returncode == 1
    assert "address already in use" in done.stderr.lower()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("text", "problem"), [
    ("cluster: {source: static}\n", "cluster"),
    ("cluster: [\n", "yml"),
    ("", "cluster"),
    ("cluster: {source: static, members: [{name: a, host: h}]}\nauth: {type: trust}\npool: {sise: 3}\n", "pool"),
    ("cluster: {source: static, members: [{name: a, host: h}]}\nauth: {users_file: nowhere}\n", "auth.users_file"),
    ("cluster: {source: static, members: [{name: a, host: h}]}\n", "auth"),
])  # fmt: skip
def test_check_names_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "router.yml"
    path.write_text(text)
    for verb in ("check", "run"):
        done = command(verb, "--config", path)
        assert done.returncode == 1
        assert problem in done.stdout
        assert done.stdout.startswith(f"{path}: ")
        assert "Traceback" not in done.stderr


def test_check_accepts_what_runs(front: Router) -> None:
    done = command("check", "--config", front.process.config)
    assert (done.returncode, done.stdout) == (0, f"{front.process.config}: ok\n")
