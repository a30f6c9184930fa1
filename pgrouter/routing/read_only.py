"""What the statements of a read-only transaction on a replica ask for: to stay, or to be said again elsewhere.

BEGIN READ ONLY is no place: a transaction that only reads may be on a replica, and what the rest of it needs decides
whether it stays there. `needs` judges the next batch as a whole, what is in front of a COMMIT and what is behind it.
Pure; `proxy.move` acts on it.
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING

from pgrouter.routing.statement import Effect, Reason, Statement, Target, Tx

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.routing.policy import Facts


class Needs(IntFlag):
    """What a batch needs inside a transaction that a replica has."""

    NOTHING = 0
    REPEAT = 1  # to be said again, in order, where the transaction begins again
    SNAPSHOT = 2  # it reads: the transaction has a snapshot afterwards
    PRIMARY = 4
    ENDS = 8  # its first statement ends the transaction: what was read until then binds nobody
    AFRESH = 16  # behind it there is a transaction that has read nothing: AND CHAIN, or another BEGIN


_ENDS = (Tx.COMMIT, Tx.ROLLBACK)
_BEGINS = (Tx.BEGIN, Tx.BEGIN_READ_ONLY)
# On a replica none of this may be left, nor what only running it tells
_STATE = int(
    Effect.TEMP | Effect.LISTEN | Effect.HOLD_CURSOR | Effect.SQL_PREPARE | Effect.ADVISORY_LOCK
    | Effect.OTHER_STATE | Effect.CODE | Effect.CUSTOM
)  # fmt: skip
# Statements of the session by their reason; SET and SET CONSTRAINTS are said again, cursors read
_OF_SESSION = {
    Reason.SETTING: Needs.REPEAT,
    Reason.SESSION_STATE: Needs.REPEAT,
    Reason.CURSOR: Needs.SNAPSHOT,
    Reason.EXPLAIN: Needs.SNAPSHOT,
    Reason.POSITION: Needs.NOTHING,
    Reason.PREPARED: Needs.SNAPSHOT,  # DEALLOCATE, for which PostgreSQL takes one
    Reason.NOTIFY: Needs.NOTHING,  # UNLISTEN
}


def needs(statements: Iterable[Statement], facts: Facts, *, snapshot: bool) -> Needs:
    """Judge the statements of a batch, in order; `snapshot`: the transaction has read before."""
    asked = Needs.NOTHING
    ended = first = False
    for number, part in enumerate(part for statement in statements for part in parts_of(statement)):
        if part.target is Target.SESSION and part.tx in _ENDS:
            ended, snapshot = True, False
            first = first or number == 0
            continue
        one = _need(part, facts, snapshot=snapshot, ended=ended)
        snapshot = (snapshot or bool(one & Needs.SNAPSHOT)) and not one & Needs.AFRESH
        asked |= one
    return asked | Needs.ENDS if first else asked


def parts_of(statement: Statement) -> tuple[Statement, ...]:
    """Give the statements of a string; one that a hint has moved is judged as a whole."""
    return statement.parts if statement.parts and statement.reason != Reason.HINT else (statement,)


def _need(part: Statement, facts: Facts, *, snapshot: bool, ended: bool) -> Needs:  # noqa: PLR0911 (a table of cases)
    if part.effects & _STATE:
        return Needs.PRIMARY
    if part.target is Target.REPLICA:
        return Needs.NOTHING if part.reason == Reason.EMPTY else Needs.SNAPSHOT
    if part.target is Target.PRIMARY:
        moved = facts.route == "replica" and part.overridable
        return Needs.SNAPSHOT if moved else Needs.PRIMARY
    if part.target is Target.ERROR:  # any server says the same
        return Needs.NOTHING
    if part.reason == Reason.TRANSACTION:
        return _of_control(part, facts, snapshot=snapshot, ended=ended)
    if part.tag in ("SHOW", "DISCARD ALL"):
        return Needs.NOTHING
    return _OF_SESSION.get(part.reason, Needs.PRIMARY)


def _of_control(part: Statement, facts: Facts, *, snapshot: bool, ended: bool) -> Needs:
    """BEGIN inside a transaction sets its modes; in a transaction that has read any server refuses READ WRITE."""
    if part.tx in (Tx.SET_READ_WRITE, Tx.BEGIN_PRIMARY):
        return Needs.NOTHING if snapshot else Needs.PRIMARY
    if part.tx in _BEGINS and ended:
        reads = part.tx is Tx.BEGIN_READ_ONLY or facts.default_read_only or facts.route == "replica"
        return Needs.REPEAT | Needs.AFRESH if reads else Needs.PRIMARY
    if part.tx is Tx.INSIDE and part.tag in ("COMMIT", "ROLLBACK"):
        return Needs.REPEAT | Needs.AFRESH
    return Needs.REPEAT
