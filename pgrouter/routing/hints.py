"""Hints in a leading comment: /* pgrouter: primary */, /* pgrouter: replica */, Pgpool's /*NO LOAD BALANCE*/.

A hint to the primary always holds. A hint to a replica moves what is on the primary by caution or by meaning (an
unknown function, a function or view about the server, SHOW), never what writes: that would only fail, or be lost.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

from pgrouter.routing.fingerprint import HINT_PRIMARY, HINT_REPLICA, NO_HINT, leading_hint
from pgrouter.routing.statement import Reason, Statement, Target


class Hint(IntEnum):
    """What a leading comment asks for."""

    NONE = NO_HINT
    PRIMARY = HINT_PRIMARY
    REPLICA = HINT_REPLICA


def leading(sql: bytes) -> Hint:
    """Find the hint before the first token of a statement."""
    return Hint(leading_hint(sql, 0, len(sql)))


def apply(statement: Statement, hint: Hint) -> Statement:
    """Give the statement as its hint wants it."""
    if hint is Hint.PRIMARY and statement.target is Target.REPLICA:
        return replace(statement, target=Target.PRIMARY, reason=Reason.HINT, cause="primary", overridable=False)
    if hint is Hint.REPLICA and statement.overridable and statement.target in (Target.PRIMARY, Target.SESSION):
        return replace(statement, target=Target.REPLICA, reason=Reason.HINT, cause="replica")
    return statement
