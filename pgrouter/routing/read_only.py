"""What the statements of a read-only transaction on a replica need: to stay there, or to be replayed on the primary.

BEGIN READ ONLY does not decide on a server: a read-only transaction may run on a replica, and what its statements need
decides whether it stays there. `needs` judges the next batch as a whole, both before and after a COMMIT in it.
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
    """What a batch needs inside a transaction on a replica."""

    NOTHING = 0
    REPEAT = 1  # must be replayed, in order, if the transaction restarts on another server
    SNAPSHOT = 2  # it reads: the transaction has a snapshot afterwards
    PRIMARY = 4
    ENDS = 8  # its first statement ends the transaction: the old snapshot no longer matters
    AFRESH = 16  # after it, a new transaction has read nothing yet: AND CHAIN, or another BEGIN


_ENDS = (Tx.COMMIT, Tx.ROLLBACK)
_BEGINS = (Tx.BEGIN, Tx.BEGIN_READ_ONLY)
# None of this may be left on a replica, nor what can only be known by running it
_STATE = int(
    Effect.TEMP | Effect.LISTEN | Effect.HOLD_CURSOR | Effect.SQL_PREPARE | Effect.ADVISORY_LOCK
    | Effect.OTHER_STATE | Effect.CODE | Effect.CUSTOM
)  # fmt: skip
# Session statements by reason; SET and SET CONSTRAINTS are replayed, cursors read
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
    """Return the statements of a string; one that a hint has moved counts as a whole."""
    return statement.parts if statement.parts and statement.reason != Reason.HINT else (statement,)


def _need(part: Statement, facts: Facts, *, snapshot: bool, ended: bool) -> Needs:  # noqa: PLR0911 (a table of cases)
    if part.effects & _STATE:
        return Needs.PRIMARY
    if part.target is Target.REPLICA:
        return Needs.NOTHING if part.reason == Reason.EMPTY else Needs.SNAPSHOT
    if part.target is Target.PRIMARY:
        moved = facts.route == "replica" and part.overridable
        return Needs.SNAPSHOT if moved else Needs.PRIMARY
    if part.target is Target.ERROR:  # every server reports the same error
        return Needs.NOTHING
    if part.reason == Reason.TRANSACTION:
        return _of_control(part, facts, snapshot=snapshot, ended=ended)
    if part.tag in ("SHOW", "DISCARD ALL"):
        return Needs.NOTHING
    return _OF_SESSION.get(part.reason, Needs.PRIMARY)


def _of_control(part: Statement, facts: Facts, *, snapshot: bool, ended: bool) -> Needs:
    """BEGIN inside a transaction sets its modes; once it has read, any server refuses READ WRITE."""
    if part.tx in (Tx.SET_READ_WRITE, Tx.BEGIN_PRIMARY):
        return Needs.NOTHING if snapshot else Needs.PRIMARY
    if part.tx in _BEGINS and ended:
        reads = part.tx is Tx.BEGIN_READ_ONLY or facts.default_read_only or facts.route == "replica"
        return Needs.REPEAT | Needs.AFRESH if reads else Needs.PRIMARY
    if part.tx is Tx.INSIDE and part.tag in ("COMMIT", "ROLLBACK"):
        return Needs.REPEAT | Needs.AFRESH
    return Needs.REPEAT
