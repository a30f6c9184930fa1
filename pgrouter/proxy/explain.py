"""The SQL sent in place of EXPLAIN ROUTE, SHOW pgrouter.lsn, SHOW POOL_NODES and their like: its rows are the answer.

So a server formats the answer for either protocol, in and out of transactions, and the router does not have to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.protocol import codes, messages
from pgrouter.routing.explain import asked_for, asks_pool, asks_position, asks_timer, explain
from pgrouter.routing.policy import Route, decide
from pgrouter.routing.statement import Reason, Target
from pgrouter.session.settings import in_words, literal, milliseconds

if TYPE_CHECKING:
    from pgrouter.proxy.requester import Requester
    from pgrouter.routing.statement import Statement
    from pgrouter.server.connection import ServerConnection

IDLE = ord("I")

# The session's writes are in the WAL up to this position at most. A transaction on a replica sees what is replayed.
POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END "
    'AS "pgrouter.lsn"'
)


def explained(requester: Requester, server: ServerConnection, message: bytes) -> bytes | None:
    """Return what a server gets in place of this Query or Parse; None: the message itself.

    Its class says that it is one of these (`Effect.INSTEAD`), or that it has the same fingerprint.
    """
    if message[0] == codes.QUERY:
        sql = _instead(requester, server, message[5:].partition(b"\0")[0])
        return None if sql is None else messages.query(sql)
    name, _, rest = message[5:].partition(b"\0")
    text, _, types = rest.partition(b"\0")
    sql = _instead(requester, server, text)
    return None if sql is None else messages.message(codes.PARSE, name + b"\0" + sql.encode() + b"\0" + types)


def _instead(requester: Requester, server: ServerConnection, text: bytes) -> str | None:
    if asks_position(text):
        return POSITION
    words = asks_pool(text)
    if words:
        session = requester.session
        registry = requester.registry
        return registry.pool_shows(words, session.pool.user, server.owner.member.name, registry.settings.admin)
    timer = asks_timer(text)
    if timer:
        session = requester.session
        database = requester.registry.databases.get(session.pool.database)
        value = dict(session.profile.values).get(timer) or database.idle_timeout(session.pool.user)
        return f'SELECT {literal(in_words(milliseconds(value)))} AS "{timer}"'
    inner = asked_for(text)
    return None if inner is None else _answer(requester, server, inner)


def _route(requester: Requester, server: ServerConnection, statement: Statement) -> Route:
    """Return where a statement would go in this session now."""
    session, facts = requester.session, requester.batch.facts
    pool = session.pool
    if server.status != IDLE or session.pin is not None:
        why = "the transaction is open there" if session.pin is None else f"the session keeps its server: {session.pin}"
        if server.owner is pool.writer:
            return Route(Target.PRIMARY, why)
        reads = statement.verdict.reads or statement.target is Target.SESSION
        return Route(Target.REPLICA, why) if reads or pool.standby else Route(Target.PRIMARY, statement.reason)
    route = decide(statement, facts)
    shared = route.target is Target.REPLICA and facts.mode == "split" and not pool.standby
    if shared and pool.needs_primary(session.must_see_s(), session.must_see_lsn):
        return Route(Target.PRIMARY, Reason.OWN_WRITE)
    return route


def _answer(requester: Requester, server: ServerConnection, inner: bytes) -> str:
    statements = requester.session.statements
    statement = statements.cache.lookup_now(inner, 0, len(inner), statements.unusual_strings)
    lines = explain(inner.decode("utf-8", "replace"), statement, _route(requester, server, statement))
    rows = ", ".join(f"({literal(line)})" for line in lines)
    return f'SELECT * FROM (VALUES {rows}) AS route("QUERY PLAN")'  # noqa: S608  (quoted)
