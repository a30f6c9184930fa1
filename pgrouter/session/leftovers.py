"""Session state that a transaction has left on its server: the server is queried for it, nothing is guessed.

Only PostgreSQL knows whether a temporary table was dropped on commit, a lock unlocked as often as it was taken, a
cursor closed or the whole transaction rolled back. After a transaction in which a statement may have left such state,
or removed it, one query returns what is there. While there is any, the client keeps its server.
"""

from __future__ import annotations

from pgrouter.routing.statement import Effect

# State -> why the client keeps its server, as SHOW CLIENTS shows it
WORDS = {
    Effect.TEMP: "temporary object",
    Effect.LISTEN: "LISTEN",
    Effect.HOLD_CURSOR: "WITH HOLD cursor",
    Effect.SQL_PREPARE: "PREPARE",
    Effect.ADVISORY_LOCK: "advisory lock",
    Effect.OTHER_STATE: "session state",
}
# Queries for each state; none can find other state, which stays until DISCARD ALL
_QUESTIONS = {
    Effect.TEMP: "FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=)"
    " 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid"
    " AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()",  # so PostgreSQL finds them at the end
    Effect.LISTEN: "FROM pg_catalog.pg_listening_channels()",
    Effect.HOLD_CURSOR: "FROM pg_catalog.pg_cursors WHERE is_holdable",
    Effect.SQL_PREPARE: "FROM pg_catalog.pg_prepared_statements WHERE from_sql",
    Effect.ADVISORY_LOCK: "FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory'"
    " AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()",
}
ASKED = sum(map(int, _QUESTIONS))
STATE = sum(map(int, WORDS))
# What may remove state
RELEASES = int(Effect.RELEASES | Effect.DDL | Effect.DEALLOCATE | Effect.UNLISTEN)


def words(state: int) -> str | None:
    """Return why a client with this state keeps its server; None if it need not."""
    return next((told for effect, told in WORDS.items() if state & effect), None)


def question(state: int) -> str:
    """Return the SQL that finds which of this state is there: a row of two columns for each."""
    asked = [(effect, sql) for effect, sql in _QUESTIONS.items() if state & effect]
    rows = (f"SELECT {int(effect)}, 0 WHERE EXISTS (SELECT {sql})" for effect, sql in asked)
    return " UNION ALL ".join(rows) or "SELECT 0, 0"
