"""Starts what is measured, each in front of the same servers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psycopg

from bench import configs, programs
from bench.measure import RunError
from pgrouter.demo.processes import make_directory, own_environment, spawn, spawn_as_self, until, write_file
from pgrouter.demo.router import READY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.cases import Case
    from bench.servers import Servers
    from pgrouter.demo.processes import Process

START = "import sys; from pgrouter.cli.main import main; sys.exit(main())"
HERE = Path(__file__).resolve().parents[1]


class Stage(Protocol):
    """Where a subject is started."""

    under: tuple[str, ...]  # put in front of its command: a profiler

    @property
    def patience_s(self) -> float:
        """How long it may take to start."""

    @property
    def workdir(self) -> Path:
        """What is started with it in its environment ends with it."""

    def reserve(self, count: int) -> tuple[int, ...]:
        """Give ports that nobody else takes."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where clients go."""

    port: int
    database: str = "postgres"


@dataclass(frozen=True, slots=True)
class Running:
    """A subject that accepts clients."""

    process: Process | None  # None: the servers themselves
    standby: Door  # for cases that read
    primary: Door

    @property
    def pid(self) -> int | None:
        """Whose processor time and memory are measured, with its descendants."""
        return self.process.pid if self.process else None

    def door(self, case: Case) -> Door:
        """Where the clients of a case go."""
        return self.primary if case.where == "primary" else self.standby

    def stop(self) -> None:
        """End it, and all of its processes."""
        if self.process:
            self.process.kill()


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that is measured; `start` takes a directory of its own and the login."""

    name: str
    version: str
    start: Callable[[Servers, Path, str], Running]
    unable: Callable[[Case], str]  # why it cannot do a case; empty if it can


def find(names: list[str], also: Mapping[str, Path]) -> tuple[list[Subject], dict[str, str]]:
    """Give the subjects that this machine has, and why the others are left out."""
    there, absent = [], {}
    for name in names:
        found = FINDERS[name]()
        if isinstance(found, str):
            absent[name] = found
        else:
            there.append(found)
    return there + [checkout(name, path) for name, path in also.items()], absent


def direct() -> Subject:
    """Clients connect to the servers themselves."""

    def start(servers: Servers, _directory: Path, _login: str) -> Running:
        return Running(None, Door(servers.ports[1]), Door(servers.ports[0]))

    return Subject("direct", "", start, lambda case: configs.unable_one_to_one(case, ()))


def relay() -> Subject | str:
    """The relay of this directory, as the floor."""
    program = programs.relay()
    if isinstance(program, str):
        return program

    def start(servers: Servers, directory: Path, login: str) -> Running:
        read, write = servers.reserve(2)
        pairs = [f"{read}:{servers.ports[1]}", f"{write}:{servers.ports[0]}"]
        process = spawn([*servers.under, program.path, *pairs], servers.workdir, directory / "log")
        return ready(servers, process, Door(read), Door(write), login)

    return Subject("relay", program.version, start, lambda case: configs.unable_one_to_one(case, ()))


def pgbouncer() -> Subject | str:
    """Debian's PgBouncer."""
    program = programs.find("pgbouncer", "pgbouncer", "--version")
    if isinstance(program, str):
        return program

    def start(servers: Servers, directory: Path, login: str) -> Running:
        (port,) = servers.reserve(1)
        users = write_file(directory / "userlist.txt", servers.userlist, 0o644)
        knows = program.release >= (1, 21)
        text = configs.pgbouncer(servers.ports, port, users, login, prepared=knows)
        file = write_file(directory / "pgbouncer.ini", text, 0o644)
        process = spawn([*servers.under, program.path, "-q", file], servers.workdir, directory / "log", program.env)
        return ready(servers, process, Door(port), Door(port, "primary"), login)

    return Subject("pgbouncer", program.version, start, lambda case: configs.unable_pgbouncer(case, program.release))


def haproxy(name: str = "haproxy", threads: int | None = 1) -> Subject | str:
    """Debian's HAProxy, with one thread unless told otherwise."""
    program = programs.find("haproxy", "haproxy", "-v")
    if isinstance(program, str):
        return program

    def start(servers: Servers, directory: Path, login: str) -> Running:
        read, write = servers.reserve(2)
        file = write_file(directory / "haproxy.cfg", configs.haproxy(servers.ports, read, write, threads), 0o644)
        argv = [*servers.under, program.path, "-db", "-f", file]
        process = spawn(argv, servers.workdir, directory / "log", program.env)
        return ready(servers, process, Door(read), Door(write), login)

    return Subject(name, program.version, start, lambda case: configs.unable_one_to_one(case, ()))


