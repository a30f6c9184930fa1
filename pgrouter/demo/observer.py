"""What the members themselves report, queried directly and not through the router: rows, reads served, rows written.

The numbers come from each server's own statistics: idx_scan of the demo's table is the number of reads that a server
answered (the observer's own queries do not use the index), n_tup_ins the number of rows that clients wrote on it.
Servers publish them about once a second. A server that crashed restarts its statistics from zero; the tally continues
from where it was, without what had not been published.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg

from pgrouter.demo.workload import OLD_ROWS, TABLE

if TYPE_CHECKING:
    from pgrouter.demo.patroni import Member, MemberStatus, PatroniCluster

EVERY_S = 0.5
ASK = f"""
select pg_is_in_recovery(), (select count(*) from {TABLE}), coalesce(max(idx_scan), 0), coalesce(max(n_tup_ins), 0)
from pg_stat_user_tables where relname = '{TABLE}'
"""  # noqa: S608  (constants)
OWN_SCANS = "-c enable_indexscan=off -c enable_indexonlyscan=off -c enable_bitmapscan=off"


@dataclass(frozen=True, slots=True)
class Sight:
    """One member at one moment."""

    name: str
    port: int
    reachable: bool = False
    in_recovery: bool = True
    rows: int = 0
    reads: int = 0  # answered by this server since the workload began
    writes: int = 0  # rows that clients wrote on this server
    status: MemberStatus | None = None  # as reported by Patroni


class Tally:
    """A counter that continues when the server's own restarts from zero."""

    def __init__(self) -> None:
        self.total = 0
        self._seen = 0

    def take(self, now: int) -> int:
        """Add what the server has counted since the last call."""
        self.total += now - self._seen if now >= self._seen else now
        self._seen = now
        return self.total


class Observer:
    """Queries every member twice a second, in a thread of its own."""

    def __init__(self, cluster: PatroniCluster, dbname: str) -> None:
        self._cluster = cluster
        self._dbname = dbname
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._connections: dict[str, psycopg.Connection[Any]] = {}
        self._tallies = {member.name: (Tally(), Tally()) for member in cluster.members}
        self.sights = tuple(Sight(member.name, member.port) for member in cluster.members)

    def start(self) -> None:
        """Start observing."""
        for sight in map(self._look, self._cluster.members):  # earlier counts are not from the clients
            for tally in self._tallies[sight.name]:
                tally.total = 0
        self._look_at_all()
        self._thread.start()

    def stop(self) -> None:
        """Stop observing."""
        self._stop.set()
        self._thread.join(10)
        for connection in self._connections.values():
            connection.close()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._look_at_all()

    def _look_at_all(self) -> None:
        statuses = {status.name: status for status in self._cluster.status()}
        sights = map(self._look, self._cluster.members)
        self.sights = tuple(replace(sight, status=statuses.get(sight.name)) for sight in sights)

    def _look(self, member: Member) -> Sight:
        reads, writes = self._tallies[member.name]
        before = Sight(member.name, member.port, reads=reads.total, writes=writes.total)
        try:
            connection = self._connections.get(member.name)
            if connection is None or connection.broken:
                connection = self._connections[member.name] = connect(member, self._dbname)
            row = connection.execute(ASK).fetchone()
        except psycopg.Error:
            with contextlib.suppress(KeyError):
                self._connections.pop(member.name).close()
            return before
        if row is None:
            return before
        in_recovery, rows, scans, inserts = row
        return replace(
            before, reachable=True, in_recovery=in_recovery, rows=rows, reads=reads.take(scans),
            writes=writes.take(inserts),
        )  # fmt: skip


def connect(member: Member, dbname: str) -> psycopg.Connection[Any]:
    """Open a connection to one member that leaves its count of index scans alone."""
    return psycopg.connect(member.dsn(dbname), autocommit=True, connect_timeout=2, options=OWN_SCANS)


def missing_rows(member: Member, dbname: str, acknowledged: set[int]) -> tuple[set[int], int]:
    """Compare one member with what was acknowledged: (acknowledged ids it lacks, number of new rows it has)."""
    with connect(member, dbname) as connection:
        rows = connection.execute(f"select id from {TABLE} where id > {OLD_ROWS}").fetchall()  # noqa: S608
    ids = {row[0] for row in rows}
    return acknowledged - ids, len(ids)
