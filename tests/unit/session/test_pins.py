"""What a pool refuses, as a table, and the words for it."""

from __future__ import annotations

import pytest

from pgrouter.config.settings import Pool
from pgrouter.routing.classify import classify
from pgrouter.session.pins import ANSWERS, BLOCKS, INSTEAD, NO_SEQUENCES, PINNING, REFUSALS, forbidden_by, refusal_of
from pgrouter.session.remains import WORDS, words

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
        (Pool(), 0),
        (Pool(pins="error"), PINNING),
        (Pool(mode="statement"), BLOCKS),
        (Pool(mode="statement", pins="error"), PINNING | BLOCKS),
        (Pool(mode="session", pins="error"), 0),
    ],
)
def test_what_a_pool_forbids(settings: Pool, forbidden: int) -> None:
    assert forbidden_by(settings) == forbidden


def test_every_refusal_has_its_words() -> None:
    assert len(REFUSALS) == len(ANSWERS) == len(INSTEAD) == len(WORDS) + 7
    for error, answer, text in zip(REFUSALS[1:], ANSWERS[1:], INSTEAD[1:], strict=True):
        wanted = "55000" if error is REFUSALS[NO_SEQUENCES] else "0A000"
        assert (error.severity, error.sqlstate) == ("ERROR", wanted)
        assert error.hint
        assert error.message.encode() in answer
        assert classify(text.decode()).reason == "does not parse"