def pgpool() -> Subject | str:
    """Debian's Pgpool-II."""
    program = programs.find("pgpool", "pgpool2", "--version")
    if isinstance(program, str):
        return program

    def start(servers: Servers, directory: Path, login: str) -> Running:
        port, control = servers.reserve(2)
        text = configs.pgpool(servers.ports, port, control, directory, login)
        door = Door(port)
        return ready(servers, run_pgpool(servers, program, directory, text), door, door, login)

    return Subject("pgpool", program.version, start, lambda case: configs.unable_pgpool(case, program.release))


def run_pgpool(stage: Stage, program: programs.Program, directory: Path, text: str) -> Process:
    """Start a Pgpool-II that knows nothing of earlier runs."""
    file = write_file(directory / "pgpool.conf", text)
    write_file(directory / "pool_passwd", f"{configs.PROVEN}:TEXT{configs.PROVEN}\n")
    hba = write_file(directory / "pool_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n")
    pcp = write_file(directory / "pcp.conf", "")
    argv = [*stage.under, program.path, "-n", "-D", "-f", file, "-a", hba, "-F", pcp]
    return spawn(argv, stage.workdir, directory / "log", program.env)


def checkout(name: str, path: Path, standbys: int = 2) -> Subject:
    """A checkout of pgrouter, run by its own Python, in front of the primary and so many standbys."""
    version = programs.version_of(path)

    def start(servers: Servers, directory: Path, login: str) -> Running:
        users = write_file(directory / "users.txt", servers.userlist)
        text = configs.pgrouter(configs.static(servers.ports[: 1 + standbys]), users, login)
        return start_router(servers, directory, path, text, login)

    return Subject(name, version, start, lambda _case: "")


def start_router(stage: Stage, directory: Path, code: Path, text: str, login: str) -> Running:
    """Start the pgrouter of a checkout with these settings and wait until clients are served."""
    file = write_file(directory / "pgrouter.yml", text)
    output, log = directory / "out", directory / "log"
    process = spawn_as_self(
        [*stage.under, programs.python_in(code), "-c", START, "run", "--config", file],
        output=output, errors=log, env=own_environment(stage.workdir) | {"PYTHONPATH": str(code)},
    )  # fmt: skip
    until(lambda: READY.search(output.read_text()) or not process.alive, stage.patience_s, f"{directory.name} is ready")
    found = READY.search(output.read_text())
    if not found:
        raise last_words(log)
    door = Door(int(found[2]))
    return ready(stage, process, door, door, login)


def last_words(log: Path) -> RunError:
    """Make an error of what a program said when it ended."""
    return RunError(f"{log.parent.name} ended: " + " ".join(log.read_text().splitlines()[-3:]))


def ready(stage: Stage, process: Process, standby: Door, primary: Door, login: str) -> Running:
    """Wait until clients are served at both doors."""
    for door in (standby, primary):
        until(partial(answers, door, login), stage.patience_s, f"a client is served at port {door.port}", 0.1)
    return Running(process, standby, primary)


def answers(door: Door, login: str) -> bool:
    """Tell whether a client can log in and ask."""
    user = configs.PROVEN if login == "scram" else configs.TRUSTED
    with contextlib.suppress(psycopg.OperationalError):
        where = {"host": "127.0.0.1", "port": door.port, "dbname": door.database, "user": user}
        with psycopg.connect(**where, password=configs.PROVEN, connect_timeout=5, autocommit=True) as client:  # type: ignore[arg-type]
            client.execute("select 1")
            return True
    return False


def place(stage: Stage, name: str) -> Path:
    """Make a directory for one start of a subject, inside the one whose processes all end together."""
    number = sum(entry.name.startswith(f"{name}-") for entry in stage.workdir.iterdir())
    return make_directory(stage.workdir / f"{name}-{number}", 0o755)


FINDERS: dict[str, Callable[[], Subject | str]] = {
    "direct": direct,
    "relay": relay,
    "pgbouncer": pgbouncer,
    "haproxy": haproxy,
    "haproxy-threads": lambda: haproxy("haproxy-threads", None),
    "pgpool": pgpool,
    "pgrouter": lambda: checkout("pgrouter", HERE),
    "pgrouter-one": lambda: checkout("pgrouter-one", HERE, standbys=1),
}
DEFAULT = ["direct", "relay", "pgbouncer", "haproxy", "pgpool", "pgrouter"]
