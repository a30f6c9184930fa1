"""What a pool refuses, as a table, and the words for it."""

from __future__ import annotations

import pytest

from pgrouter.config.settings import PoolSettings
from pgrouter.protocol.messages import read_error
from pgrouter.routing.classify import classify
from pgrouter.session.leftovers import WORDS, words
from pgrouter.session.refusals import (
    ANSWERS,
    BLOCKS,
    INSTEAD,
    NO_SEQUENCES,
    OLD_PLAN,
    PINNING,
    REFUSALS,
    forbidden_by,
    refusal_of,
)

CASES = [
    ("create temp table t (i int)", "temporary object"),
    ("listen news", "LISTEN"),
    ("declare c cursor with hold for select 1", "WITH HOLD cursor"),
    ("prepare p as select 1", "PREPARE"),
    ("select pg_advisory_lock(1)", "advisory lock"),
    ("load 'auto_explain'", "session state"),
    ("select 1; create temp table t (i int); select 2", "temporary object"),
    ("select 1", ""),
    ("set work_mem = '7MB'", ""),
    ("select pg_advisory_xact_lock(1)", ""),
    ("declare c cursor for select 1", ""),
    ("begin", ""),
    ("discard all", ""),
]


def words_of(number: int) -> str:
    return [*WORDS.values()][number - 1] if 0 < number <= len(WORDS) else ""


@pytest.mark.parametrize(("sql", "state"), CASES, ids=[sql for sql, _ in CASES])
def test_what_pins_is_refused_where_pins_are_errors(sql: str, state: str) -> None:
    statement = classify(sql)
    assert (words(statement.effects) or "") == state
    assert words_of(refusal_of(statement, PINNING)) == state
    assert refusal_of(statement, 0) == 0


@pytest.mark.parametrize(
    ("sql", "refused"),
    [
        ("begin", True),
        ("start transaction read only", True),
        ("begin isolation level serializable", True),
        ("commit; begin", True),
        ("begin; select 1; commit", False),
        ("commit", False),
        ("savepoint s", False),
        ("select 1", False),
        ("create temp table t (i int)", False),
    ],
)
def test_statement_mode_refuses_what_leaves_a_transaction_open(sql: str, refused: bool) -> None:  # noqa: FBT001
    number = refusal_of(classify(sql), BLOCKS)
    assert bool(number) is refused
    if refused:
        assert REFUSALS[number].message == "transaction blocks not allowed in statement pooling mode"


@pytest.mark.parametrize(
    ("settings", "forbidden"),
    [
        (PoolSettings(), 0),
        (PoolSettings(pins="error"), PINNING),
        (PoolSettings(mode="statement"), BLOCKS),
        (PoolSettings(mode="statement", pins="error"), PINNING | BLOCKS),
        (PoolSettings(mode="session", pins="error"), 0),
    ],
)
def test_what_a_pool_forbids(settings: PoolSettings, forbidden: int) -> None:
    assert forbidden_by(settings) == forbidden


def test_every_refusal_has_its_words() -> None:
    assert len(REFUSALS) == len(ANSWERS) == len(INSTEAD) == OLD_PLAN + 1
    for error, answer, text in zip(REFUSALS[1:OLD_PLAN], ANSWERS[1:OLD_PLAN], INSTEAD[1:OLD_PLAN], strict=True):
        wanted = "55000" if error is REFUSALS[NO_SEQUENCES] else "0A000"
        assert (error.severity, error.sqlstate) == ("ERROR", wanted)
        assert error.hint
        assert error.message.encode() in answer
        assert classify(text.decode()).reason == "does not parse"


def test_a_changed_result_is_refused_as_postgresql_does() -> None:
    assert classify(INSTEAD[OLD_PLAN].decode()).reason == "does not parse"
    fields = read_error(ANSWERS[OLD_PLAN][5:])
    assert (fields["S"], fields["C"], fields["R"]) == ("ERROR", "0A000", "RevalidateCachedQuery")
    assert fields["M"] == "cached plan must not change result type"
