"""Debian's pcp_* tools talk to a router as to Pgpool-II."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.front import rss_mb
from support.rawclient import message
from support.router import static_cluster

from bench import programs
from pgrouter.demo.processes import until
from pgrouter.pcp.users import digest

if TYPE_CHECKING:
    from pathlib import Path

    from support.router import Router, RouterFactory

    from bench.programs import Program
    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

USER, PASSWORD = "admin", "pcpadmin"


def is_old() -> bool:
    """Whether the tools are of 4.3, which expect one field less of a node."""
    found = programs.find("pcp_node_info", "pgpool2", "--version")
    return not isinstance(found, str) and found.release < (4, 4)


@pytest.fixture(scope="session")
def debians() -> Program:
    """Give one of Debian's tools: the system's, or fetched, not installed."""
    found = programs.find("pcp_node_info", "pgpool2", "--version")
    if isinstance(found, str):
        pytest.skip(found)
    return found


class Tools:
    """Runs the tools with a router's port."""

    def __init__(self, program: Program, port: int, directory: Path, password: str = PASSWORD) -> None:
        self.program = program
        self.port = port
        self.directory = directory
        self._passwords = directory / ".pcppass"
        self._passwords.write_text(f"*:*:{USER}:{password}\n")
        self._passwords.chmod(0o600)

    def run(self, name: str, *arguments: str, host: str = "127.0.0.1") -> subprocess.CompletedProcess[str]:
        command = (self.program.path.with_name(name), "-h", host, "-p", str(self.port), "-U", USER, "-w", *arguments)
        environment = os.environ | self.program.env | {"PCPPASSFILE": str(self._passwords)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)

    def __call__(self, name: str, *arguments: str, host: str = "127.0.0.1") -> str:
        done = self.run(name, *arguments, host=host)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.strip()

    def has(self, name: str) -> bool:
        return self.program.path.with_name(name).exists()

    def fails(self, name: str, *arguments: str) -> str:
        return self.run(name, *arguments).stderr.strip()


@pytest.fixture
def front(router: RouterFactory, streaming: StreamingCluster, tmp_path: Path) -> Router:
    users = tmp_path / "pcp.conf"
    users.write_text(f"# comment\n{USER}:{hashlib.md5(PASSWORD.encode(), usedforsecurity=False).hexdigest()}\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pcp = {
        "host": "127.0.0.1",
        "port": port,
        "sockets": [str(tmp_path)],
        "users_file": str(users),
        "version": "4.3" if is_old() else "4.7",
    }
    started = router({"cluster": static_cluster(streaming.servers), "pcp": pcp})
    streaming.wait_caught_up()
    until(lambda: sum(row["readable"] for row in started.admin("SHOW CLUSTER")) == 2, 20, "two replicas")
    return started


@pytest.fixture
def tools(debians: Program, front: Router, tmp_path: Path) -> Tools:
    return Tools(debians, front.settings["pcp"]["port"], tmp_path)


def test_nodes(tools: Tools, streaming: StreamingCluster) -> None:
    assert tools("pcp_node_count") == "3"
    assert tools("pcp_node_count", host=str(tools.directory)) == "3"
    for number, server in enumerate(streaming.servers):
        line = tools("pcp_node_info", "-n", str(number)).split()
        assert line[:2] == ["127.0.0.1", str(server.port)]
        assert line[2] in ("1", "2")
        role = "standby" if number else "primary"
        assert line[4] in ("waiting", "up")
        assert line[5] == "up"
        assert line[6:8] == [role, role]
        assert float(line[3]) == (0.5 if number else 0)
        assert line[8].isdecimal()
        assert line[9] == ("streaming" if number else "none")
        assert line[-2] >= "2026-01-01"
    assert len(tools("pcp_node_info", "-a").splitlines()) == 3
    titled = tools("pcp_node_info", "-n", "1", "-v")
    assert "Hostname" in titled
    assert "streaming" in titled
    assert "invalid node ID" in tools.fails("pcp_node_info", "-n", "7")


def test_a_node_is_detached_and_attached(front: Router, tools: Tools) -> None:
    def status(number: int) -> str:
        return tools("pcp_node_info", "-n", str(number)).split()[4]

    def readable(number: int) -> bool:
        return bool(front.admin("SHOW CLUSTER")[number]["readable"])

    for more in ([], ["-g"]):
        assert tools("pcp_detach_node", "-n", "1", *more) == "pcp_detach_node -- Command Successful"
        assert (status(1), readable(1), readable(2)) == ("down", False, True)
        assert tools("pcp_attach_node", "-n", "1") == "pcp_attach_node -- Command Successful"
        until(lambda: readable(1), 20, "reads again")
        assert status(1) in ("up", "waiting")
    assert "it is the primary" in tools.fails("pcp_detach_node", "-n", "0")
    assert "promotes nobody" in tools.fails("pcp_promote_node", "-n", "1")
    assert "not available" in tools.fails("pcp_recovery_node", "-n", "1")


