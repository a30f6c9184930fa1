"""The demo's clients: a writer of numbered rows and some readers, and what they saw.

Clients behave like applications: they keep a connection, and open a new one only when the old one is broken. A write
counts as acknowledged when the server has confirmed it; the fate of one that ended in an error is unknown, and it is
never repeated. Reads look a row up by its key, which PostgreSQL counts per server (idx_scan): so it is known who
served.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "demo_rows"
OLD_ROWS = 5_000  # enough for the planner to use the index
SETUP = f"""
create table {TABLE} (id bigint primary key, note text not null, written_at timestamptz not null default now());
insert into {TABLE} (id, note) select n, 'old ' || n from generate_series(1, {OLD_ROWS}) n;
"""  # noqa: S608  (constants)
ANALYZE = f"vacuum analyze {TABLE}"  # not allowed in a transaction, so run separately
WRITE = f"insert into {TABLE} (id, note) values (%s, %s)"  # noqa: S608  (a constant)
READ = f"select id, note from {TABLE} where id = %s"  # noqa: S608

WRITE_EVERY_S, READ_EVERY_S = 0.01, 0.004
RECONNECT_AFTER_S = 0.2
LOGIN_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """An error that a client saw."""

    at_s: float  # time.monotonic()
    client: str
    text: str


@dataclass(frozen=True, slots=True)
class Totals:
    """What the clients have done so far."""

    reads: int
    writes: int
    faults: int
    longest_write_pause_s: float


class Workload:
    """One writer and some readers in separate threads, all through one address."""

    def __init__(self, dsn: str, readers: int = 3) -> None:
        self._dsn = dsn
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=("writer", self._write), daemon=True)]
        for number in range(readers):
            name = f"reader {number + 1}"
            self._threads.append(threading.Thread(target=self._work, args=(name, self._read), daemon=True))
        self._reads: Counter[str] = Counter()
        self._next_id = OLD_ROWS
        self._acknowledged: list[int] = []
        self._faults: list[Fault] = []
        self._pauses: list[tuple[float, float]] = []  # (end, length) of the times without an acknowledged write
        self._last_write_s = time.monotonic()

    def start(self) -> None:
        """Start the clients."""
        self._last_write_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 15) -> bool:
        """Let every client finish its statement; return False if one of them still hangs after the timeout."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def totals(self) -> Totals:
        """Return the counts so far."""
        writes = len(self._acknowledged)
        return Totals(sum(self._reads.values()), writes, len(self._faults), self.longest_write_pause_s(0.0))

    def acknowledged(self) -> set[int]:
        """Return the ids of all acknowledged rows."""
        return set(self._acknowledged)

    def faults_since(self, since_s: float) -> list[Fault]:
        """Return the errors that clients have seen since a time."""
        return [fault for fault in list(self._faults) if fault.at_s >= since_s]

    def longest_write_pause_s(self, since_s: float) -> float:
        """Return the longest time without an acknowledged write that ended after a given time, or still lasts."""
        lasting = 0.0 if self._stop.is_set() else time.monotonic() - self._last_write_s
        return max([length for end, length in list(self._pauses) if end >= since_s] + [lasting])

    def written_since(self, since_s: float) -> bool:
        """Whether a write was acknowledged after a given time."""
        return self._last_write_s > since_s

    def _work(self, name: str, step: Callable[[psycopg.Connection[Any], str], None]) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    while not self._stop.is_set() and not connection.broken:
                        self._attempt(connection, name, step)
            except psycopg.Error as error:  # at login
                self._note(name, error)
            self._stop.wait(RECONNECT_AFTER_S)

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._dsn, autocommit=True, connect_timeout=LOGIN_TIMEOUT_S)

    def _attempt(
        self, connection: psycopg.Connection[Any], name: str, step: Callable[[psycopg.Connection[Any], str], None]
    ) -> None:
        try:
            step(connection, name)
        except psycopg.Error as error:
            self._note(name, error)
            self._stop.wait(RECONNECT_AFTER_S)

    def _write(self, connection: psycopg.Connection[Any], _name: str) -> None:
        self._next_id += 1
        connection.execute(WRITE, (self._next_id, f"new {self._next_id}"))
        now = time.monotonic()
        self._acknowledged.append(self._next_id)
        self._pauses.append((now, now - self._last_write_s))
        self._last_write_s = now
        self._stop.wait(WRITE_EVERY_S)

    def _read(self, connection: psycopg.Connection[Any], name: str) -> None:
        wanted = random.randint(1, OLD_ROWS)  # noqa: S311  (no secret)
        row = connection.execute(READ, (wanted,)).fetchone()
        if row != (wanted, f"old {wanted}"):
            self._faults.append(Fault(time.monotonic(), name, f"row {wanted} came as {row}"))
        self._reads[name] += 1
        self._stop.wait(READ_EVERY_S)

    def _note(self, client: str, error: psycopg.Error) -> None:
        with contextlib.suppress(IndexError):
            first_line = str(error).splitlines()[0]
            self._faults.append(Fault(time.monotonic(), client, f"{error.sqlstate or ''} {first_line}".strip()))
