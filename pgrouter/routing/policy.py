"""Statement and the session's facts -> Route. Pure; asked only when no server is linked.

The rules are read from top to bottom and the first that applies decides:

1. the listener's mode, when it is not split;
2. the session's own route (SET pgrouter.route, defaults per user): `replica` moves only what a hint could move;
3. what a standby refuses or cannot know: a session whose transactions are serializable, temporary objects;
4. the statement's class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from pgrouter.routing.statement import Reason, Statement, Target, Tx


class Route(NamedTuple):
    """Where to, and why: `target` is PRIMARY or REPLICA."""

    target: Target
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision needs to know of a client's session."""

    mode: Literal["split", "primary", "replica"] = "split"  # the listener's
    route: Literal["auto", "primary", "replica"] = "auto"  # the session's
    default_read_only: bool = False  # default_transaction_read_only
    serializable: bool = False  # default_transaction_isolation: a standby refuses every statement
    temporary: bool = False  # temporary objects may hide permanent ones


def decide(statement: Statement, facts: Facts) -> Route:
    """Choose between the primary and the replicas for a statement that begins on no server yet."""
    if facts.mode != "split":
        return Route(Target.PRIMARY if facts.mode == "primary" else Target.REPLICA, f"{facts.mode} listener")
    if facts.route == "primary":
        return Route(Target.PRIMARY, "session route")
    target = _target(statement, facts)
    if target is Target.REPLICA and facts.serializable:
        return Route(Target.PRIMARY, "serializable session")
    if target is Target.REPLICA and facts.temporary:
        return Route(Target.PRIMARY, Reason.TEMPORARY)
    return Route(target, statement.reason)


def _target(statement: Statement, facts: Facts) -> Target:
    if statement.target is Target.REPLICA:
        return Target.REPLICA
    by_route = facts.route == "replica"
    if statement.target is Target.SESSION:
        if statement.tx is Tx.BEGIN_READ_ONLY:
            return Target.REPLICA
        if statement.tx is Tx.BEGIN and (facts.default_read_only or by_route):
            return Target.REPLICA
    if by_route and statement.overridable:
        return Target.REPLICA
    return Target.PRIMARY
