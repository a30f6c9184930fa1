"""One PostgreSQL server on loopback: its data directory, its process, and the faults that tests inject.

A data directory is a copy of a template (see `template`): a cold copy of a cleanly shut down directory is a valid base
backup, so both primaries and standbys start in 0.1 s. The superuser is postgres/postgres. fsync is off (nobody keeps
this data); full_page_writes stays on, or pg_rewind refuses the server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from pgrouter.demo.processes import DemoError, Process, process, run, spawn, until, write_file
from pgrouter.demo.reaper import remove_shared_memory
from pgrouter.demo.template import PASSWORD, USER, copy_template, template

if TYPE_CHECKING:
    from pgrouter.demo.binaries import PostgresBinaries
    from pgrouter.demo.template import Stored

Auth = Literal["scram-sha-256", "md5", "password", "trust"]
StopMode = Literal["smart", "fast", "immediate"]

# What pg_ctl sends for each way to stop (PostgreSQL: Shutting Down the Server).
STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

PARAMETERS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # TCP only: no stale socket locks, no limit on a path's length
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, so it is removed with it if the server is killed
    "fsync": "off",
    "synchronous_commit": "local",
    "wal_level": "replica",
    "wal_log_hints": "on",  # for pg_rewind
    "wal_keep_size": "128MB",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "hot_standby": "on",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",  # default 5 s: how long a standby sleeps before it retries its primary
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What all servers of a cluster have in common."""

    auth: Auth = "scram-sha-256"  # for every TCP connection; md5 also stores passwords as md5
    max_connections: int = 200
    parameters: dict[str, str] = field(default_factory=dict)  # additions to postgresql.conf
    hba: tuple[str, ...] = ()  # lines of pg_hba.conf before the default ones

    @property
    def stored(self) -> Stored:
        """How passwords are stored."""
        return "md5" if self.auth == "md5" else "scram-sha-256"

    def settings(self) -> dict[str, str]:
        """Return postgresql.conf except the port."""
        own_settings = {"max_connections": str(self.max_connections), "password_encryption": self.stored}
        return PARAMETERS | own_settings | self.parameters

    def hba_lines(self) -> list[str]:
        """Return the lines of pg_hba.conf."""
        general = (f"host all all 127.0.0.1/32 {self.auth}", f"host replication all 127.0.0.1/32 {self.auth}")
        return [*self.hba, *general]


def conninfo(port: int, dbname: str = "postgres", user: str = USER, password: str = PASSWORD) -> str:
    """Return libpq's connection string for a server on loopback."""
    return f"host=127.0.0.1 port={port} user={user} password={password} dbname={dbname}"


