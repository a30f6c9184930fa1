"""A primary and a standby, and what one statement does when it is run on one of them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PGconn

from pgrouter.demo.postgres import Server, ServerOptions
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.pq.abc import PGresult

OPTIONS = ServerOptions(
    auth="trust",
    parameters={
        "autovacuum": "off",  # nobody but the oracle may use up transaction ids
        "wal_level": "logical",  # so that logical slots fail only where they must
        "max_prepared_transactions": "10",
        "max_standby_streaming_delay": "-1",  # a judged statement is never cancelled by replay: nothing runs beside it
        "timezone": "UTC",
    },
)

# What a session can leave behind and a standby would not know. Names are qualified: the corpus shadows built-ins.
SESSION_STATE = b"""
select 'setting', name, setting from pg_catalog.pg_settings where source = 'session'
union all select 'advisory lock', objid::pg_catalog.text, mode
  from pg_catalog.pg_locks where pid = pg_catalog.pg_backend_pid() and locktype = 'advisory'
union all select 'prepared statement', name, '' from pg_catalog.pg_prepared_statements
union all select 'cursor', name, '' from pg_catalog.pg_cursors
union all select 'channel', channel, '' from pg_catalog.pg_listening_channels() as channel
union all select 'temporary schema', '', '' where pg_catalog.pg_my_temp_schema() <> 0
"""
NEXT_XID = b"select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())"

# A commit flushes all WAL. What is flushed without one may end in the middle of a record, which cannot be replayed.
FLUSH = b"select pg_catalog.pg_logical_emit_message(true, 'oracle', '')"

# Outside a transaction block the statement must run, or there is no transaction block to run it in.
NEEDS_TO_BE_ALONE = {"25001"}


@dataclass(frozen=True, slots=True)
class Observation:
    """What one run of a statement showed."""

    sqlstate: str = ""  # of the first error; "" when it succeeded
    message: str = ""
    answer: str = ""  # a digest of all rows, in no order
    sample: str = ""  # the first rows, for people
    changes: tuple[str, ...] = ()  # what it changed, in the database or in the session


class Session:
    """One connection that speaks the simple query protocol and blocks; a context manager."""

    def __init__(self, conninfo: str) -> None:
        self.connection = PGconn.connect(f"{conninfo} client_encoding=utf8".encode())
        if self.connection.status != ConnStatus.OK:
            message = self.connection.error_message.decode("utf-8", "replace")
            self.connection.finish()
            raise ConnectionError(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lost(self) -> bool:
        """Whether the server has ended it."""
        return bool(self.connection.status == ConnStatus.BAD)

    def close(self) -> None:
        """End the connection."""
        self.connection.finish()

    def run(self, sql: str | bytes, copied: bytes | None = None) -> Observation:
        """Send one string and gather all its results; `copied` answers a COPY FROM STDIN, else no rows do."""
        self.connection.send_query(sql.encode("utf-8", "replace") if isinstance(sql, str) else sql)
        rows: list[bytes] = []
        failed: Observation | None = None
        while (result := self.connection.get_result()) is not None:
            if result.status == ExecStatus.COPY_OUT:
                rows.extend(self._copied_out())
            elif result.status == ExecStatus.COPY_IN:
                self._copy_in(copied)
            elif result.status in (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE):
                failed = failed or _failure(result)
                if self.connection.status == ConnStatus.BAD:
                    break
            else:
                rows.extend(_rows(result))
        return failed or Observation(answer=_digest(rows), sample=_sample(rows))

    def values(self, sql: bytes) -> list[tuple[str, ...]]:
        """Give the rows of a query that cannot fail but with the session."""
        result = self.connection.exec_(sql)
        if result.status != ExecStatus.TUPLES_OK:
            raise ConnectionError(result.error_message.decode("utf-8", "replace"))
        cells = ((result.get_value(row, column) for column in range(result.nfields)) for row in range(result.ntuples))
        return [tuple((cell or b"").decode("utf-8", "replace") for cell in row) for row in cells]

    def row(self, sql: str) -> dict[str, str]:
        """Give the first row of a query by its columns' names; nothing if it fails or has none."""
        result = self.connection.exec_(sql.encode())
        if result.status != ExecStatus.TUPLES_OK or not result.ntuples:
            return {}
        names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
        return {name: (result.get_value(0, column) or b"").decode() for column, name in enumerate(names)}

    def _copied_out(self) -> Iterator[bytes]:
        while True:
            length, data = self.connection.get_copy_data(0)
            if length < 0:
                return
            yield bytes(data)

    def _copy_in(self, copied: bytes | None) -> None:
        if copied:
            self.connection.put_copy_data(copied)
        self.connection.put_copy_end()


