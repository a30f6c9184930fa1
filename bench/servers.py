"""The PostgreSQL servers behind all subjects: a primary and two standbys with pgbench's tables."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from bench.cases import SCALE
from bench.configs import PROVEN, SERVER_CONNECTIONS, TRUSTED
from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.demo.workdir import Startable, Workdir

if TYPE_CHECKING:
    from pathlib import Path

# Nothing that comes and goes by itself while somebody is measured: no checkpoints, no autovacuum.
PARAMETERS = {
    "shared_buffers": "256MB", "max_wal_size": "8GB", "checkpoint_timeout": "1d", "autovacuum": "off",
    "synchronous_commit": "off",
}  # fmt: skip


class Servers(Startable):
    """A context manager: servers are up inside, and nothing that was started in `workdir` is left outside."""

    def __init__(self, under: tuple[str, ...] = ()) -> None:
        self.under = under  # put in front of each subject's command: a profiler
        hba = (f"host all {TRUSTED} 127.0.0.1/32 trust",)
        options = ServerOptions(max_connections=SERVER_CONNECTIONS, hba=hba, parameters=PARAMETERS)
        self._cluster = StreamingCluster(options=options)
        self._workdir = Workdir("bench")
        self.ports = tuple(server.port for server in self._cluster.servers)
        self.pgbench = self._cluster.binaries.directory / "pgbench"
        self.version = self._cluster.binaries.version
        self.userlist = ""

    @property
    def patience_s(self) -> float:
        """How long a subject may take to start."""
        return 300 if self.under else 30

    @property
    def workdir(self) -> Path:
        """Where subjects live; what is started with it in its environment ends with it."""
        return self._workdir.path

    def start(self) -> None:
        """Start the servers and fill the tables."""
        self._cluster.start()
        primary = self._cluster.primary
        primary.sql(f"create role {TRUSTED} login")
        words = ["-h", "127.0.0.1", "-p", str(primary.port), "-U", PROVEN, "-iqs", str(SCALE), "postgres"]
        env = os.environ | {"PGPASSWORD": PROVEN}
        subprocess.run([self.pgbench, *words], env=env, capture_output=True, check=True)
        primary.sql(f"grant all on all tables in schema public to {TRUSTED}")
        primary.sql("checkpoint")
        # Who knows what is in pg_authid need not hash a password at each login
        (secret,) = primary.sql(f"select rolpassword from pg_authid where rolname = '{PROVEN}'")[0]  # noqa: S608  (a constant)
        self.userlist = f'"{PROVEN}" "{secret}"\n"{TRUSTED}" ""\n'
        self._cluster.wait_caught_up(60)

    def stop(self) -> None:
        """End everything."""
        self._workdir.remove()
        self._cluster.stop()

    def reserve(self, count: int) -> tuple[int, ...]:
        """Give ports that nobody else takes."""
        return self._workdir.ports(count)
