"""A recorded history of writes and reads through a router, and what must be true of it whatever happened meanwhile.

Many clients each write rows with their own numbers and read their newest row back. Every deed is recorded with its
outcome for the client, and `findings` compares that with what each client saw and with the rows that exist in the end.
It is a pure function: a made-up history can check that it finds what it is meant to find.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from support.router import Router

TABLE = """drop table if exists history; create table history (client int, number int);
           create index on history (client, number)"""

# done: reported as done to the client. unknown: reported as unknown. refused: reported as not done.
Outcome = Literal["done", "unknown", "refused"]
NEVER_SENT = {"57P03", "57014", "53300", "25P02"}  # what the router itself reports before anything is sent


class Deed(NamedTuple):
    """One write or read of a client, in the order in which that client did them."""

    client: int
    kind: Literal["write", "read", "read of the primary"]
    number: int  # written; for a read: the newest of its own that the client saw
    outcome: Outcome = "done"


@dataclass
class Findings:
    """What is wrong with a history; the first three are always wrong, `stale` is allowed if replicas may lag."""

    lost: set[tuple[int, int]] = field(default_factory=set)  # acknowledged, but missing
    doubled: set[tuple[int, int]] = field(default_factory=set)  # present more than once
    undone: set[tuple[int, int]] = field(default_factory=set)  # refused, but present
    phantoms: set[tuple[int, int]] = field(default_factory=set)  # seen by a read, but missing
    missed: list[tuple[Deed, int]] = field(default_factory=list)  # a read on the primary that lacks what was written
    stale: list[tuple[Deed, int]] = field(default_factory=list)  # the same on any server

    def wrong(self, *, stale_reads: bool) -> bool:
        """Whether anything is wrong; `stale_reads`: reads may be behind unless they ask for the primary."""
        hard = (self.lost, self.doubled, self.undone, self.phantoms, self.missed)
        return any(hard) or (bool(self.stale) and not stale_reads)


def findings(deeds: Iterable[Deed], rows: Sequence[tuple[int, int]]) -> Findings:
    """Compare what clients were told and saw with the rows (client, number) that exist in the end."""
    found = Findings()
    there = Counter(rows)
    newest: dict[int, int] = {}  # newest acknowledged number of each client
    for deed in deeds:
        mark = (deed.client, deed.number)
        if deed.kind == "write":
            if deed.outcome == "done":
                newest[deed.client] = deed.number
                if mark not in there:
                    found.lost.add(mark)
            elif deed.outcome == "refused" and mark in there:
                found.undone.add(mark)
        elif deed.outcome == "done":
            if deed.number and mark not in there:
                found.phantoms.add(mark)
            expected = newest.get(deed.client, 0)
            if deed.number < expected:
                (found.stale if deed.kind == "read" else found.missed).append((deed, expected))
    found.doubled = {mark for mark, count in there.items() if count > 1}
    return found


class History:
    """Clients at work through a router, each in its own way; a context manager. The table `history` must exist."""

    def __init__(
        self, router: Router, clients: int = 16, options: str = "", *, first: int = 0, patience_s: float = 0.0
    ) -> None:
        """`first` is the number of the first client; `patience_s` is how long the router may be unreachable."""
        self.deeds: list[Deed] = []
        self.errors: Counter[tuple[str, str | None]] = Counter()
        self.texts: Counter[str] = Counter()
        self.closed = 0  # connections that did not survive
        self.counts: Counter[str] = Counter()
        self._dsn = router.dsn(connect_timeout=60, options=f"'{options}'")
        self.clients = range(first, first + clients)
        self._patience_s = patience_s
        self._stop = threading.Event()
        self._bugs: list[BaseException] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._bugs:
            raise self._bugs[0]

    def wait_progress(self, writes: int, timeout_s: float = 60) -> None:
        """Wait until this many more writes have been acknowledged."""
        goal, deadline = self.counts["write"] + writes, time.monotonic() + timeout_s
        while self.counts["write"] < goal:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise TimeoutError(f"no progress: {self}")
            time.sleep(0.02)

    async def _all(self) -> None:
        results = await asyncio.gather(*(self._work(number) for number in self.clients), return_exceptions=True)
        self._bugs = [result for result in results if isinstance(result, BaseException)]

    async def _work(self, client: int) -> None:
        dice = random.Random(client)  # noqa: S311
        connection = await self._connect()
        number = 0
        while not self._stop.is_set():
            number += 1
            write = (self._autocommit, self._block, self._pipeline)[number % 3]
            outcome = await self._tried("write", write(connection, client, number))
            self.deeds.append(Deed(client, "write", number, outcome))
            for kind in ("read", "read of the primary") if outcome == "done" else ():
                seen = await self._read(connection, client, kind)
                if seen is not None:
                    self.deeds.append(Deed(client, kind, seen))
            if connection.closed:
                self.closed += 1
            if connection.closed or connection.pgconn.pipeline_status:
                await connection.close()
                connection = await self._connect()
            await asyncio.sleep(dice.random() * 0.02)
        await connection.close()

    async def _connect(self) -> psycopg.AsyncConnection:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def _tried(self, kind: str, work: object) -> Outcome:
        try:
            outcome: Outcome = await work  # type: ignore[misc]
        except psycopg.Error as error:
            self._note(kind, error)
            return fate(error)
        self.counts[kind] += outcome == "done"
        return outcome

    def _note(self, kind: str, error: psycopg.Error) -> None:
        self.errors[kind, sqlstate(error)] += 1
        self.texts[f"{kind}: {error.sqlstate} {error}"[:300]] += 1

    async def _autocommit(self, connection: psycopg.AsyncConnection, client: int, number: int) -> Outcome:
        await connection.execute("insert into history values (%s, %s)", (client, number))
        return "done"

    async def _block(self, connection: psycopg.AsyncConnection, client: int, number: int) -> Outcome:
        try:
            await connection.execute("begin")
            await connection.execute("insert into history values (%s, %s)", (client, number))
        except psycopg.Error as error:
            self._note("write", error)
            if not connection.closed:
                await connection.execute("rollback")
            return "refused"  # no COMMIT was ever sent
        try:
            await connection.execute("commit", prepare=False)  # or an error may be about its Parse, which ends nothing
        except psycopg.Error as error:
            self._note("commit", error)
            if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                raise AssertionError("a COMMIT that fails must leave the session idle") from error
            return fate(error)
        return "done"

    async def _pipeline(self, connection: psycopg.AsyncConnection, client: int, number: int) -> Outcome:
        async with connection.pipeline():
            # psycopg considers a statement prepared although its Parse in a pipeline has failed or was skipped, unless
            # it is set to prepare it at first use
            await connection.execute("select 1", prepare=False)
            insert = "insert into history (client, number) values (%s, %s)"
            await connection.execute(insert, (client, number), prepare=True)
        return "done"

    async def _read(self, connection: psycopg.AsyncConnection, client: int, kind: str) -> int | None:
        hint = "/*pgrouter: primary*/ " if kind == "read of the primary" else ""
        try:
            cursor = await connection.execute(
                f"{hint}select coalesce(max(number), 0) from history where client = %s".encode(),  # noqa: S608
                (client,),
            )
            row = await cursor.fetchone()
        except psycopg.Error as error:
            self._note(kind, error)
            return None
        assert row is not None
        self.counts[kind] += 1
        return int(row[0])

    def __repr__(self) -> str:
        told = f"{dict(self.counts)}, errors {dict(self.errors)}, closed {self.closed}"
        return f"{told}, {self.texts.most_common(5)}"


def sqlstate(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of the first error.

    At the end of a pipeline psycopg raises others on top of it, and stays in pipeline mode if the Sync caused the
    error.
    """
    while error is not None and getattr(error, "sqlstate", None) is None:
        error = error.__context__
    return getattr(error, "sqlstate", None)


def fate(error: psycopg.Error) -> Outcome:
    """Return what the client may conclude from an error about what it has sent."""
    lost = "transaction was lost" in (error.diag.message_detail or "")
    unknown = "unknown" in (error.diag.message_detail or "")
    return "refused" if sqlstate(error) in NEVER_SENT or (lost and not unknown) else "unknown"
