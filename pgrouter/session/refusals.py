"""Statements that the router refuses instead of sending them to a server.

Two settings of a pool forbid statements: `pins: error` those that would leave state on the server, `mode: statement`
those that leave a transaction open. Refused are also currval and lastval where the server would return another
session's value, and a query for more prepared statements than can be sent to a server for it. A refused statement is
answered with an error, numbered here, and never reaches a server. Inside a transaction or a pipeline the server gets a
text that it cannot parse (`INSTEAD`), so that it fails exactly where the statement would have failed, and the client
gets the router's own error for it (`ANSWERS`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgrouter.errors import FeatureNotSupported, NotInThisSession
from pgrouter.protocol import codes, messages
from pgrouter.routing.statement import Tx
from pgrouter.session.leftovers import WORDS

if TYPE_CHECKING:
    from pgrouter.config.settings import PoolSettings
    from pgrouter.errors import RouterError
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

# For what would have another result type than it was described with: PostgreSQL's own error, which drivers know
OLD_PLAN_ROUTINE = "RevalidateCachedQuery"  # plancache.c
_OLD_PLAN = (b"SERROR", b"VERROR", b"C0A000", b"Mcached plan must not change result type", b"Fplancache.c", b"L720")


class Refusal(NamedTuple):
    """A statement that is refused."""

    error: RouterError | None  # None: PostgreSQL's own
    stand_in: bytes  # what the server gets in its place, which it cannot parse
    answer: bytes  # what the client gets in place of the server's complaint


def _refusal(error: RouterError, stand_in: str) -> Refusal:
    return Refusal(error, stand_in.encode(), messages.error_response(error))


# By number; 0: the statement may be sent
_TABLE = (
    Refusal(None, b"", b""),
    *(_refusal(_pinning(state), f"pgrouter has refused a statement ({state})") for state in WORDS.values()),
    _refusal(_NO_BLOCKS, "pgrouter: BEGIN"),
    _refusal(_NO_SEQUENCES, "pgrouter: currval"),
    *(
        _refusal(FeatureNotSupported(_ONLY_PRIMARY, detail=detail, hint=_HINT), f"pgrouter: {what}")
        for detail, what in zip(_UNMOVED, ("snapshot", "cursor", "transaction"), strict=True)
    ),
    _refusal(_TOO_MANY_NAMES, "pgrouter: prepared statements"),
    Refusal(
        None,
        b"pgrouter: cached plan",
        messages.message(codes.ERROR_RESPONSE, b"\0".join((*_OLD_PLAN, b"R" + OLD_PLAN_ROUTINE.encode(), b"", b""))),
    ),
)
_NO_BLOCK, NO_SEQUENCES, SNAPSHOT, OPEN_CURSOR, NOT_REPEATABLE, TOO_MANY_NAMES, OLD_PLAN = range(
    len(WORDS) + 1, len(WORDS) + 8
)
REFUSALS = tuple(refusal.error for refusal in _TABLE)
INSTEAD = tuple(refusal.stand_in for refusal in _TABLE)
ANSWERS = tuple(refusal.answer for refusal in _TABLE)


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
