"""Clients that write and read through one address, as an application does, and write down all they hear.

    python -m bench.failover.clients --name haproxy --ports 6432 --clients 8 --log FILE

A client keeps its connection, opens a new one when it is lost, and tries again a moment after an error, with the next
number: what became of a write that ended in an error nobody knows, so it is not repeated. With --observer each port is
a server's own, and one client asks it all the time whether it takes a write.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import threading
import time
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import psycopg

from bench.configs import TRUSTED
from bench.failover.figures import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = """
create table failover_rows (
    subject text, client int, number int, member int default inet_server_port(), primary key (subject, client, number))
"""
WRITE = "insert into failover_rows values (%s, %s, %s) returning member"
READ = "select coalesce(max(number), 0) from failover_rows where subject = %s and client = %s"
PAUSE_S, RETRY_S, CONNECT_TIMEOUT_S = 0.1, 0.2, 10
OBSERVER_PAUSE_S, OBSERVER_TIMEOUT_S = 0.02, 2
WORDS = {  # of a connection that is not made, in libpq's messages
    "Connection refused": "refused", "server closed the connection": "closed", "timeout expired": "timeout",
    "Connection reset": "closed", "FATAL": "FATAL", "ERROR": "ERROR",
}  # fmt: skip

Connection = psycopg.Connection[Any]


class Journal:
    """A file with a line for each thing that a client heard."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._told: set[tuple[str, str]] = set()

    def note(self, outcome: Outcome) -> None:
        """Write it down at once: the program may be killed."""
        line = json.dumps(astuple(outcome)) + "\n"
        with self._lock:
            self._file.write(line)

    def explain(self, kind: str, error: psycopg.Error) -> None:
        """Put the words of an error on record, once: for whoever wonders about it."""
        told = kind, str(error)
        if told not in self._told:
            self._told.add(told)
            print(f"{time.monotonic():.3f}", kind, name_of(error), str(error).replace("\n", " "), flush=True)


class Client:
    """One connection after the other, forever."""

    def __init__(self, name: str, client: int, where: str, journal: Journal, *, observes: bool) -> None:
        self._name = name
        self._client = client
        self._where = where
        self._journal = journal
        self._observes = observes
        self._pause_s = OBSERVER_PAUSE_S if observes else PAUSE_S
        self._retry_s = OBSERVER_PAUSE_S if observes else RETRY_S
        self._number = 0
        self._acknowledged = 0  # the last number that the server said was written

    def run(self) -> None:
        """Work until the program ends."""
        time.sleep(random.uniform(0, self._pause_s))  # noqa: S311  (not all at once)
        connection: Connection | None = None
        while True:
            if connection is None or connection.closed:
                connection = self._attempt("connect", None, self._connect)
            done = connection is not None and self._work(connection)
            pause_s = self._pause_s if done else self._retry_s
            if done or connection is None or not connection.closed:
                time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311

    def _work(self, connection: Connection) -> bool:
        self._number += 1
        written = self._attempt("write", connection, lambda: self._write(connection))
        if written is not None:
            self._acknowledged = self._number
        if self._observes or connection.closed:
            return written is not None
        return self._attempt("read", connection, lambda: self._read(connection)) is not None and written is not None

    def _connect(self) -> Connection:
        # No prepared statements: PgBouncer has none in transaction mode before 1.21
        return psycopg.connect(self._where, autocommit=True, prepare_threshold=None)

    def _write(self, connection: Connection) -> int:
        values = self._name, self._client, self._number
        if self._observes:
            (member,) = connection.execute(WRITE, values).fetchone() or (0,)
            return int(member)
        with connection.transaction():
            (member,) = connection.execute(WRITE, values).fetchone() or (0,)
        return int(member)

    def _read(self, connection: Connection) -> int:
        (found,) = connection.execute(READ, (self._name, self._client)).fetchone() or (0,)
        return int(found)

    def _attempt(self, kind: str, connection: Connection | None, act: Callable[[], Any]) -> Any:
        begin_s, result, error = time.monotonic(), None, ""
        try:
            result = act()
        except psycopg.Error as fault:
            error = name_of(fault)
            self._journal.explain(kind, fault)
        lost = connection is not None and connection.closed
        value = result if isinstance(result, int) else 0
        stale = kind == "read" and not error and value < self._acknowledged
        member = value if kind == "write" else 0
        self._journal.note(
            Outcome(begin_s, time.monotonic(), self._client, kind, self._number, error, member, lost, stale)
        )
        return result


def name_of(error: psycopg.Error) -> str:
    """Give the SQLSTATE, or a word for an error without one: a connection that was lost or never made."""
    if error.sqlstate:
        return error.sqlstate
    text = str(error)
    return next((word for words, word in WORDS.items() if words in text), "closed")


def main() -> None:
    """Let clients work until SIGTERM or SIGKILL."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="that rows are written under")
    parser.add_argument("--ports", type=int, nargs="+", required=True)
    parser.add_argument("--database", default="postgres")
    parser.add_argument("--clients", type=int, default=1, help="of each port")
    parser.add_argument("--first", type=int, default=0, help="number of the first client")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--observer", action="store_true", help="write only, all the time")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    timeout_s = OBSERVER_TIMEOUT_S if args.observer else CONNECT_TIMEOUT_S
    with args.log.open("a", buffering=1) as file:
        journal = Journal(file)
        for client in range(args.clients * len(args.ports)):
            port = args.ports[client % len(args.ports)]
            number = args.first + client
            where = f"host=127.0.0.1 port={port} user={TRUSTED} dbname={args.database} connect_timeout={timeout_s}"
            made = Client(args.name, number, where, journal, observes=args.observer)
            threading.Thread(target=made.run, daemon=True).start()
        signal.pause()


if __name__ == "__main__":
    main()
