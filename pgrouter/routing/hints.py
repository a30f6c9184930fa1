"""Hints in a leading comment: /* pgrouter: primary */, /* pgrouter: replica */, Pgpool's /*NO LOAD BALANCE*/.

A hint to the primary always applies. A hint to a replica moves what goes to the primary out of caution or because of
what it shows (an unknown function, a function or view about the server, SHOW), never what writes: that would fail or be
lost.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from pgrouter.routing.statement import Reason, Statement, Target

NO_HINT, TO_PRIMARY, TO_REPLICA = range(3)

_HINT = re.compile(rb"\s*(?:(no load balance|pgrouter\s*:\s*primary)|pgrouter\s*:\s*replica)\s*", re.IGNORECASE)


def in_comment(body: bytes) -> int:
    """Return the hint in the body of a comment: NO_HINT, TO_PRIMARY or TO_REPLICA."""
    found = _HINT.fullmatch(body)
    if found is None:
        return NO_HINT
    return TO_PRIMARY if found.group(1) else TO_REPLICA


def apply(statement: Statement, hint: int) -> Statement:
    """Return the statement with its hint applied."""
    if hint == TO_PRIMARY and statement.verdict.reads:
        return replace(statement, target=Target.PRIMARY, reason=Reason.HINT, cause="primary", overridable=False)
    if hint == TO_REPLICA and statement.overridable and statement.target in (Target.PRIMARY, Target.SESSION):
        return replace(statement, target=Target.REPLICA, reason=Reason.HINT, cause="replica")
    return statement
