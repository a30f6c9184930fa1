"""The launcher in PgBouncer's place, with real servers: its file, its command line, its signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.bouncer import PROGRAM, Bouncer

from pgrouter.demo.processes import process, until, write_file
from pgrouter.demo.processes import run as run_as_service
from pgrouter.demo.router import CODE
from pgrouter.demo.workdir import Workdir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

INI = """
[databases]
postgres = host=127.0.0.1 port={pg}
reports = host=127.0.0.1 port={pg} dbname=postgres user=reporting password='of reporting' timezone=Asia/Tokyo

[users]
joe = pool_mode=session

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {directory}
auth_type = scram-sha-256
auth_file = {directory}/userlist.txt
admin_users = postgres
pool_mode = transaction
default_pool_size = 5
server_round_robin = 1
"""
USERS = '"postgres" "postgres"\n"joe" "of joe"\n'


@pytest.fixture
def bouncer(streaming: StreamingCluster) -> Iterator[Callable[..., Bouncer]]:
    """Start launchers in front of the first primary; they end with the test."""
    workdir = Workdir("bouncer")
    started: list[Bouncer] = []

    def start(*options: str, more: str = "", ini: str = INI, ready: bool = True, **environ: str) -> Bouncer:
        (port,) = workdir.ports(1)
        directory = workdir.path / f"bouncer{len(started)}"
        text = ini.format(pg=streaming.primary.port, port=port, directory=directory)
        one = Bouncer(directory, f"{text}\n{more}\n", port, **environ)
        write_file(directory / "userlist.txt", USERS)
        started.append(one)
        one.start(*options, ready=ready)
        return one

    try:
        yield start
    finally:
        for one in started:
            one.stop()
        workdir.remove()


def prepare(streaming: StreamingCluster) -> None:
    streaming.primary.sql("drop role if exists reporting; create role reporting login password 'of reporting'")
    streaming.wait_caught_up()


def test_it_serves_by_the_ini(bouncer: Callable[..., Bouncer], streaming: StreamingCluster) -> None:
    prepare(streaming)
    one = bouncer()
    assert one.ask("select 1", password="postgres") == [(1,)]
    who = one.ask(
        "select session_user, current_database(), current_setting('timezone')", "reports", password="postgres"
    )
    assert who == [("reporting", "postgres", "Asia/Tokyo")]
    assert one.ask("show timezone", "reports", password="postgres", options="-c timezone=UTC") == [("UTC",)]
    assert one.logs(r"server_round_robin = 1: not used: the connection that was used last")
    with pytest.raises(psycopg.OperationalError, match='database "other" does not exist'):
        one.connect("other", password="postgres")
    pools = one.admin("show pools", password="postgres")
    assert {row["database"] for row in pools} >= {"postgres"}


def test_the_console_over_the_socket_is_for_its_own_user(bouncer: Callable[..., Bouncer]) -> None:
    one = bouncer()
    where = f"host={one.directory} port={one.port} user=pgbouncer dbname=pgbouncer"
    assert run_as_service(["psql", "-Atc", "show version", where], one.directory).strip()
    with pytest.raises(psycopg.OperationalError):
        one.connect("pgbouncer", user="pgbouncer")


def test_a_reload_converts_anew(bouncer: Callable[..., Bouncer]) -> None:
    one = bouncer()
    text = one.ini.read_text()
    one.write(text.replace("[users]", "app = host=127.0.0.1 port=1\n[users]"))
    one.signal(signal.SIGHUP)
    until(lambda: one.logs("reload: .*these are about different servers"), 10, "the reload is refused")
    assert one.ask("select 1", password="postgres") == [(1,)]
    app = text[text.index("postgres =") :].splitlines()[0].replace("postgres =", "app =", 1) + " dbname=postgres"
    one.write(text.replace("[users]", f"{app}\n[users]"))
    one.signal(signal.SIGHUP)
    until(lambda: one.logs("configuration reloaded"), 10, "the reload")
    assert one.ask("select current_database()", "app", password="postgres") == [("postgres",)]


def test_signals_mean_what_they_mean_there(bouncer: Callable[..., Bouncer]) -> None:
    one = bouncer()
    client = one.connect(password="postgres")
    one.signal(signal.SIGTERM)
    until(lambda: one.logs("draining"), 5, "it drains")
    with pytest.raises(psycopg.OperationalError):
        one.connect(password="postgres")
    assert client.execute("select 1").fetchone() == (1,)
    client.close()
    one.wait_gone()

    one.start()
    client = one.connect(password="postgres")
    client.autocommit = False
    client.execute("select 1")
    one.signal(signal.SIGINT)
    until(lambda: one.logs("draining"), 5, "it drains")
    client.execute("select 2")
    client.commit()
    one.wait_gone()
    client.close()

    one.start()
    client = one.connect(password="postgres")
    one.signal(signal.SIGTERM)
    one.signal(signal.SIGQUIT)
    one.wait_gone()
    with pytest.raises(psycopg.OperationalError):
        client.execute("select 1")
    client.close()


def test_a_daemon_has_a_pidfile_and_a_log(bouncer: Callable[..., Bouncer]) -> None:
    files = "pidfile = {directory}/pid\nlogfile = {directory}/log\n"
    one = bouncer("-d", ini=INI + files, ready=False)
    pid_file, log = one.directory / "pid", one.directory / "log"
    until(lambda: log.exists() and "process up" in log.read_text(), 20, "the daemon")
    until(lambda: log.exists() and _accepts(one), 20, "the daemon's port")
    daemon = process(int(pid_file.read_text()))
    assert daemon is not None
    try:
        one.start(ready=False)
        until(lambda: not one.alive, 20, "the second one gives up")
        assert one.logs("pidfile .* exists, another instance running")
        log.rename(one.directory / "log.1")
        daemon.signal(signal.SIGHUP)
        until(lambda: log.exists() and "configuration reloaded" in log.read_text(), 10, "a new log")
        daemon.signal(signal.SIGINT)
        daemon.wait_gone(10)
        assert not pid_file.exists()
    finally:
        daemon.kill()


def _accepts(one: Bouncer) -> bool:
    try:
        return one.ask("select 1", password="postgres") == [(1,)]
    except psycopg.OperationalError:
        return False


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(CODE), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_the_command_line(streaming: StreamingCluster) -> None:
    assert run("-V").stdout.startswith("PgBouncer 1.26")
    assert "--daemon" in run("--help").stdout
    assert "no configuration file specified" in run("-q").stderr
    assert run("/nonexistent.ini").stderr.splitlines() == [
        '/nonexistent.ini: could not load file "/nonexistent.ini": No such file or directory'
    ]
    write_file(ini := streaming.workdir / "wrong.ini", "[pgbouncer]\nlisten_prot = 6432\n")
    done = run("-u", "nobody", str(ini)) if sys.platform != "linux" else run(str(ini))
    assert done.returncode == 1
    assert "unknown parameter: pgbouncer/listen_prot" in done.stderr


def test_root_is_refused(streaming: StreamingCluster) -> None:
    done = subprocess.run(["id", "-u"], capture_output=True, text=True, check=True)
    if done.stdout.strip() != "0":
        pytest.skip("not root")
    write_file(ini := streaming.workdir / "root.ini", "[databases]\n* = host=127.0.0.1\n[pgbouncer]\n")
    assert "should not run as root" in run(str(ini)).stderr


def test_replicas_share_reads(bouncer: Callable[..., Bouncer], streaming: StreamingCluster) -> None:
    replicas = ",".join(f"127.0.0.1:{standby.port}" for standby in streaming.standbys)
    one = bouncer(PGROUTER_REPLICAS=replicas)
    standbys = {standby.port for standby in streaming.standbys}
    seen: set[int] = set()

    def all_seen() -> bool:
        seen.add(one.ask("select inet_server_port()", password="postgres")[0][0])
        return standbys <= seen

    until(all_seen, 10, "reads on the standbys", step_s=0.1)
    assert one.ask("select inet_server_port() from pg_class for update limit 1", password="postgres") == [
        (streaming.primary.port,)
    ]
