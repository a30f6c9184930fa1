"""A primary and its standbys with plain streaming replication: no Patroni, no etcd, up in half a second."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import psycopg

from pgrouter.demo.binaries import find_postgres
from pgrouter.demo.postgres import Server, ServerOptions
from pgrouter.demo.processes import DemoError, until
from pgrouter.demo.template import template, within_reach
from pgrouter.demo.workdir import Startable, Workdir

if TYPE_CHECKING:
    from pathlib import Path


class StreamingCluster(Startable):
    """Servers pg0 (the first primary), pg1, ... A context manager: up inside, nothing left outside.

    After `promote` the caller has to keep track of the roles; `heal` restores the initial layout.
    """

    def __init__(
        self, members: int = 3, *, options: ServerOptions | None = None, ports: tuple[int, ...] | None = None
    ) -> None:
        binaries = within_reach(find_postgres())
        self.options = options or ServerOptions()
        self.binaries = binaries
        self._workdir = Workdir("streaming")
        ports = self._workdir.ports(ports or members)
        path = self._workdir.path
        self.servers = tuple(Server(f"pg{i}", binaries, path, port, self.options) for i, port in enumerate(ports))

    @property
    def primary(self) -> Server:
        """The first primary, pg0."""
        return self.servers[0]

    @property
    def standbys(self) -> tuple[Server, ...]:
        """All but the first primary."""
        return self.servers[1:]

    @property
    def workdir(self) -> Path:
        """Where data and logs are."""
        return self._workdir.path

    def start(self) -> None:
        """Create the data directories, start all servers and wait until every standby streams."""
        template(self.binaries, self.options.stored)
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(self._create, self.servers))
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait_ready()
        self.wait_streaming()

    def _create(self, server: Server) -> None:
        server.create(None if server is self.primary else self.primary.port)

    def stop(self) -> None:
        """End everything at once and remove the data."""
        self._workdir.remove()

    def wait_streaming(self, timeout_s: float = 30) -> None:
        """Wait until every standby streams from pg0."""
        until(self._all_stream, timeout_s, "every standby streams", step_s=0.02)

    def _all_stream(self) -> bool:
        counted = self.primary.sql("select count(*) from pg_stat_replication where state = 'streaming'")
        return bool(counted[0][0] == len(self.standbys))

    def wait_caught_up(self, timeout_s: float = 10) -> None:
        """Wait until every standby has replayed what pg0 has written so far."""
        # The end of a record that is flushed with its commit: pg_current_wal_lsn() may be in the middle of a record.
        lsn = self.primary.sql("select pg_logical_emit_message(true, 'pgrouter', 'caught up')")[0][0]
        for standby in self.standbys:
            until(partial(has_replayed, standby, lsn), timeout_s, f"{standby.name} replayed {lsn}")

    def heirs(self) -> list[Server]:
        """Return the standbys, the one with the most received WAL first: the only one that all others can follow."""
        received = "select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'"
        return sorted(self.standbys, key=lambda standby: standby.sql(received)[0][0], reverse=True)

    def follow(self, server: Server, primary: Server, *, rewind: bool = False) -> None:
        """Start a stopped server as a standby of another; `rewind` if it was a primary that diverged."""
        if rewind:
            server.rewind(primary)
        server.configure(primary.port)
        server.start()

    def heal(self) -> None:
        """Restore pg0 as the primary and all others streaming from it.

        Thaws and restarts what was only stopped; after a promotion the cluster is recreated, empty, in half a second.
        """
        for server in self.servers:
            server.thaw()
        if not self._mend():
            for server in self.servers:
                server.kill()
            self.start()

    def _mend(self) -> bool:
        try:
            for server in self.servers:
                if not server.alive:
                    server.start()
                if server.in_recovery == (server is self.primary):
                    return False
            self.wait_streaming(10)
        except (DemoError, TimeoutError, psycopg.Error):
            return False
        return True


def has_replayed(standby: Server, lsn: str) -> bool:
    """Whether a standby has replayed the WAL up to a position."""
    return bool(standby.sql(f"select pg_last_wal_replay_lsn() >= '{lsn}'")[0][0])
