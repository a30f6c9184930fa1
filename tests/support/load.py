"""Clients that read and write through a router while something happens to its servers, and count the outcomes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import psycopg

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from support.router import Router

TABLE = "drop table if exists written; create table written (writer int, number int)"
PAUSE_S = 0.003

# (writable, readable) of SHOW CLUSTER
WRITES, READS, NOTHING = (True, False), (False, True), (False, False)


def roles(router: Router) -> dict[str, tuple[bool, bool]]:
    """Return what each member is used for: WRITES, READS or NOTHING."""
    return {row["name"]: (row["writable"], row["readable"]) for row in router.admin("SHOW CLUSTER")}


def primary(router: Router) -> str | None:
    """Return the member that gets writes."""
    return next((row["name"] for row in router.admin("SHOW CLUSTER") if row["writable"]), None)


def wait_roles(router: Router, **wanted: tuple[bool, bool]) -> None:
    """Wait until the router uses these members as given."""
    try:
        until(lambda: wanted.items() <= roles(router).items(), 30, f"the router sees {wanted}")
    except TimeoutError as error:
        rows = router.admin("SHOW CLUSTER")
        seen = [f"{row['name']} {row['role']} on {row['timeline']}: {row['reason']}" for row in rows]
        raise TimeoutError(f"{error}; {'; '.join(seen)}") from None


class Load:
    """Writers and readers, one connection each; a context manager. The caller creates the table `written`.

    `errors` counts by (kind, SQLSTATE); `lost` counts connections that did not survive; `acknowledged` contains every
    acknowledged write; `longest_s` is the longest time between two successes of a client.
    """

    def __init__(self, router: Router, *, writers: int = 3, readers: int = 3, options: str = "") -> None:
        self.errors: Counter[tuple[str, str | None]] = Counter()
        self.texts: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.acknowledged: set[tuple[int, int]] = set()
        self.longest_s = {"write": 0.0, "read": 0.0}
        self.moments: list[float] = []  # when writes were acknowledged
        self._router = router
        self._options = f"'{options}'"  # of the connections
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=("write", i)) for i in range(writers)]
        self._threads += [threading.Thread(target=self._work, args=("read", i)) for i in range(readers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, kind: str, writer: int) -> None:
        connection = self._router.connect(options=self._options)
        number, last = 0, time.monotonic()
        while not self._stop.is_set():
            number += 1
            try:
                self._once(connection, kind, writer, number)
            except psycopg.Error as error:
                with self._lock:
                    self.errors[kind, error.sqlstate] += 1
                    self.texts[f"{kind}: {error}"] += 1
                if connection.closed:
                    with self._lock:
                        self.lost[kind] += 1
                    connection = self._router.connect(options=self._options)
            else:
                now = time.monotonic()
                with self._lock:
                    self.done[kind] += 1
                    self.longest_s[kind] = max(self.longest_s[kind], now - last)
                    if kind == "write":
                        self.moments.append(now)
                last = now
            time.sleep(PAUSE_S)
        connection.close()

    def _once(self, connection: psycopg.Connection[Any], kind: str, writer: int, number: int) -> None:
        if kind == "read":
            connection.execute("select count(*) from written").fetchone()
        else:
            connection.execute("insert into written values (%s, %s)", (writer, number))
            with self._lock:
                self.acknowledged.add((writer, number))

    def longest_pause(self, since_s: float) -> tuple[float, float]:
        """Return begin and end of the longest time in which no write was acknowledged."""
        with self._lock:
            moments = sorted(moment for moment in self.moments if moment > since_s)
        return max(pairwise(moments), key=lambda pair: pair[1] - pair[0])

    def wait_progress(self, count: int = 20, timeout_s: float = 40) -> None:
        """Wait until writers and readers have each had this many more successes."""
        with self._lock:
            wanted = {kind: self.done[kind] + count for kind in ("write", "read")}
        deadline = time.monotonic() + timeout_s
        while any(self.done[kind] < goal for kind, goal in wanted.items()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no progress: {self}")
            time.sleep(0.02)

    def missing(self, rows: list[tuple[Any, ...]]) -> set[tuple[int, int]]:
        """Return the acknowledged writes that are missing from the table."""
        return self.acknowledged - {(row[0], row[1]) for row in rows}

    def __repr__(self) -> str:
        return (
            f"done {dict(self.done)}, errors {dict(self.errors)}, connections lost {dict(self.lost)}, "
            f"longest {self.longest_s}, {self.texts.most_common(4)}"
        )
