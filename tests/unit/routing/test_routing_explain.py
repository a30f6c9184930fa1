"""EXPLAIN ROUTE and SHOW pgrouter.lsn: what the cache takes for one of them is told to be one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.routing.classify import classify
from pgrouter.routing.explain import asked_for, asks_position
from pgrouter.routing.fingerprint import fingerprint
from pgrouter.routing.statement import Effect

BLANKS = st.lists(st.sampled_from([" ", "\n\t", "/* why */", "/**/", "/* * / ** */", "-- so\n", "--\r"]), max_size=4)


def key(text: bytes) -> bytes:
    return fingerprint(text, 0, len(text))


@given(BLANKS, BLANKS, BLANKS)
def test_blanks_and_comments_count_for_nothing(before: list[str], between: list[str], behind: list[str]) -> None:
    text = f"{''.join(before)}Explain {''.join(between)}ROUTE{''.join(behind)} select 1".encode()
    assert key(text) == key(b"explain route select 1")
    assert (asked_for(text) or b"").endswith(b"select 1")
    assert classify(text).effects & Effect.INSTEAD
    text = f"{''.join(before)}SHOW {''.join(between)}pgrouter.Lsn{''.join(behind)}".encode()
    assert key(text) == key(b"show pgrouter.lsn")
    assert asks_position(text)
    assert classify(text).effects & Effect.INSTEAD


@pytest.mark.parametrize(
    "text",
    [
        b"explain route", b"explainroute select 1", b"explain router select 1", b"explain route1 select",
        b"explain route$ select 1", b"explain select 1", b"explain /* route select 1", b"-- \rexplain select 1",
        b"/* explain route select 1 */ select 2", b"show pgrouter.lsns", b"showpgrouter.lsn", b"show pgrouter.lsn x",
    ],
)  # fmt: skip
def test_what_is_neither(text: bytes) -> None:
    assert asked_for(text) is None
    assert not asks_position(text)
    assert not classify(text).effects & Effect.INSTEAD


def test_what_begins_like_a_comment_takes_no_time() -> None:
    assert asked_for(b"/*" * 50_000) is None
    assert asked_for(b"/**/" * 50_000) is None
    assert asked_for(b"-- \n" * 50_000 + b"explain rout") is None