def test_clients(front: Router, tools: Tools) -> None:
    with front.connect() as connection:
        connection.execute("select 1")
        pids = tools("pcp_proc_count").split()
        assert len(pids) == 1
        connection.execute("begin")
        connection.execute("select 1")
        lines = tools("pcp_proc_info", "-a").splitlines()
        assert any(line.split()[:2] == ["postgres", "postgres"] for line in lines), lines
        assert tools("pcp_proc_info", "-P", pids[0]).split()[:2] == ["postgres", "postgres"]


def test_the_router(front: Router, tools: Tools) -> None:
    status = tools("pcp_pool_status")
    assert "name : load_balance_mode" in status
    stats = tools("pcp_health_check_stats", "-n", "0")
    assert stats.split()[0] == "0"
    if tools.has("pcp_log_rotate"):  # since 4.5
        assert tools("pcp_log_rotate") == "pcp_log_rotate -- Command Successful"
    assert "watchdog" in tools.fails("pcp_watchdog_info")
    assert tools("pcp_reload_config") == "pcp_reload_config -- Command Successful"
    until(lambda: front.log_contains("configuration reloaded"), 10, "a reload")
    front.process.config.write_text("no")
    assert "reload failed" in tools.fails("pcp_reload_config")
    assert tools("pcp_stop_pgpool", "-m", "fast") == "pcp_stop_pgpool -- Command Successful"
    until(lambda: not front.process.alive, 20, "the end")


def test_a_wrong_password(tools: Tools) -> None:
    wrong = Tools(tools.program, tools.port, tools.directory, password="guess")
    done = wrong.run("pcp_node_count")
    assert done.returncode != 0
    assert "authentication failed" in done.stderr


# -- clients of another kind


def answered(port: int, data: bytes) -> bytes:
    """Return all that is answered to these bytes before the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(data)
        found = b""
        try:
            while piece := client.recv(4096):
                found += piece
        except ConnectionResetError:
            pass
        return found


STRANGERS = (
    message(b"L"),  # a command before the password
    message(b"R", b"admin\0x\0"),  # without a salt
    message(b"M") + message(b"R", b"admin\0" + b"0" * 32 + b"\0"),
    message(b"M") + message(b"R"),
    b"M" + (2**31 - 1).to_bytes(4, "big"),
    b"M" + bytes(4),
    b"GET / HTTP/1.1\r\n\r\n",
    message(b"X"),
)


def test_nobody_comes_in_without_a_password(front: Router) -> None:
    for data in STRANGERS:
        found = answered(front.settings["pcp"]["port"], data)
        assert b"AuthenticationOK" not in found
        assert b"CommandComplete" not in found
    assert front.process.alive
    assert not front.log_contains("Traceback|bug in")


def test_many_commands_at_once(front: Router) -> None:
    """They are answered one after the other, as the client takes the answers, while others are served."""
    asked = 3000
    with socket.create_connection(("127.0.0.1", front.settings["pcp"]["port"]), timeout=60) as client:
        client.sendall(message(b"M"))
        salt = client.recv(9)[5:]
        shown = digest(hashlib.md5(PASSWORD.encode(), usedforsecurity=False).hexdigest(), USER, salt)
        client.sendall(message(b"R", f"{USER}\0{shown}\0".encode()))
        assert b"AuthenticationOK" in client.recv(100)
        client.sendall(message(b"B") * asked)
        with front.connect() as connection:  # nothing has been taken yet
            assert connection.execute("select 1").fetchall() == [(1,)]
        found, rest = 0, b""
        while found < asked:
            piece = client.recv(1024 * 1024)
            assert piece, found
            found += (rest + piece).count(b"CommandComplete") - rest.count(b"CommandComplete")
            rest = piece[-len(b"CommandComplete") :]
    assert not front.log_contains("Traceback|bug in")
    assert rss_mb(front.process.pid) < 400


def test_connections_are_limited(front: Router) -> None:
    port = front.settings["pcp"]["port"]
    held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(16)]
    try:
        for client in held:
            client.sendall(message(b"M"))
            assert client.recv(9)[:1] == b"m"
        assert answered(port, message(b"M")) == b""
    finally:
        for client in held:
            client.close()