class Server:
    """One PostgreSQL server: a data directory, a port, and the postmaster that may or may not run on it."""

    def __init__(self, name: str, binaries: PostgresBinaries, workdir: Path, port: int, options: ServerOptions) -> None:
        self.name = name
        self.port = port
        self.data = workdir / name
        self.log = workdir / f"{name}.log"
        self._binaries = binaries
        self._workdir = workdir
        self._options = options
        self._process: Process | None = None

    def __repr__(self) -> str:
        """For test reports."""
        return f"<Server {self.name} port={self.port} {'up' if self.alive else 'down'}>"

    @property
    def alive(self) -> bool:
        """Whether the postmaster runs (frozen counts as running)."""
        return self._process is not None and self._process.alive

    def dsn(self, dbname: str = "postgres", user: str = USER, password: str = PASSWORD) -> str:
        """Return libpq's connection string."""
        return conninfo(self.port, dbname, user, password)

    def connect(self, dbname: str = "postgres") -> psycopg.Connection[Any]:
        """Open a superuser connection in autocommit mode; the caller closes it."""
        return psycopg.connect(self.dsn(dbname), autocommit=True, connect_timeout=5)

    def sql(self, statement: str, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements on a new connection and return the last one's rows (none if it has no result)."""
        with self.connect(dbname) as connection:
            cursor = connection.execute(statement.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def create(self, primary_port: int | None) -> None:
        """Recreate the data directory from the template, as a primary or as a standby of the server on a port."""
        remove_shared_memory(self.data)
        shutil.rmtree(self.data, ignore_errors=True)
        copy_template(template(self._binaries, self._options.stored), self.data)
        self.configure(primary_port)

    def configure(self, primary_port: int | None) -> None:
        """Write postgresql.conf and pg_hba.conf, and whether it starts as a standby."""
        settings = self._options.settings() | {"port": str(self.port), "cluster_name": self.name}
        settings["demo.member"] = self.name  # for statements that report where they ran and may run anywhere
        standby = self.data / "standby.signal"
        if primary_port is None:
            standby.unlink(missing_ok=True)
        else:
            write_file(standby, "")
            settings["primary_conninfo"] = f"{conninfo(primary_port)} application_name={self.name}"
            settings["recovery_target_timeline"] = "latest"
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        write_file(self.data / "postgresql.conf", "\n".join(lines) + "\n")
        write_file(self.data / "pg_hba.conf", "\n".join(self._options.hba_lines()) + "\n")

    def launch(self) -> None:
        """Start the postmaster and return at once; `wait_ready` waits."""
        self._process = spawn([self._binaries.program("postgres"), "-D", self.data], self._workdir, self.log)

    def start(self) -> None:
        """Start the postmaster and wait until it accepts connections."""
        self.launch()
        self.wait_ready()

    def wait_ready(self, timeout_s: float = 30) -> None:
        """Wait until it accepts connections; DemoError with the end of the log if it died instead."""
        until(self._is_ready, timeout_s, f"{self.name} ready, see {self.log}", step_s=0.005)

    def _is_ready(self) -> bool:
        if not self.alive:
            raise DemoError(f"{self.name} died:\n" + "\n".join(self.log.read_text().splitlines()[-8:]))
        status = postmaster_status(self.data)
        return status is not None and self._process is not None and status[0] == self._process.pid and status[1]

    def stop(self, mode: StopMode = "fast", timeout_s: float = 30) -> None:
        """Shut it down as pg_ctl would, and wait for its end; does nothing if it is not running."""
        if self._process is not None and self.alive:
            self.thaw()
            self._process.signal(STOP_SIGNALS[mode])
            self._process.wait_gone(timeout_s)

    def kill(self) -> None:
        """End the postmaster and its backends with SIGKILL, as when the host dies."""
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        """Stop postmaster and backends (SIGSTOP), like a host that hangs: sockets stay open, nothing answers."""
        if self._process is not None:
            self._process.signal(signal.SIGSTOP, descendants=True)

    def thaw(self) -> None:
        """End a freeze."""
        if self._process is not None:
            self._process.signal(signal.SIGCONT, descendants=True)

    def promote(self) -> None:
        """Make a standby a primary and wait until it accepts writes (0.2 s)."""
        self.sql("select pg_promote(true, 30)")

    def rewind(self, source: Server) -> None:
        """Rewind a stopped former primary to where it diverged from another server (pg_rewind)."""
        # Up to PostgreSQL 15 a new primary's control file names the old timeline until its first checkpoint, and
        # pg_rewind then says "no rewind required" and leaves a broken node.
        source.sql("checkpoint")
        pg_rewind = self._binaries.program("pg_rewind")
        run([pg_rewind, "-D", self.data, "--source-server", source.dsn(), "--no-sync"], self._workdir)

    @property
    def in_recovery(self) -> bool:
        """Whether it reports to be a standby."""
        return bool(self.sql("select pg_is_in_recovery()")[0][0])

    @property
    def accepts_writes(self) -> bool:
        """Whether it answers and reports to be a primary."""
        with contextlib.suppress(psycopg.Error):
            return not self.in_recovery
        return False


def postmaster_status(data: Path) -> tuple[int, bool] | None:
    """Read postmaster.pid: (pid, whether it accepts connections); line 8 is what pg_ctl -w reads."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip() in ("ready", "standby")
    except (OSError, IndexError, ValueError):
        return None


def postmaster(data: Path) -> Process | None:
    """Return the postmaster that runs on a data directory, whoever started it."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, IndexError, ValueError):
        return None
    return process(pid) if os.fsencode(data) in command_line else None  # else: a stale file
