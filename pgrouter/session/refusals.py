"""Statements that the router refuses instead of sending them to a server.

Two settings of a pool forbid statements: `pins: error` those that would leave state on the server, `mode: statement`
those that leave a transaction open. Refused are also currval and lastval where the server would return another
session's value, and a query for more prepared statements than can be sent to a server for it. A refused statement is
answered with an error, numbered here, and never reaches a server. Inside a transaction or a pipeline the server gets a
text that it cannot parse (`INSTEAD`), so that it fails exactly where the statement would have failed, and the client
gets the router's own error for it (`ANSWERS`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.errors import FeatureNotSupported, NotInThisSession
from pgrouter.protocol import codes, messages
from pgrouter.routing.statement import Tx
from pgrouter.session.leftovers import WORDS

if TYPE_CHECKING:
    from pgrouter.config.settings import PoolSettings
    from pgrouter.routing.statement import Statement

# What a pool may forbid, as bits
PINNING = 1
BLOCKS = 2

_BEGINS = (Tx.BEGIN, Tx.BEGIN_READ_ONLY, Tx.BEGIN_PRIMARY)


def _pinning(state: str) -> FeatureNotSupported:
    return FeatureNotSupported(
        "cannot keep session state on a pooled server",
        detail=f"The statement would tie the session to its server ({state}), and pool.pins is error.",
        hint="Use a pool in session mode or a direct connection for this, or set pool.pins to keep.",
    )


_NO_BLOCKS = FeatureNotSupported(
    "transaction blocks not allowed in statement pooling mode",
    hint="Set pool.mode to transaction, for this database or user if not for all.",
)

_NO_SEQUENCES = NotInThisSession(
    "currval and lastval are not defined in this session",
    detail="The session has taken no value, or its server connection has since written for another client.",
    hint="Ask in the transaction that writes, use INSERT ... RETURNING, or session pooling.",
)

_ONLY_PRIMARY = "cannot run this statement in a read-only transaction that has begun on a replica"
_HINT = "Declare the transaction READ WRITE, or route it to the primary with SET pgrouter.route = 'primary' before it."
_UNMOVED = (
    "Only the primary can run it, and the transaction's snapshot cannot be moved there.",
    "Only the primary can run it, and the transaction has an open cursor, which cannot be moved there.",
    "Only the primary can run it, and what the transaction has done so far cannot be repeated there.",
)

MAX_PRESENTED = 1000

_TOO_MANY_NAMES = FeatureNotSupported(
    f"cannot look at more than {MAX_PRESENTED} prepared statements",
    detail="The statement asks for all that the session has prepared, and its server would have to get them first.",
    hint="Close some, or use session pooling.",
)

# By number; 0: the statement may be sent
REFUSALS = (
    None, *(_pinning(state) for state in WORDS.values()), _NO_BLOCKS, _NO_SEQUENCES,
    *(FeatureNotSupported(_ONLY_PRIMARY, detail=detail, hint=_HINT) for detail in _UNMOVED),
    _TOO_MANY_NAMES,
)  # fmt: skip
_NO_BLOCK = len(WORDS) + 1
NO_SEQUENCES = len(WORDS) + 2
SNAPSHOT, OPEN_CURSOR, NOT_REPEATABLE, TOO_MANY_NAMES = range(len(WORDS) + 3, len(WORDS) + 7)

ANSWERS = (b"", *(messages.error_response(error) for error in REFUSALS if error is not None))
INSTEAD = (
    b"", *(f"pgrouter has refused a statement ({why})".encode() for why in WORDS.values()),
    b"pgrouter: BEGIN", b"pgrouter: currval",
    b"pgrouter: snapshot", b"pgrouter: cursor", b"pgrouter: transaction", b"pgrouter: prepared statements",
)  # fmt: skip

# For what would have another result type than it was described with: PostgreSQL's own error, which drivers know
OLD_PLAN = len(INSTEAD)
OLD_PLAN_ROUTINE = "RevalidateCachedQuery"  # plancache.c
_WORDS = (b"SERROR", b"VERROR", b"C0A000", b"Mcached plan must not change result type", b"Fplancache.c", b"L720")
_OLD_PLAN = b"\0".join((*_WORDS, b"R" + OLD_PLAN_ROUTINE.encode(), b"", b""))
INSTEAD = (*INSTEAD, b"pgrouter: cached plan")
ANSWERS = (*ANSWERS, messages.message(codes.ERROR_RESPONSE, _OLD_PLAN))


def forbidden_by(settings: PoolSettings) -> int:
    """Return what a pool forbids; in session mode a session may do anything."""
    if settings.mode == "session":
        return 0
    return (PINNING if settings.pins == "error" else 0) | (BLOCKS if settings.mode == "statement" else 0)


def refusal_of(statement: Statement, forbidden: int) -> int:
    """Return the number of the refusal for a statement; 0: it may be sent."""
    if forbidden & BLOCKS and statement.tx in _BEGINS:
        return _NO_BLOCK
    if not forbidden & PINNING:
        return 0
    return next((number for number, effect in enumerate(WORDS, 1) if statement.effects & effect), 0)
