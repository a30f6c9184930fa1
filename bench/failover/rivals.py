"""What stands between the clients and the cluster: how each is started, and what an operator has to do by hand.

Each is configured as its own documentation or Patroni's does it, and where there is a choice, in the way that helps it:
docs/failover-bench.md says how.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING

import psycopg
import yaml

from bench import configs, programs
from bench.failover import follow
from bench.measure import RunError
from bench.subjects import HERE, Door, place, ready, run_pgpool, start_router
from pgrouter.demo.processes import DemoError, own_environment, spawn, spawn_as_self, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.failover.stage import Stage
    from bench.programs import Program
    from bench.subjects import Running
    from pgrouter.demo.patroni import Member
    from pgrouter.demo.processes import Process

LOGIN = "trust"
PGPOOL_CHILDREN = 32  # its default
PGPOOL_EVERY_S = 10  # between two servers that it takes back
START_ERRORS = (TimeoutError, RunError, DemoError)


class Rival:
    """One of them, at ports that stay the same when it is started anew."""

    def __init__(self, name: str, version: str) -> None:
        self.name = name
        self.version = version
        self.database = "postgres"
        self._ports: tuple[int, ...] = ()
        self._running: Running | None = None

    @property
    def port(self) -> int:
        """Where its clients go."""
        return self._ports[0]

    def start(self, stage: Stage) -> None:
        """Start it and wait until clients are served."""
        self._ports = self._ports or stage.reserve(2)
        self._running = self._start(stage, place(stage, self.name))

    def is_sound(self, leader: Member) -> bool:  # noqa: ARG002
        """Whether it is as it was before the event, as far as it can be asked."""
        return True

    def repair(self, stage: Stage, leader: Member) -> None:  # noqa: ARG002
        """Do what an operator does when it has not found back by itself: start it anew."""
        if self._running is not None:
            self._running.stop()
        with contextlib.suppress(*START_ERRORS):  # whether it works is asked afterwards
            self.start(stage)

    def _start(self, stage: Stage, directory: Path) -> Running:
        raise NotImplementedError

    def _ready(self, stage: Stage, process: Process) -> Running:
        door = Door(self.port, self.database)
        return ready(stage, process, door, door, LOGIN)


class Router(Rival):
    """A checkout of pgrouter with Patroni's keys as its source, all else by default."""

    def __init__(self, name: str, code: Path) -> None:
        super().__init__(name, programs.version_of(code))
        self._code = code

    def _start(self, stage: Stage, directory: Path) -> Running:
        users = write_file(directory / "users.txt", stage.userlist)
        etcd = {"endpoints": list(stage.cluster.etcd.endpoints), "scope": stage.cluster.options.scope}
        settings = yaml.safe_load(configs.pgrouter({"source": "etcd", "etcd": etcd}, users, LOGIN))
        settings["listen"][0]["port"] = self.port
        return start_router(stage, directory, self._code, yaml.safe_dump(settings), LOGIN)


class HaProxy(Rival):
    """Patroni's template: the server is whoever's REST API answers /primary with 200."""

    def __init__(self, program: Program) -> None:
        super().__init__("haproxy", program.version)
        self._program = program

    def _start(self, stage: Stage, directory: Path) -> Running:
        file = write_file(directory / "haproxy.cfg", haproxy(stage.cluster.members, self.port), 0o644)
        argv = [self._program.path, "-db", "-f", file]
        return self._ready(stage, spawn(argv, stage.workdir, directory / "log", self._program.env))


class PgBouncer(Rival):
    """It knows one host; somebody has to tell it of another one: an operator, or a program that watches etcd."""

    def __init__(self, name: str, program: Program, *, follows: bool) -> None:
        super().__init__(name, program.version)
        self._program = program
        self._follows = follows
        self._directory: Path | None = None

    def _start(self, stage: Stage, directory: Path) -> Running:
        users = write_file(directory / "userlist.txt", stage.userlist, 0o644)
        prepared = self._program.release >= (1, 21)
        text = configs.pgbouncer((1, 2), self.port, users, LOGIN, prepared=prepared)
        template = write_file(directory / "template", for_any_leader(text), 0o644)
        file = directory / "pgbouncer.ini"
        follow.put(template, file, stage.cluster.require_leader().port)
        self._directory = directory
        process = spawn([self._program.path, "-q", file], stage.workdir, directory / "log", self._program.env)
        if self._follows:
            etcd = ["--etcd", stage.cluster.etcd.endpoints[0], "--scope", stage.cluster.options.scope]
            words = [*etcd, "--template", template, "--write", file, "--pid", process.pid]
            run_module(stage, "bench.failover.follow", words, directory / "follow.log")
        return self._ready(stage, process)

    def repair(self, stage: Stage, leader: Member) -> None:  # noqa: ARG002
        """Write the leader's port into its file, and RELOAD."""
        if self._directory is not None and self._running is not None and self._running.process is not None:
            follow.put(self._directory / "template", self._directory / "pgbouncer.ini", leader.port)
            self._running.process.signal(signal.SIGHUP)


