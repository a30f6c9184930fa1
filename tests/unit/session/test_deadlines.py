"""Which time limit has run out, as a table."""

from __future__ import annotations

import pytest

from pgrouter.config.settings import PoolSettings
from pgrouter.session.timeouts import Doing, Due, doing, due, last_words, limited

ALL = PoolSettings(query_timeout_s=2, idle_transaction_timeout_s=3, transaction_timeout_s=10, client_idle_timeout_s=60)
IDLE, IN_TRANSACTION, RUNNING = Doing.IDLE, Doing.IN_TRANSACTION, Doing.RUNNING


@pytest.mark.parametrize(
    ("owed", "idle", "at_sync", "what"),
    [
        (0, True, True, IDLE),  # between transactions
        (0, False, True, IN_TRANSACTION),
        (0, True, False, IN_TRANSACTION),  # executed and flushed: an implicit transaction is open
        (0, False, False, IN_TRANSACTION),
        (1, True, False, RUNNING),
        (3, False, False, RUNNING),
    ],
)
def test_doing(owed: int, idle: bool, at_sync: bool, what: Doing) -> None:  # noqa: FBT001
    assert doing(owed=owed, idle=idle, at_sync=at_sync) is what


@pytest.mark.parametrize(
    ("what", "for_s", "transaction_s", "then"),
    [
        (IDLE, 59, 1000, None),  # the last transaction is over, however long it was
        (IDLE, 61, 0, Due.END_IDLE),
        (IN_TRANSACTION, 2.9, 9, None),
        (IN_TRANSACTION, 3.1, 9, Due.END_IDLE_TRANSACTION),
        (IN_TRANSACTION, 1, 10.1, Due.END_TRANSACTION),
        (IN_TRANSACTION, 100, 100, Due.END_IDLE_TRANSACTION),
        (RUNNING, 1.9, 9, None),
        (RUNNING, 2.1, 9, Due.CANCEL),
        (RUNNING, 1, 10.1, Due.END_TRANSACTION),
        (RUNNING, 100, 100, Due.END_TRANSACTION),  # a cancel would be in vain
    ],
)
def test_due(what: Doing, for_s: float, transaction_s: float, then: Due | None) -> None:
    assert due(what, for_s, transaction_s, ALL) is then
    assert due(what, for_s, transaction_s, PoolSettings()) is None


def test_no_limits_is_the_default() -> None:
    assert not limited(PoolSettings())
    assert limited(ALL)
    assert limited(PoolSettings(client_idle_timeout_s=1))


@pytest.mark.parametrize(
    ("reason", "sqlstate"),
    [(Due.END_TRANSACTION, "25P04"), (Due.END_IDLE_TRANSACTION, "25P03"), (Due.END_IDLE, "57P05")],
)
def test_last_words_are_postgresqls(reason: Due, sqlstate: str) -> None:
    error = last_words(reason)
    assert (error.sqlstate, error.severity) == (sqlstate, "FATAL")
    assert error.message.startswith("terminating connection due to ")
