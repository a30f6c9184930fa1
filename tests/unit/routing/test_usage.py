"""What is counted of statements."""

from __future__ import annotations

import pytest

from pgrouter.routing.cache import StatementCache
from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Reason
from pgrouter.routing.usage import MOST, Usage, Usages


def cache(usages: Usages) -> StatementCache:
    return StatementCache(lambda text: classify(text.decode()), usages=usages)


def look_up(statements: StatementCache, text: bytes) -> Usage:
    return statements.lookup(text, 0, len(text)).verdict.usage


def test_statements_that_differ_in_literals_are_one() -> None:
    usages = Usages()
    statements = cache(usages)
    one = look_up(statements, b"select 1 from t where a = 'x'")
    assert look_up(statements, b"SELECT 2  from t where a = 'y' -- z") is one
    assert one.text == b"select 0 from t where a='"
    assert (one.target, one.reason) == ("replica", Reason.READ)
    assert look_up(statements, b"insert into t values (1)") is not one
    assert len(usages) == 2


def test_literals_are_in_no_text() -> None:
    usages = Usages()
    statements = cache(usages)
    one = look_up(statements, b"select set_config('a.b', 'secret', false)")
    two = look_up(statements, b"select set_config('a.c', 'hidden', false)")
    assert not [usage.text for usage in usages if b"secret" in usage.text or b"hidden" in usage.text]
    assert one is two
    assert one.text == b"(SELECT)"


def test_they_outlive_the_classes() -> None:
    usages = Usages()
    statements = cache(usages)
    text = b"select 1 from t"
    one = look_up(statements, text)
    statements.clear()
    assert look_up(statements, text) is one
    refused = statements.remember_refusal(text, 0, len(text))
    assert refused.verdict.usage is one
    assert (one.target, one.reason) == ("primary", Reason.LEARNED)
    assert look_up(cache(usages), text) is one  # another role's


def test_what_ran_least_is_dropped() -> None:
    usages = Usages(most=100)
    statements = cache(usages)
    kept = look_up(statements, b"select kept")
    kept.calls = 5
    for number in range(1000):
        look_up(statements, b"select c%d" % number)
    assert len(usages) <= 100
    assert kept in list(usages)
    assert usages.dropped >= 900
    assert MOST > 100


def test_long_texts_are_counted_by_their_beginning() -> None:
    usages = Usages()
    statements = cache(usages)
    head = b"select a, " + b"b, " * 1000
    assert look_up(statements, head + b"c") is look_up(statements, head + b"d")
    assert len(next(iter(usages)).text) < 1100


def test_without_usages_nothing_is_counted() -> None:
    statements = StatementCache(lambda text: classify(text.decode()))
    assert look_up(statements, b"select 1") is None


@pytest.mark.parametrize(("share", "at_most_s"), [(0.5, 0.001), (0.99, 0.2), (1.0, 2.0)])
def test_quantiles(share: float, at_most_s: float) -> None:
    usage = Usage(b"x", "", "")
    for took_s, times in ((0.0005, 900), (0.1, 99), (1.9, 1)):
        for _ in range(times):
            usage.add(took_s, False)
    assert usage.calls == 1000
    assert usage.longest_s == 1.9
    assert at_most_s / 2.1 < usage.quantile_s(share) <= at_most_s * 1.05