class PgPool(Rival):
    """Streaming replication mode; Patroni is what promotes, so its failover_command has nothing to do."""

    def __init__(self, program: Program) -> None:
        super().__init__("pgpool", program.version)
        self._program = program

    def _start(self, stage: Stage, directory: Path) -> Running:
        ports = [member.port for member in stage.cluster.members]
        text = configs.pgpool(ports, *self._ports, directory, LOGIN)
        text += configs.pgpool_lines(pgpool_in_front_of_patroni(len(ports)))
        return self._ready(stage, run_pgpool(stage, self._program, directory, text))

    def is_sound(self, leader: Member) -> bool:
        """Whether it has taken back all servers and knows the leader."""
        where = f"host=127.0.0.1 port={self.port} user={configs.TRUSTED} dbname={self.database} connect_timeout=5"
        try:
            with psycopg.connect(where, autocommit=True, prepare_threshold=None) as client:
                found = client.execute("show pool_nodes")
                columns = [column.name for column in found.description or ()]
                nodes = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
        except psycopg.Error:
            return False
        primary = [int(node["port"]) for node in nodes if node["role"] == "primary"]
        return primary == [leader.port] and all(node["status"] == "up" for node in nodes)


def haproxy(members: Sequence[Member], port: int) -> str:
    """Give what Patroni's template comes to, without the page of statistics and the replicas' port."""
    servers = [f"    server {m.name} 127.0.0.1:{m.port} maxconn 100 check port {m.rest_port}" for m in members]
    return "\n".join([
        "global", "    maxconn 100",
        "defaults", "    mode tcp", "    retries 2", "    timeout client 30m", "    timeout connect 4s",
        "    timeout server 30m", "    timeout check 5s",
        "listen primary", f"    bind 127.0.0.1:{port}",
        "    option httpchk HEAD /primary", "    http-check expect status 200",
        "    default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions",
        *servers, "",
    ])  # fmt: skip


def for_any_leader(ini: str) -> str:
    """Make a template of the file that the other benchmark gives PgBouncer."""
    # By default it tries a server that was down only every 15 s
    return ini.replace("port=1 ", "port=@PORT@ ").replace("port=2 ", "port=@PORT@ ") + "server_login_retry = 1\n"


def pgpool_in_front_of_patroni(servers: int) -> Mapping[str, object]:
    """Give the settings that differ from those of the other benchmark, in which no server is ever lost."""
    settings: dict[str, object] = {
        "num_init_children": PGPOOL_CHILDREN, "failover_on_backend_error": "on",
        "health_check_period": 5, "health_check_timeout": 5, "health_check_max_retries": 3,
        "health_check_retry_delay": 1, "failover_command": "echo a server is down, looking for the new primary",
        "search_primary_node_timeout": 0,  # as long as it takes
        "auto_failback": "on", "auto_failback_interval": PGPOOL_EVERY_S,
    }  # fmt: skip
    for i in range(servers):
        settings |= {f"backend_flag{i}": "ALLOW_TO_FAILOVER", f"backend_weight{i}": 1}
    return settings


def run_module(stage: Stage, module: str, words: Sequence[object], log: Path) -> Process:
    """Run one of our programs; it ends with the stage."""
    argv = [sys.executable, "-m", module, *map(str, words)]
    env = own_environment(stage.workdir) | {"PYTHONPATH": str(HERE)}
    return spawn_as_self(argv, output=log, errors=log, env=env)


def find(names: Sequence[str], also: Mapping[str, Path]) -> tuple[list[Rival], dict[str, str]]:
    """Give what this machine has of these, and why the others are left out."""
    there: list[Rival] = []
    absent: dict[str, str] = {}
    for name in names:
        found = make(name)
        if isinstance(found, str):
            absent[name] = found
        else:
            there.append(found)
    return there + [Router(name, path) for name, path in also.items()], absent


def make(name: str) -> Rival | str:
    """Find a program; why not, if there is none."""
    if name == "pgrouter":
        return Router(name, HERE)
    package, asks = {"haproxy": ("haproxy", "-v"), "pgpool": ("pgpool2", "--version")}.get(
        name, ("pgbouncer", "--version")
    )
    program = programs.find(name.partition("-")[0], package, asks)
    if isinstance(program, str):
        return program
    if name == "haproxy":
        return HaProxy(program)
    if name == "pgpool":
        return PgPool(program)
    return PgBouncer(name, program, follows=name == "pgbouncer-confd")


NAMES = ("haproxy", "pgpool", "pgbouncer", "pgbouncer-confd", "pgrouter")
