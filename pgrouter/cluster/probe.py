"""Probes: one task, one kept connection and one query per member. psycopg dials, its `pq` layer asks.

Each member is asked on its own, so that one that hangs delays nobody else. A kept connection that turns out dead is
replaced within the same probe: a failure means that a fresh connection did not answer either, or that the time was up.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from pgrouter.clock import monotonic
from pgrouter.cluster.word import Probe, Word
from pgrouter.lsn import end_of_record
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.clock import Clock
    from pgrouter.config.settings import Monitor

log = logging.getLogger("pgrouter.cluster")

# The timeline of a primary is the one in the name of the file it writes: pg_control_checkpoint() shows the old one
# until the end-of-recovery checkpoint is done. That of a replica is its receiver's; without one the control file gives
# the least it can be. Positions are bytes since 0/0. A receiver whose columns are hidden (neither superuser nor
# pg_monitor) counts as streaming when it exists. The primary tells how far it has inserted, not written: a commit with
# synchronous_commit = off has been acknowledged before it is written.
QUESTION = b"""
SELECT recovering,
  (SELECT system_identifier FROM pg_control_system()),
  CASE WHEN recovering
    THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
                  (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
                   FROM pg_control_checkpoint() c, pg_control_recovery() r))
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END,
  CASE WHEN recovering THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0',
  pg_last_wal_receive_lsn() - '0/0',
  (SELECT coalesce(status = 'streaming', true) FROM pg_stat_wal_receiver WHERE pid IS NOT NULL)
FROM pg_is_in_recovery() AS recovering
"""


LEAST_PAUSE_S = 0.01  # a thousand clients that suspect a member do not make a thousand questions
# strerror() of a host that is not there (any more); everything else is an answer of somebody
SILENCE = ("timed out", "timeout expired", "No route to host", "Network is unreachable", "Host is down")
RETRY_S = 0.05  # after a failure, so that two of them are no single hiccup


class ProbeError(Exception):
    """The server did not give a usable answer; the text says why, in one line."""


class Prober:
    """Asks one member again and again; `on_probe` gets what is known of it after each outcome, in the event loop."""

    def __init__(
        self,
        address: tuple[str, int],
        settings: Monitor,
        on_probe: Callable[[Probe], None],
        pace_s: Callable[[], float],
        clock: Clock = monotonic,
    ) -> None:
        self.address = address
        self._settings, self._on_probe, self._pace_s, self._clock = settings, on_probe, pace_s, clock
        self._probe = Probe()
        self._connection: psycopg.AsyncConnection | None = None
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask, at once."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"probe {self.address}")

    async def stop(self) -> None:
        """Stop asking and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def hurry(self) -> None:
        """Ask now; when a question is under way, ask another one right after it."""
        self._wanted.set()

    async def _run(self) -> None:
        try:
            while True:
                self._wanted.clear()
                self._probe = await self._outcome()
                self._on_probe(self._probe)
                await self._pause()
        finally:
            self._hang_up()

    async def _pause(self) -> None:
        """Wait for hurry(), for the pace or for a word that nobody asked for, but always a little.

        A server that shuts down says so, and the connection to one that dies breaks: no need to wait for the next turn.
        """
        loop = asyncio.get_running_loop()
        least_s = loop.time() + (RETRY_S if self._probe.failures else LEAST_PAUSE_S)
        timer = loop.call_later(self._pace_s(), self._wanted.set)
        fd = self._connection.pgconn.socket if self._connection is not None else -1
        if fd >= 0:
            loop.add_reader(fd, self._wanted.set)
        try:
            await self._wanted.wait()
        finally:
            timer.cancel()
            if fd >= 0:
                loop.remove_reader(fd)
        if loop.time() < least_s:
            await asyncio.sleep(least_s - loop.time())

    async def _outcome(self) -> Probe:
        asked_s = self._clock()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                row = await self._ask()
            return self._probe.answered(read_row(row, asked_s, self._clock()))
        except TimeoutError:
            error, silent = f"no answer within {self._settings.timeout_s:g} s", True
        except (psycopg.Error, ProbeError, OSError, ValueError) as caught:
            error = one_line(str(caught)) or type(caught).__name__
            silent = any(words in error for words in SILENCE)
        self._hang_up()
        return self._probe.failed(error, silent=silent)

    async def _ask(self) -> list[str | None]:
        if self._connection is not None:
            try:
                return await ask(self._connection.pgconn, QUESTION)
            except (psycopg.Error, ProbeError, OSError):
                self._hang_up()  # kept too long: restarted, or terminated by an administrator
        self._connection = await self._dial()
        return await ask(self._connection.pgconn, QUESTION)

    async def _dial(self) -> psycopg.AsyncConnection:
        settings = self._settings
        return await psycopg.AsyncConnection.connect(
            host=self.address[0],
            port=self.address[1],
            user=settings.user,
            password=settings.password or None,
            dbname=settings.database,
            application_name="pgrouter monitor",
            gssencmode="disable",
            connect_timeout=max(2, round(settings.timeout_s)),  # libpq's least; the probe's own time-out is exact
            tcp_user_timeout=round(settings.timeout_s * 1000),
            target_session_attrs="any",
            options="",
            autocommit=True,
        )

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()


async def ask(connection: pq.abc.PGconn, question: bytes) -> list[str | None]:
    """Send one query and give its only row, as text.

    Not AsyncConnection.execute(): when that is cancelled it first sends a CancelRequest and waits up to 5 s for a
    server that may be frozen. Here a cancelled question just ends, and the caller closes the connection.
    """
    connection.nonblocking = 1
    connection.send_query(question)
    row: list[str | None] | None = None
    while True:
        writing = connection.flush() != 0
        if not writing and not connection.is_busy():
            result = connection.get_result()
            if result is None:
                break
            row = _only_row(result)
            continue
        await _ready(connection.socket, writing=writing)
        connection.consume_input()
    if row is None:
        raise ProbeError("the server gave no answer")
    return row


async def _ready(fd: int, *, writing: bool) -> None:
    """Wait until the socket can be read, or also written when `writing`."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        if writing:
            loop.add_writer(fd, ready.set)
        await ready.wait()
    finally:
        loop.remove_reader(fd)
        if writing:
            loop.remove_writer(fd)


def _only_row(result: pq.abc.PGresult) -> list[str | None]:
    if result.status != pq.ExecStatus.TUPLES_OK or result.ntuples != 1:
        raise ProbeError(one_line(result.get_error_message()) or "the server gave no row")
    values = (result.get_value(0, column) for column in range(result.nfields))
    return [None if value is None else bytes(value).decode("utf-8", "replace") for value in values]


def read_row(row: list[str | None], asked_s: float, answered_s: float) -> Word:
    """Turn the answer to QUESTION into a word.

    Raises ProbeError when it has no sense: something that is not PostgreSQL answers.
    """
    try:
        recovering, system_id, timeline, lsn, received_lsn, streaming = row
        return Word(
            role={"t": Role.REPLICA, "f": Role.PRIMARY}[recovering or ""],
            system_id=system_id or "",
            timeline=int(timeline or 0),
            lsn=end_of_record(int(lsn or 0)),
            received_lsn=int(received_lsn or 0),
            streaming=recovering == "t" and streaming == "t",
            asked_s=asked_s,
            answered_s=answered_s,
        )
    except (KeyError, ValueError) as error:
        raise ProbeError(f"it gave an answer that makes no sense: {row!r}") from error


def one_line(text: str) -> str:
    """Give the parts of a libpq message in one line."""
    return " ".join(text.split())
