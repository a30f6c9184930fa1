"""Statement and the session's facts -> Route. Pure; used only if no server is linked.

Rules in order; the first that applies decides:

1. the listener's mode, if it is not split, and session pooling, which keeps one server for reads and writes;
2. the session's own route (`SET pgrouter.route`): `replica` moves only what a hint could move;
3. what a standby refuses: sessions whose transactions are serializable;
4. the statement's class.

Nearly every session is PLAIN: for it the class alone decides, and that answer is stored in the statement
(`Statement.verdict`), so that the data path need not call `decide`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgrouter.routing.statement import Statement, Target, Tx

if TYPE_CHECKING:
    from collections.abc import Mapping

ROUTE_SETTING = "pgrouter.route"  # auto, primary or replica; PostgreSQL accepts any setting whose name has a dot
_ON = frozenset({"on", "true", "yes", "1", "t", "y"})


class Route(NamedTuple):
    """Where to, and why: `target` is PRIMARY or REPLICA."""

    target: Target
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision needs to know about a client's session."""

    mode: Literal["split", "primary", "replica"] = "split"  # the listener's
    pinned: bool = False  # session pooling
    route: Literal["auto", "primary", "replica"] = "auto"  # the session's
    default_read_only: bool = False  # default_transaction_read_only
    serializable: bool = False  # default_transaction_isolation: a standby refuses every statement


PLAIN = Facts()


def facts_of(settings: Mapping[str, str], *, mode: str = "split", pinned: bool = False) -> Facts:
    """Read the facts from a session's settings (names in lower case); invalid values count as not set."""
    route = settings.get(ROUTE_SETTING, "").lower()
    return Facts(
        mode=mode,
        pinned=pinned,
        route=route if route in ("primary", "replica") else "auto",
        default_read_only=settings.get("default_transaction_read_only", "").lower() in _ON,
        serializable=settings.get("default_transaction_isolation", "").lower() == "serializable",
    )


def decide(statement: Statement, facts: Facts) -> Route:
    """Choose the primary or a replica for a statement of a session without a linked server."""
    if facts.mode != "split":
        return Route(Target.PRIMARY if facts.mode == "primary" else Target.REPLICA, f"{facts.mode} listener")
    if facts.pinned:
        return Route(Target.PRIMARY, "session pooling")
    if facts.route == "primary":
        return Route(Target.PRIMARY, "session route")
    if not _may_read(statement, facts):
        return Route(Target.PRIMARY, statement.reason)
    if facts.serializable:
        return Route(Target.PRIMARY, "serializable session")
    return Route(Target.REPLICA, statement.reason)


def _may_read(statement: Statement, facts: Facts) -> bool:
    by_route = facts.route == "replica"
    begins = statement.target is Target.SESSION and statement.tx is Tx.BEGIN
    return (
        statement.verdict.reads
        or (begins and (facts.default_read_only or by_route))
        or (by_route and statement.overridable)
    )
