"""Probes: one open connection and one query per member. psycopg connects, its `pq` layer runs the query.

Each member is probed independently, so that one that hangs does not delay the others. An open connection that turns out
dead is replaced within the same probe: a failure means that a fresh connection did not answer either, or that time was
up.

A probe is two callbacks: a timer's sends the query, the socket's receives the answer. Only connecting needs a task.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import psycopg

from pgrouter.clock import monotonic
from pgrouter.cluster.health import Probe, ServerReport
from pgrouter.cluster.names import look_up
from pgrouter.cluster.refusal import Refusal, plain, refusal
from pgrouter.libpq import login
from pgrouter.libpq.connection import NO_PROTECTION
from pgrouter.libpq.query import QueryError, exchange, one_line
from pgrouter.lsn import end_of_record
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pgrouter.clock import Clock
    from pgrouter.config.settings import MonitorSettings
    from pgrouter.libpq.connection import Protection

log = logging.getLogger("pgrouter.cluster")

# The timeline of a primary is the one in the name of the file it writes: pg_control_checkpoint() shows the old one
# until the end-of-recovery checkpoint is done. That of a replica is its receiver's; without one the control file shows
# the least it can be. Positions are bytes since 0/0. A receiver whose columns are hidden (neither superuser nor
# pg_monitor) counts as streaming if it exists. The primary reports its insert position, not its write position: a
# commit with synchronous_commit = off is acknowledged before it is written.
# The last three columns: a digest of the defaults of new sessions (rows for roles and databases, and the load time of
# postgresql.conf); whether the role may see the receiver's columns; when the server was started. Names are qualified
# as in catalog.sql.
QUERY = b"""
SELECT recovering,
  (SELECT system_identifier FROM pg_catalog.pg_control_system()),
  CASE WHEN recovering
    THEN coalesce((SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver),
                  (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
                   FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r))
    ELSE ('x' OPERATOR(pg_catalog.||)
      pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END,
  CASE WHEN recovering THEN pg_catalog.pg_last_wal_replay_lsn()
    ELSE pg_catalog.pg_current_wal_insert_lsn() END OPERATOR(pg_catalog.-) '0/0',
  pg_catalog.pg_last_wal_receive_lsn() OPERATOR(pg_catalog.-) '0/0',
  (SELECT coalesce(status OPERATOR(pg_catalog.=) 'streaming', true)
   FROM pg_catalog.pg_stat_wal_receiver WHERE pid IS NOT NULL),
  (SELECT pg_catalog.md5(pg_catalog.concat_ws(',', pg_catalog.pg_conf_load_time(), pg_catalog.string_agg(
     pg_catalog.concat_ws('.', setdatabase, setrole, setconfig), ',' ORDER BY setdatabase, setrole)))
   FROM pg_catalog.pg_db_role_setting),
  pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'),
  (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000000)::bigint
FROM pg_catalog.pg_is_in_recovery() AS recovering
"""

UNSEEN = "the state of WAL receivers, which takes pg_monitor"
LEAST_PAUSE_S = 0.01  # a thousand clients that suspect a member do not cause a thousand queries
# strerror() of a host that is not there (any more); everything else is an answer from something
SILENCE = ("timed out", "timeout expired", "No route to host", "Network is unreachable", "Host is down")
RETRY_S = 0.05  # after a failure, so that one hiccup does not count as two failures
EXPECTED = (psycopg.Error, QueryError, OSError, ValueError)  # what a server can cause; everything else is our own bug


class State(Enum):
    """What a prober does; its one timer ends the pause, or the time limit of the query."""

    STOPPED = 0
    PAUSING = 1  # -> ROUTER_ASKS over the open connection, -> DIALING without one
    DIALING = 2  # -> ROUTER_ASKS; -> PAUSING with a failure
    ROUTER_ASKS = 3  # -> PAUSING with a report or a failure; -> DIALING if the failed connection was not fresh


class Watcher(Protocol):
    """Who wants to know about one member; called in the event loop."""

    def on_probe(self, probe: Probe) -> None:
        """Called with what is known after each outcome."""

    def on_address(self, address: str) -> None:
        """Called with the address of each new connection."""

    def pace_s(self) -> float:
        """Return the pause before the next probe."""

    def vouch(self, refusal: Refusal, *, silent: bool) -> float:
        """Return when open connections last proved that the server has not been restarted, after a failure; or 0."""


class Prober:
    """Probes one member repeatedly, for a watcher."""

    query = QUERY

    def __init__(
        self,
        address: tuple[str, int],
        settings: MonitorSettings,
        watcher: Watcher,
        clock: Clock = monotonic,
        protection: Protection = NO_PROTECTION,
    ) -> None:
        self.address = address
        self._protection = protection
        self._settings, self._watcher, self._clock = settings, watcher, clock
        self._probe = Probe()
        self._state = State.STOPPED
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None
        self._least_s = 0.0  # the pause does not end before this, on the loop's clock
        self._hurried = False  # since the last query began
        self._asked_s = 0.0  # when the query began
        self._until_s = 0.0  # when its time limit ends, connecting included, on the loop's clock
        self._dialing: asyncio.Task[None] | None = None
        self._addresses: tuple[str, ...] = ()  # of the name, from the last lookup
        self._last_address = ""  # the one last connected to
        self._fresh = False  # the connection was made for this very query
        self._connection: psycopg.AsyncConnection | None = None
        self._fd = -1  # its socket, which stays registered with the loop as long as it is open
        self._writing = False  # part of the query waits for room in the socket
        self._exchange: Generator[bool, None, list[str | None]]

    def start(self) -> None:
        """Start probing, at once."""
        self._loop = asyncio.get_running_loop()
        self._state = State.PAUSING
        self._wake_at(self._loop.time(), self._begin)

    async def stop(self) -> None:
        """Stop probing and close the connection."""
        if self._dialing is not None and not self._dialing.done():
            self._dialing.cancel()
            await asyncio.wait([self._dialing])
        self._state = State.STOPPED
        self._cancel_timer()
        self._hang_up()

    def hurry(self) -> None:
        """Probe now, or as soon as the rate limit allows; if a query is under way, send another right after it."""
        self._hurried = True
        if self._state is State.PAUSING and self._timer is not None and self._timer.when() > self._least_s:
            self._wake_at(self._least_s, self._begin)

    @property
    def connected_to(self) -> str:
        """Return the address of the open connection; empty: there is none, or it is a Unix socket."""
        connection = self._connection
        return connection.pgconn.hostaddr.decode() if connection is not None else ""

    def redial(self) -> None:
        """Drop the open connection, unless an answer is awaited, and probe over a new one at once."""
        if self._state is State.PAUSING:
            self._hang_up()
            self.hurry()

    def forget(self) -> None:
        """Forget all earlier answers."""
        self._probe = Probe()

    def _wake_at(self, moment_s: float, then: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_at(moment_s, then)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._hurried = False
        self._asked_s, self._until_s = self._clock(), self._loop.time() + self._settings.timeout_s
        self._fresh = self._connection is None
        if self._fresh:
            self._dial()
        else:
            self._ask()

    def _dial(self) -> None:
        self._state = State.DIALING
        self._cancel_timer()  # the task has its own time limit
        self._dialing = self._loop.create_task(self._connect(), name=f"dial {self.address}")

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout_at(self._until_s):
                connection = await self._reach()
            fd = connection.pgconn.socket
        except Exception as error:  # noqa: BLE001 (whatever it is, the member will be asked again)
            self._fail(error)
        else:
            self._fresh, self._connection, self._fd = True, connection, fd
            self._last_address = self.connected_to
            self._watcher.on_address(self.connected_to)
            self._loop.add_reader(fd, self._readable)
            self._ask()

    async def _reach(self) -> psycopg.AsyncConnection:
        """Log in at the first address that answers, trying the last one used first; each gets its share of the time.

        A refusal is an answer, as in libpq.
        """
        time_s = self._until_s - self._loop.time()
        self._addresses = await look_up(*self.address, self._addresses, time_s / 2)
        addresses = sorted(self._addresses, key=lambda each: each != self._last_address)
        while True:
            now_s, address = self._loop.time(), addresses.pop(0)
            try:
                async with asyncio.timeout_at(now_s + (self._until_s - now_s) / (1 + len(addresses))):
                    return await connect(self.address, self._settings, address, self._protection)
            except (OSError, psycopg.Error) as error:  # TimeoutError is an OSError
                if not addresses or refusal(str(error)) is not Refusal.NONE:
                    raise

    def _ask(self) -> None:
        self._state = State.ROUTER_ASKS
        self._wake_at(self._until_s, self._time_is_up)
        self._exchange = exchange(self._opened().pgconn, self.query)
        self._go_on()

    def _opened(self) -> psycopg.AsyncConnection:
        assert self._connection is not None  # noqa: S101  (its states: it is asking, or its socket is registered)
        return self._connection

    def _readable(self) -> None:
        if self._state is State.ROUTER_ASKS:
            self._go_on()
        else:
            self._on_unsolicited()

    def _on_unsolicited(self) -> None:
        """Probe at once: a server that shuts down says so, and the connection to one that dies breaks."""
        try:
            self._opened().pgconn.consume_input()  # otherwise the socket stays readable
        except psycopg.Error:
            self._hang_up()
        self.hurry()

    def _go_on(self) -> None:
        self._wait_for_room(writing=False)  # first: a socket closed by libpq can be unregistered, but not modified
        try:
            self._wait_for_room(writing=next(self._exchange))
        except StopIteration as end:
            self._on_row(end.value)
        except Exception as error:  # noqa: BLE001 (the same)
            if self._fresh:
                self._fail(error)
            else:  # stale: the server was restarted, or an administrator terminated the connection
                self._hang_up()
                self._dial()

    def _wait_for_room(self, *, writing: bool) -> None:
        if writing and not self._writing:
            self._loop.add_writer(self._fd, self._go_on)
        elif self._writing and not writing:
            self._loop.remove_writer(self._fd)
        self._writing = writing

    def _on_row(self, row: list[str | None]) -> None:
        try:
            report = read_row(row, self._asked_s, self._clock())
        except QueryError as error:
            self._fail(error)
        else:
            self._conclude(self._probe.answered(report))

    def _time_is_up(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        self._hang_up()
        if isinstance(error, TimeoutError):
            text, silent, refused = f"no answer within {self._settings.timeout_s:g} s", True, Refusal.NONE
        else:
            text = one_line(plain(str(error))) or type(error).__name__
            refused = refusal(str(error)) if isinstance(error, psycopg.Error) else Refusal.NONE
            silent = refused is Refusal.NONE and any(words in text for words in SILENCE)
        if not isinstance(error, EXPECTED):
            log.error("probe of %s:%d: a bug", *self.address, exc_info=error)
        vouched_s = self._watcher.vouch(refused, silent=silent)
        lives = refused not in (Refusal.NONE, Refusal.TRANSITION)
        self._conclude(
            self._probe.failed(
                text,
                asked_s=self._asked_s,
                silent=silent and not vouched_s,
                refused=refused is not Refusal.NONE,
                stands=lives or vouched_s > 0,
                vouched_s=vouched_s,
            )
        )

    def _conclude(self, probe: Probe) -> None:
        """Report the outcome and pause: until hurry(), the interval or an unsolicited message, but at least briefly."""
        self._probe = probe
        try:
            self._watcher.on_probe(probe)
        except Exception:  # a consumer's bug must not blind the router
            log.exception("probe of %s:%d: a consumer failed", *self.address)
        now_s = self._loop.time()
        self._state = State.PAUSING
        self._least_s = now_s + (RETRY_S if probe.failures else LEAST_PAUSE_S)
        self._wake_at(
            self._least_s if self._hurried else max(self._least_s, now_s + self._watcher.pace_s()), self._begin
        )

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._wait_for_room(writing=False)
            self._loop.remove_reader(self._fd)
            connection.pgconn.finish()


async def connect(
    address: tuple[str, int], settings: MonitorSettings, hostaddr: str = "", protection: Protection = NO_PROTECTION
) -> psycopg.AsyncConnection:
    """Log in to a member, at this address of its name; the caller limits the time."""
    connection = await psycopg.AsyncConnection.connect(
        host=address[0],
        hostaddr=hostaddr or None,
        port=address[1],
        user=settings.user,
        password=settings.password or None,
        dbname=settings.database,
        application_name="pgrouter monitor",
        gssencmode="disable",
        connect_timeout=max(2, round(settings.timeout_s)),  # libpq's minimum; the probe's own timeout is exact
        tcp_user_timeout=round(settings.timeout_s * 1000),
        target_session_attrs="any",
        client_encoding="UTF8",
        options=login.OPTIONS,
        autocommit=True,
        **protection,
    )
    try:
        await login.settle(connection)
    except BaseException:
        connection.pgconn.finish()
        raise
    return connection


def read_row(row: list[str | None], asked_s: float, answered_s: float) -> ServerReport:
    """Convert the answer to QUERY into a report.

    Raises QueryError if it makes no sense: something other than PostgreSQL answers.
    """
    try:
        recovering, system_id, timeline, lsn, received_lsn, streaming, defaults, sees_all, started = row
        return ServerReport(
            role={"t": Role.REPLICA, "f": Role.PRIMARY}[recovering or ""],
            system_id=system_id or "",
            timeline=int(timeline or 0),
            lsn=end_of_record(int(lsn or 0)),
            received_lsn=int(received_lsn or 0),
            streaming=recovering == "t" and streaming == "t",
            defaults=defaults or "",
            unseen=UNSEEN if sees_all == "f" else "",
            started=started or "",
            asked_s=asked_s,
            answered_s=answered_s,
        )
    except (KeyError, ValueError) as error:
        raise QueryError(f"it gave an answer that makes no sense: {row!r}") from error
