"""What a text weighs, told before it is parsed; and what a cache does with what is too heavy."""

from __future__ import annotations

import pytest

from pgrouter.routing.cache import LONG, UNREAD, StatementCache
from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Effect, Target
from pgrouter.routing.weight import weigh


@pytest.mark.parametrize("unit", [b"select 1;", b"(", b"a.", b" or x=1", b",(1,'a')", b"- "])
def test_the_weight_grows_with_the_text(unit: bytes) -> None:
    one, two = (weigh(unit * number, 0, len(unit) * number, 1 << 30) for number in (1000, 2000))
    assert 1000 <= one <= 10000
    assert abs(two - 2 * one) < 20


def test_a_run_of_signs_weighs_its_square() -> None:
    assert weigh(b"+" * 100000, 0, 100000, 1 << 30) > 10_000_000


def test_counting_ends_at_the_limit() -> None:
    assert 100 < weigh(b"1,", 0, 2, 0) + weigh(b"1," * 1000, 0, 2000, 100) < 120


def test_what_nobody_can_read_in_time_is_read_by_nobody() -> None:
    cache = StatementCache(classify)
    text = b"select " + b"+" * 200000 + b"1"
    assert cache.lookup(text, 0, len(text)) is LONG
    assert LONG.target is Target.PRIMARY
    assert LONG.effects & Effect.CODE


def test_a_reader_gets_what_is_heavy() -> None:
    cache = StatementCache(classify)
    cache.has_reader = True
    text = b"select 1;" * 1000
    assert cache.lookup(text, 0, len(text)) is UNREAD
    assert cache.wanted == text
    cache.learn(text, classify(text))
    assert cache.lookup(text, 0, len(text)).target is Target.REPLICA


def test_when_it_is_late_only_what_is_known_is_told() -> None:
    late = [False]
    cache = StatementCache(classify, late=lambda: late[0])
    known = cache.lookup(b"select 1", 0, 8)
    late[0] = True
    assert cache.lookup(b"select 1", 0, 8) is known
    assert cache.lookup(b"select a", 0, 8) is UNREAD
    assert cache.wanted is None
    assert cache.lookup_now(b"select a", 0, 8).target is Target.REPLICA
    assert cache.lookup(b"select a", 0, 8).target is Target.REPLICA
