"""pgrouter-pgpool and `pgrouter run --pgpool-conf` with real servers: files, command line, containers' environment."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.programs import run_program

from pgrouter.demo import template
from pgrouter.demo.processes import until
from pgrouter.demo.router import CODE
from pgrouter.demo.workdir import Workdir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

LAUNCHER = "import sys; from pgrouter.pgpool.main import main; sys.exit(main())"
ROUTER = "import sys; from pgrouter.cli.main import main; sys.exit(main())"


class Pgpool:
    """A router that runs in Pgpool-II's place."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.output = directory / "out"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, program: str = LAUNCHER, **environment: str) -> None:
        """Start it and wait until it accepts clients."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("PGPOOL")}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=own | environment | {"PYTHONPATH": str(CODE)},
            )
        until(self.is_ready, 30, f"pgrouter ready, see {self.output}")

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.text()
        return "pgrouter ready: " in self.text()

    def text(self) -> str:
        return self.output.read_text()

    def logs(self, pattern: str) -> bool:
        return re.search(pattern, self.text()) is not None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the launcher's other commands."""
        command = [sys.executable, "-c", LAUNCHER, *arguments]
        environment = os.environ | {"PYTHONPATH": str(CODE)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def ask(self, sql: str, password: str = template.PASSWORD, **more: str) -> list[tuple[object, ...]]:
        """Return what a query gives, as postgres."""
        given = {"host": "127.0.0.1", "user": template.USER, "dbname": "postgres"} | more
        with psycopg.connect(port=self.port, password=password, connect_timeout=20, autocommit=True, **given) as one:
            return one.execute(sql.encode()).fetchall()

    def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            finally:
                self.process.kill()


@pytest.fixture
def pgpool(streaming: StreamingCluster) -> Iterator[Callable[..., Pgpool]]:
    """Give directories with the files of a Pgpool-II in front of the servers; what runs there ends with the test."""
    workdir = Workdir("pgpool")
    started: list[Pgpool] = []

    def make(more: str = "") -> Pgpool:
        port, pcp_port = workdir.ports(2)
        directory = workdir.path / f"pgpool{len(started)}"
        directory.mkdir()
        lines = [
            f"port = {port}",
            "listen_addresses = '127.0.0.1'",
            f"unix_socket_directories = '{directory}'",
            f"pcp_port = {pcp_port}",
            f"pcp_socket_dir = '{directory}'",
            f"pid_file_name = '{directory}/pgpool.pid'",
            "enable_pool_hba = on",
            f"sr_check_user = '{template.MONITOR}'",
            f"sr_check_password = '{template.MONITOR}'",
            "delegate_ip = '10.0.0.1'",
        ]
        for number, server in enumerate(streaming.servers):
            lines += [
                f"backend_hostname{number} = '127.0.0.1'",
                f"backend_port{number} = {server.port}",
                f"backend_weight{number} = {number}",
            ]
        (directory / "pgpool.conf").write_text("\n".join(lines) + f"\n{more}\n")
        (directory / "pool_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        (directory / "pool_passwd").write_text(f"{template.USER}:TEXT{template.PASSWORD}\n")
        digest = hashlib.md5(b"secret", usedforsecurity=False).hexdigest()
        (directory / "pcp.conf").write_text(f"admin:{digest}\n")
        one = Pgpool(directory, port)
        started.append(one)
        return one

    try:
        yield make
    finally:
        for one in started:
            one.stop()
        workdir.remove()


def test_the_files_and_the_command_line(pgpool: Callable[..., Pgpool], streaming: StreamingCluster) -> None:
    one = pgpool()
    conf = str(one.directory / "pgpool.conf")
    one.start("-n", "-D", "-C", "-f", conf)
    assert one.logs(r"WARNING .*ATTENTION: delegate_ip: the virtual address is NOT brought up")
    assert one.ask("select 1") == [(1,)]
    assert one.ask("select 1", host=str(one.directory)) == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        one.ask("select 1", password="wrong")

    def shares() -> list[object]:
        return [row[5] for row in one.ask("show pool_nodes")]

    assert shares() == ["0.000000", "0.333333", "0.666667"]
    who = "select current_setting('demo.member')"
    replicas = {server.name for server in streaming.servers[1:]}
    until(lambda: {row[0] for _ in range(3) for row in one.ask(who)} == replicas, 20, "replicas")
    text = (one.directory / "pgpool.conf").read_text()
    (one.directory / "pgpool.conf").write_text(text + "backend_weight1 = 2\nbackend_weight2 = 2\n")
    assert one.run("-f", conf, "reload").returncode == 0
    until(lambda: shares() == ["0.000000", "0.500000", "0.500000"], 20, "new weights")
    (one.directory / "pgpool.conf").write_text(text + "port = many\n")
    assert one.run("-f", conf, "reload").returncode == 0
    until(lambda: one.logs('port: expected a whole number, got "many"'), 20, "the refusal")
    assert one.ask("select 1") == [(1,)]
    (one.directory / "pgpool.conf").write_text(text)
    assert int((one.directory / "pgpool.pid").read_text()) == one.process.pid  # type: ignore[union-attr]
    stopped = one.run("-f", conf, "-m", "fast", "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert one.process is not None
    assert one.process.wait(20) == 0
    assert not (one.directory / "pgpool.pid").exists()
    assert "is it running?" in one.run("-f", conf, "stop").stderr


def test_a_database_whose_reads_go_to_the_primary(pgpool: Callable[..., Pgpool], streaming: StreamingCluster) -> None:
    one = pgpool("database_redirect_preference_list = 'template1:primary'")
    one.start("-n", "-f", str(one.directory / "pgpool.conf"))
    who = "select current_setting('demo.member')"
    until(lambda: one.ask(who)[0][0] != streaming.primary.name, 20, "a replica")
    assert {one.ask(who, dbname="template1")[0][0] for _ in range(6)} == {streaming.primary.name}
    assert {one.ask(who, dbname="postgres")[0][0] for _ in range(6)} == {each.name for each in streaming.servers[1:]}


def test_a_smart_stop_waits_for_clients(pgpool: Callable[..., Pgpool]) -> None:
    one = pgpool()
    one.start("-n", "-f", str(one.directory / "pgpool.conf"))
    assert one.process is not None
    with psycopg.connect(
        host="127.0.0.1", port=one.port, user=template.USER, password=template.PASSWORD, dbname="postgres"
    ) as client:
        one.process.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                one.ask("select 1")
            except psycopg.OperationalError:
                return True
            return False

        until(refused, 20, "no more clients")
        assert client.execute("select 1").fetchall() == [(1,)]
        assert one.process.poll() is None
    assert one.process.wait(20) == 0


def test_in_the_background(pgpool: Callable[..., Pgpool]) -> None:
    one = pgpool()
    conf = str(one.directory / "pgpool.conf")
    assert one.run("-f", conf).returncode == 0
    pid_file = one.directory / "pgpool.pid"
    until(pid_file.exists, 30, "a process")
    try:
        until(lambda: pid_file.read_text().strip().isdigit(), 5, "its number")

        def serves() -> bool:
            try:
                return one.ask("select 1") == [(1,)]
            except psycopg.OperationalError:
                return False

        until(serves, 30, "an answer")
        assert "another instance running" in one.run("-n", "-f", conf).stderr
    finally:
        assert one.run("-f", conf, "-m", "fast", "stop").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "expected", "code"),
    [
        (("--version",), "pgpool-II version 4.7.2 (pgrouter", 0),
        (("-h",), "--hba-file", 0),
        (("-f", "/nowhere/pgpool.conf"), "/nowhere/pgpool.conf: cannot be read", 1),
        (("-f", "{wrong}/pgpool.conf"), "pcp.conf:1: expected user:md5", 1),
        (("-m", "quick", "stop"), "invalid choice", 1),
        (("start",), "invalid choice", 1),
    ],
)
def test_other_command_lines(arguments: tuple[str, ...], expected: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "pgpool.conf").write_text("backend_hostname0 = 'a'\nsr_check_user = 'b'\n")
    (tmp_path / "pcp.conf").write_text("admin:in clear\n")
    done = Pgpool(tmp_path, 0).run(*(argument.format(wrong=tmp_path) for argument in arguments))
    assert expected in done.stdout + done.stderr
    assert done.returncode == code


def test_pgrouter_run_and_convert(pgpool: Callable[..., Pgpool]) -> None:
    one = pgpool()
    conf = one.directory / "pgpool.conf"
    hba = one.directory / "other_hba.conf"
    (one.directory / "pool_hba.conf").rename(hba)
    one.start("run", "--pgpool-conf", str(conf), "--hba-file", str(hba), program=ROUTER)
    assert one.ask("select 1") == [(1,)]
    one.stop()
    hba.rename(one.directory / "pool_hba.conf")
    command = [sys.executable, "-c", ROUTER, "convert", str(conf), "-o", str(one.directory / "pgrouter.yml")]
    environment = os.environ | {"PYTHONPATH": str(CODE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ATTENTION: delegate_ip" in done.stderr
    assert "# - ATTENTION: delegate_ip" in (one.directory / "pgrouter.yml").read_text()
    one.start("run", "--config", str(one.directory / "pgrouter.yml"), program=ROUTER)
    assert one.ask("select 1") == [(1,)]


def test_bitnamis_environment_and_its_probe(pgpool: Callable[..., Pgpool], streaming: StreamingCluster) -> None:
    one = pgpool()
    nodes = ",".join(f"{number}:127.0.0.1:{server.port}" for number, server in enumerate(streaming.servers))
    secret = one.directory / "secret"
    secret.write_text(f"{template.PASSWORD}\n")
    extra = one.directory / "extra.conf"
    extra.write_text("log_connections = on\n")
    one.start(
        PGPOOL_BACKEND_NODES=nodes,
        PGPOOL_PORT_NUMBER=str(one.port),
        PGPOOL_SR_CHECK_USER=template.MONITOR,
        PGPOOL_SR_CHECK_PASSWORD=template.MONITOR,
        PGPOOL_POSTGRES_USERNAME=template.USER,
        PGPOOL_POSTGRES_PASSWORD_FILE=str(secret),
        PGPOOL_USER_CONF_FILE=str(extra),
        PGPOOL_TMP_DIR=str(one.directory / "sockets"),
    )
    assert one.ask("select 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        one.ask("select 1", password="wrong")
    probe = ("-U", template.USER, "-d", "postgres", "-h", str(one.directory / "sockets"), "-p", str(one.port))
    done = run_program("psql", *probe, "-tA", "-c", "SHOW pool_nodes;")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("|")[:3] for line in lines] == [
        [str(number), "127.0.0.1", str(server.port)] for number, server in enumerate(streaming.servers)
    ]
    assert not [line for line in lines if "down|up" in line]


def test_the_other_containers_environment(pgpool: Callable[..., Pgpool], streaming: StreamingCluster) -> None:
    one = pgpool()
    one.start(
        PGPOOL_PARAMS_BACKEND_HOSTNAME0="127.0.0.1",
        PGPOOL_PARAMS_BACKEND_PORT0=str(streaming.primary.port),
        PGPOOL_PARAMS_PORT=str(one.port),
        PGPOOL_PARAMS_UNIX_SOCKET_DIRECTORIES=str(one.directory),
        PGPOOL_PARAMS_SR_CHECK_USER=template.MONITOR,
        PGPOOL_PARAMS_SR_CHECK_PASSWORD=template.MONITOR,
        PGPOOL_PARAMS_SSL="on",
        POSTGRES_USERNAME=template.USER,
        POSTGRES_PASSWORD=template.PASSWORD,
        PGPOOL_CONF_VOLUME=str(one.directory / "nothing"),
    )
    assert one.ask("select 1", sslmode="require") == [(1,)]
