"""What a transaction has left on its server that only this server has, asked of it instead of guessed.

Whether a temporary table was dropped on commit, a lock unlocked as often as it was taken, a cursor closed or the whole
thing rolled back is PostgreSQL's to know: after a transaction in which a statement may have left such state, or taken
it away again, one query tells what is there. While something is, the client keeps its server.
"""

from __future__ import annotations

from pgrouter.routing.statement import Effect

# State -> why the client keeps its server, in the words of SHOW CLIENTS
WORDS = {
    Effect.TEMP: "temporary object",
    Effect.LISTEN: "LISTEN",
    Effect.HOLD_CURSOR: "WITH HOLD cursor",
    Effect.SQL_PREPARE: "PREPARE",
    Effect.ADVISORY_LOCK: "advisory lock",
    Effect.OTHER_STATE: "session state",
}
# What is asked of the server; no query tells of other state, which stays until DISCARD ALL
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
# What may take state away
RELEASES = int(Effect.RELEASES | Effect.DDL | Effect.DEALLOCATE | Effect.UNLISTEN)


def words(state: int) -> str | None:
    """Say why a client with such state keeps its server; None: it need not."""
    return next((told for effect, told in WORDS.items() if state & effect), None)


def question(state: int) -> str:
    """Give the SQL that tells which of this state is there: a row of two columns for each."""
    asked = [(effect, sql) for effect, sql in _QUESTIONS.items() if state & effect]
    rows = (f"SELECT {int(effect)}, 0 WHERE EXISTS (SELECT {sql})" for effect, sql in asked)
    return " UNION ALL ".join(rows) or "SELECT 0, 0"
