"""The cache: one parse per key, bounded memory, statements in use survive a flood."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Effect, Reason, Statement, Target

if TYPE_CHECKING:
    from types import ModuleType


class Parser:
    """The real classification, counted."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []

    def __call__(self, text: bytes) -> Statement:
        self.texts.append(text)
        return classify(text)


@pytest.fixture
def parser() -> Parser:
    return Parser()


def look(cache: Any, sql: str | bytes, **more: bool) -> Statement:
    raw = sql.encode() if isinstance(sql, str) else sql
    found: Statement = cache.lookup(b"((" + raw + b"))", 2, 2 + len(raw), **more)
    return found


def test_new_literals_are_not_parsed_again(cache_module: ModuleType, parser: Parser) -> None:
    cache = cache_module.StatementCache(parser)
    first = look(cache, "select a from t where b = 1")
    assert look(cache, "SELECT a FROM t\nWHERE b=22 -- x") is first
    assert first.target is Target.REPLICA
    assert parser.texts == [b"select a from t where b = 1"]
    assert (cache.hits, cache.misses, cache.size, cache.evictions) == (1, 1, 1, 0)


def test_where_a_literal_matters_the_text_is_the_key(cache_module: ModuleType, parser: Parser) -> None:
    cache = cache_module.StatementCache(parser)
    for _ in range(2):
        assert look(cache, "select set_config('work_mem', '2MB', true)").effects == 0
        assert look(cache, "select set_config('work_mem', '2MB', false)").effects == Effect.SETTINGS
        assert look(cache, "select current_setting('port')").target is Target.PRIMARY
        assert look(cache, "select current_setting('work_mem')").target is Target.REPLICA
        assert look(cache, "set work_mem = '2MB'").settings[0].value == "2MB"
        assert look(cache, "set work_mem = '3MB'").settings[0].value == "3MB"
    assert len(parser.texts) == 6


def test_an_error_in_a_literal_is_not_the_keys(cache_module: ModuleType, parser: Parser) -> None:
    cache = cache_module.StatementCache(parser)
    for _ in range(2):
        assert look(cache, "select 1 from t limit 1 1").target is Target.ERROR
        assert look(cache, "fetch 99999999999 from c").target is Target.ERROR
        assert look(cache, "fetch 1 from c").target is Target.SESSION


def test_long_statements_are_not_parsed(cache_module: ModuleType, parser: Parser) -> None:
    cache = cache_module.StatementCache(parser, max_parsed_bytes=100)
    found = look(cache, "select '" + "x" * 100 + "'")
    assert (found.target, found.reason, found.effects & Effect.OTHER_STATE) == (
        Target.PRIMARY,
        Reason.TOO_LONG,
        Effect.OTHER_STATE,
    )
    assert parser.texts == []


@pytest.mark.parametrize("sql", [b"select '\\''; delete from t; --'", b"select '\x95\\'"])
def test_unusual_strings_are_the_primarys(cache_module: ModuleType, parser: Parser, sql: bytes) -> None:
    cache = cache_module.StatementCache(parser)
    assert look(cache, sql).target is Target.REPLICA
    assert look(cache, sql, unusual_strings=True).reason == Reason.LEXING
    assert look(cache, sql, unusual_strings=True).target is Target.PRIMARY
    assert look(cache, "select 'x'", unusual_strings=True).target is Target.REPLICA


def test_what_a_replica_refused_stays_on_the_primary(cache_module: ModuleType, parser: Parser) -> None:
    cache = cache_module.StatementCache(parser)
    sql = b"select a from v where b = 1"
    assert look(cache, sql).target is Target.REPLICA
    assert cache.remember_refusal(sql, 0, len(sql)).reason == Reason.LEARNED
    assert look(cache, "select a from v where b = 2").target is Target.PRIMARY
    cache.clear()
    assert cache.size == 0
    assert look(cache, "select a from v where b = 3").reason == Reason.LEARNED
    assert look(cache, "select a from w where b = 3").target is Target.REPLICA


def test_texts_known_by_heart_are_what_they_would_be_anyhow(cache_module: ModuleType, parser: Parser) -> None:
    cache = cache_module.StatementCache(parser)

    def again(sql: bytes, **more: bool) -> Statement:
        found: Statement = cache.lookup_again(b"((" + sql + b"))", 2, 2 + len(sql), **more)
        return found

    texts = [b"select a from t where b = $1", b"update t set a = $1", b"select '\\'", b"", b"select 1" + b" " * 2000]
    texts += [b"select %d" % i for i in range(5000)]  # many more than are known by heart, of the same length
    for _ in range(2):
        for sql in texts:
            assert again(sql) is again(sql) is look(cache, sql)
    assert again(b"update t set a = $1").target is Target.PRIMARY
    assert again(b"select '\\'", unusual_strings=True).reason == Reason.LEXING
    assert again(texts[0]).target is Target.REPLICA
    cache.remember_refusal(texts[0], 0, len(texts[0]))
    assert again(texts[0]).reason == Reason.LEARNED


def test_a_flood_neither_grows_nor_pushes_out_what_is_used(cache_module: ModuleType, parser: Parser) -> None:
    limit = 1 << 20
    cache = cache_module.StatementCache(parser, max_bytes=limit)
    used = "select balance from accounts where id = 1"
    for i in range(6_000):
        look(cache, f"table t{i}")
        if i % 100 == 0:
            look(cache, used)
    assert [text for text in parser.texts if text == used.encode()] == [used.encode()]
    assert cache.used_bytes <= limit
    assert cache.evictions > 1000
    assert cache.size < 3000


def test_estimated_memory_is_not_below_the_real(cache_module: ModuleType) -> None:
    cache = cache_module.StatementCache(classify, max_bytes=64 << 20)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for i in range(2_000):
            look(cache, f"select a{i}, lower(b), f{i}(c), (table t{i}), (table u)")
            look(cache, f"set a.b{i} = 'c'")
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= cache.used_bytes
    assert cache.used_bytes < 3 * taken


def test_a_huge_statement_is_not_kept(cache_module: ModuleType, parser: Parser) -> None:
    cache = cache_module.StatementCache(parser, max_bytes=1 << 20)
    huge = "select " + ", ".join(f"a{i}" for i in range(20_000))
    assert look(cache, huge).target is Target.REPLICA
    assert cache.size == 0
