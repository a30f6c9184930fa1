"""The SQL sent in place of EXPLAIN ROUTE, SHOW pgrouter.lsn and SHOW idle_session_timeout: its rows are the answer.

So a server formats the answer for either protocol, in and out of transactions, and the router does not have to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.protocol import codes, messages
from pgrouter.routing.explain import asked_for, asks_position, asks_timer, explain
from pgrouter.routing.policy import Route, decide
from pgrouter.routing.statement import Reason, Target
from pgrouter.session.settings import in_words, literal, milliseconds

if TYPE_CHECKING:
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.routing.statement import Statement

IDLE = ord("I")

# The session's writes are in the WAL up to this position at most. A transaction on a replica sees what is replayed.
POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END "
    'AS "pgrouter.lsn"'
)


def explained(client: ClientConnection, message: bytes) -> bytes | None:
    """Return what a server gets in place of this Query or Parse; None: the message itself.

    Its class says that it is one of these (`Effect.INSTEAD`), or that it has the same fingerprint.
    """
    if message[0] == codes.QUERY:
        sql = _instead(client, message[5:].partition(b"\0")[0])
        return None if sql is None else messages.query(sql)
    name, _, rest = message[5:].partition(b"\0")
    text, _, types = rest.partition(b"\0")
    sql = _instead(client, text)
    return None if sql is None else messages.message(codes.PARSE, name + b"\0" + sql.encode() + b"\0" + types)


def _instead(client: ClientConnection, text: bytes) -> str | None:
    if asks_position(text):
        return POSITION
    timer = asks_timer(text)
    if timer:
        database = client.registry.databases.get(client.group.database)
        value = dict(client.profile.values).get(timer) or database.idle_timeout(client.group.user)
        return f'SELECT {literal(in_words(milliseconds(value)))} AS "{timer}"'
    inner = asked_for(text)
    return None if inner is None else _answer(client, inner)


def _route(client: ClientConnection, statement: Statement) -> Route:
    """Return where a statement would go in this session now."""
    server, group = client.server, client.group
    if server.status != IDLE or client.pin is not None:
        why = "the transaction is open there" if client.pin is None else f"the session keeps its server: {client.pin}"
        if server.owner is group.writer:
            return Route(Target.PRIMARY, why)
        reads = statement.verdict.reads or statement.target is Target.SESSION
        return Route(Target.REPLICA, why) if reads or group.standby else Route(Target.PRIMARY, statement.reason)
    route = decide(statement, client.batch.facts)
    shared = route.target is Target.REPLICA and client.mode == "split" and not group.standby
    if shared and group.needs_primary(client.must_see_s(), client.must_see_lsn):
        return Route(Target.PRIMARY, Reason.OWN_WRITE)
    return route


def _answer(client: ClientConnection, inner: bytes) -> str:
    statement = client.statements.cache.lookup_now(inner, 0, len(inner), client.statements.unusual_strings)
    lines = explain(inner.decode("utf-8", "replace"), statement, _route(client, statement))
    rows = ", ".join(f"({literal(line)})" for line in lines)
    return f'SELECT * FROM (VALUES {rows}) AS route("QUERY PLAN")'  # noqa: S608  (quoted)
