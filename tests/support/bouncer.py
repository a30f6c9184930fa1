"""The launcher under test: `pgrouter-bouncer` on an ini, never as root."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from pgrouter.demo.processes import Process, command, environment, make_directory, own, spawn_as_self, until, write_file
from pgrouter.demo.router import CODE

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "import sys; from pgrouter.bouncer.main import main; sys.exit(main())"


class Bouncer:
    """One launcher in a directory of its own, which its ini's relative names are relative to."""

    def __init__(self, directory: Path, ini: str, port: int, **environ: str) -> None:
        self.directory = make_directory(directory, 0o755)
        self.ini = directory / "pgbouncer.ini"
        self.output = directory / "output"
        self.port = port
        self._environ = environ
        self._process: Process | None = None
        self.write(ini)

    def write(self, ini: str) -> None:
        """Write the ini."""
        write_file(self.ini, ini)

    def start(self, *options: str, ready: bool = True) -> None:
        """Start it; with `ready`, wait until it accepts clients."""
        self.output.write_text("")
        own(self.output)
        argv = command([sys.executable, "-c", PROGRAM, *options, str(self.ini)])
        env = environment(self.directory, {"PYTHONPATH": str(CODE), **self._environ})
        self._process = spawn_as_self(argv, output=self.output, errors=self.output, env=env)
        if ready:
            until(lambda: "pgrouter ready" in self.output.read_text() or not self.alive, 30, f"see {self.output}")
            assert self.alive, self.output.read_text()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.alive

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.signal(number)

    def wait_gone(self, timeout_s: float = 10) -> None:
        """Wait for its end."""
        assert self._process is not None
        self._process.wait_gone(timeout_s)

    def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.alive:
            self.signal(signal.SIGQUIT)
            try:
                self.wait_gone()
            finally:
                self._process.kill()

    def logs(self, pattern: str, log: Path | None = None) -> bool:
        """Whether a line of the log matches."""
        return re.search(pattern, (log or self.output).read_text(), re.MULTILINE) is not None

    def connect(self, dbname: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        """Open a connection in autocommit mode; the caller closes it."""
        return psycopg.connect(**{
            "host": "127.0.0.1", "port": self.port, "dbname": dbname, "user": "postgres", "autocommit": True,
            "connect_timeout": 10, **more,
        })  # fmt: skip

    def ask(self, sql: str, dbname: str = "postgres", **more: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.connect(dbname, **more) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def admin(self, command: str, **more: Any) -> list[dict[str, Any]]:
        """Run a console command."""
        with self.connect("pgbouncer", **more) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            cursor.execute(command.encode(), prepare=False)
            return cursor.fetchall() if cursor.description else []
