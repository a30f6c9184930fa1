"""Time limits of a session: which of them has expired, and what has to be done.

The table LIMITS is the whole rule: for each thing that a session can be doing, the settings that limit it, the span
that each is about, and what is due when the span is longer. The first that has expired counts; 0 means no limit.

Source: postgres.c ProcessInterrupts() for messages and SQLSTATEs; PgBouncer's janitor.c for the names of the settings.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pgrouter.errors import RouterError

if TYPE_CHECKING:
    from pgrouter.config.settings import PoolSettings


class Doing(Enum):
    """What a session is doing, as its server sees it."""

    IDLE = "idle"  # between transactions, with or without a server
    IN_TRANSACTION = "idle in transaction"  # its server waits for the client
    RUNNING = "running"  # the client waits for its server


class Due(Enum):
    """What has to be done."""

    CANCEL = "cancel the query"
    END_TRANSACTION = "end the session: its transaction is too long"
    END_IDLE_TRANSACTION = "end the session: idle in a transaction"
    END_IDLE = "end the session: idle"


_TRANSACTION = ("transaction_timeout_s", True, Due.END_TRANSACTION)

# The setting, whether it limits the whole transaction or only the current state, and what is due
LIMITS: dict[Doing, tuple[tuple[str, bool, Due], ...]] = {
    Doing.IDLE: (("client_idle_timeout_s", False, Due.END_IDLE),),
    Doing.IN_TRANSACTION: (("idle_transaction_timeout_s", False, Due.END_IDLE_TRANSACTION), _TRANSACTION),
    Doing.RUNNING: (_TRANSACTION, ("query_timeout_s", False, Due.CANCEL)),
}

CANCELED = b"\0C57014\0"  # in the ErrorResponse of a query that was cancelled

_LAST_WORDS = {
    Due.END_TRANSACTION: ("transaction timeout", "25P04"),
    Due.END_IDLE_TRANSACTION: ("idle-in-transaction timeout", "25P03"),
    Due.END_IDLE: ("idle-session timeout", "57P05"),
}


def limited(settings: PoolSettings) -> bool:
    """Whether there is any limit at all."""
    return any(getattr(settings, name) for limits in LIMITS.values() for name, _, _ in limits)


def doing(*, owed: int, idle: bool, at_sync: bool) -> Doing:
    """Return what a session is doing; `owed`: answers are outstanding, `idle`: by the last ReadyForQuery."""
    if owed:
        return Doing.RUNNING
    return Doing.IDLE if idle and at_sync else Doing.IN_TRANSACTION


def due(what: Doing, for_s: float, transaction_s: float, settings: PoolSettings) -> Due | None:
    """Return what is due after `for_s` seconds in this state, in a transaction of `transaction_s` seconds."""
    for name, whole, then in LIMITS[what]:
        limit_s = getattr(settings, name)
        if limit_s and (transaction_s if whole else for_s) > limit_s:
            return then
    return None


def timed_out(limit_s: float) -> RouterError:
    """Return the error for a query that was cancelled for query_timeout; PostgreSQL's own blames a user."""
    return RouterError(
        "canceling statement due to query timeout", sqlstate="57014",
        detail=f"It has run for longer than {limit_s:g} seconds (pool.query_timeout).",
    )  # fmt: skip


def last_words(reason: Due) -> RouterError:
    """Return the error with which a session ends for this reason, in PostgreSQL's words."""
    words, sqlstate = _LAST_WORDS[reason]
    return RouterError(f"terminating connection due to {words}", sqlstate=sqlstate, severity="FATAL")