class Pair:
    """A primary and one hot standby; a context manager. The superuser is postgres, everybody is trusted."""

    def __init__(self, statement_timeout_ms: int = 5000, lock_timeout_ms: int = 300) -> None:
        self.cluster = StreamingCluster(2, options=OPTIONS)
        limits = f"-c statement_timeout={statement_timeout_ms} -c lock_timeout={lock_timeout_ms}"
        self._limits = f"options='{limits}'"
        self._stack = contextlib.ExitStack()
        self._kept: dict[int, tuple[tuple[int, str, str], Session]] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self.cluster)
        self._wal = self._stack.enter_context(Session(self.primary.dsn()))
        self._replay = self._stack.enter_context(Session(self.standby.dsn()))
        return self

    def __exit__(self, *_: object) -> None:
        self.forget_sessions()
        self._stack.close()

    @property
    def primary(self) -> Server:
        """The primary."""
        return self.cluster.primary

    @property
    def standby(self) -> Server:
        """Its only standby."""
        return self.cluster.standbys[0]

    def session(self, server: Server, database: str, user: str = "postgres") -> Session:
        """Open a session of the corpus: with limits."""
        return Session(f"{server.dsn(database, user)} {self._limits}")

    @contextlib.contextmanager
    def borrowed(self, server: Server, database: str, user: str) -> Iterator[Session]:
        """Give a session in the state of a new one; one per server is kept, for a new one costs 10 to 50 ms."""
        key = (server.port, database, user)
        kept = self._kept.pop(server.port, None)
        if kept is not None and kept[0] != key:
            kept[1].close()
        session = kept[1] if kept is not None and kept[0] == key else self.session(server, database, user)
        try:
            yield session
            session.run("rollback")
            if not session.run("discard all").sqlstate:
                self._kept[server.port] = key, session
        finally:
            if server.port not in self._kept:
                session.close()

    def forget_sessions(self) -> None:
        """Close what `borrowed` keeps: the next sessions begin with the settings that a database has now."""
        for _key, session in self._kept.values():
            session.close()
        self._kept.clear()

    def flush(self) -> None:
        """Flush the WAL of transactions that are still open, too: what is updated in place is seen before a commit."""
        self._wal.values(FLUSH)

    def serve_deficit(self, timeout_s: float = 20) -> None:
        """Wait until the standby has replayed what the primary has flushed; what it has not is of no transaction."""
        ((flushed,),) = self._wal.values(b"select pg_current_wal_flush_lsn()")
        reached = f"select pg_last_wal_replay_lsn() >= '{flushed}'".encode()
        started = time.monotonic()
        for step in itertools.count(1):
            if self._replay.values(reached) == [("t",)]:
                return
            if time.monotonic() > started + timeout_s:
                raise TimeoutError(f"the standby has not replayed {flushed}")
            if step % 20 == 0:
                self.flush()
            time.sleep(0.0005)


def observe(session: Session, sql: str, *, alone: bool = False, before: str = "") -> Observation:
    """Run a statement in a fresh session and say what it answers and changes; in a block its writes are rolled back.

    `before` is what the session did earlier; not given for a server that does not have this session's state.
    """
    if before:
        session.run(before)
    state, xid = session.values(SESSION_STATE), session.values(NEXT_XID)
    if not alone:
        session.run("begin")
    seen = session.run(sql)
    if seen.sqlstate:
        return seen
    left = session.values(SESSION_STATE)
    if not alone:
        session.run("rollback")
    changes = [" ".join(filter(None, item)) for item in left if item not in state]
    changes += [f"no more {' '.join(filter(None, item))}" for item in state if item not in left]
    if session.values(NEXT_XID) != xid:
        changes.append("a transaction id")
    return Observation(answer=seen.answer, sample=seen.sample, changes=tuple(changes))


def observe_standby(session: Session, sql: str, *, alone: bool = False) -> Observation:
    """Run a statement in a fresh session of the standby: only its answer matters."""
    if not alone:
        session.run("begin")
    return session.run(sql)


def _rows(result: PGresult) -> Iterator[bytes]:
    for row in range(result.ntuples):
        cells = (result.get_value(row, column) for column in range(result.nfields))
        yield b"|".join(b"\\N" if cell is None else cell for cell in cells)


def _digest(rows: list[bytes]) -> str:
    # Sorted even where there is an ORDER BY: it may leave ties, and order alone never needed the primary.
    return hashlib.sha256(b"\n".join(sorted(rows))).hexdigest()[:16]


def _sample(rows: list[bytes]) -> str:
    text = b" / ".join(rows[:3]).decode("utf-8", "replace")
    return f"{len(rows)} rows: {text[:120]}"


def _failure(result: PGresult) -> Observation:
    sqlstate = (result.error_field(DiagnosticField.SQLSTATE) or b"08006").decode()
    primary = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    return Observation(sqlstate, primary.decode("utf-8", "replace").strip())
