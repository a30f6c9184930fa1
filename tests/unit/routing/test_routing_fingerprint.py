"""Keys, rule by rule: what must look alike, what must not, and what is not normalized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType


def key(module: ModuleType, sql: str | bytes) -> bytes:
    raw = sql.encode() if isinstance(sql, str) else sql
    made: bytes = module.fingerprint(raw, 0, len(raw))
    return made


ALIKE = [
    ("SELECT 1", "select 2"),
    ("select 1", "  select\t\n1  -- end"),
    ("select 1", "/* app:web */select/* a /* nested */ b */7"),
    ("select a from t where b='x'", "SELECT A FROM T WHERE B = 'it''s'"),
    ("select 'x'", "select E'a\\'b'"),
    ("select 'x'", "select $$x$$"),
    ("select 'x'", "select $tag$ $$ $tagg$ ' -- $tag$"),
    ("select 'x', 1", "select 'a'\n'b', 1"),
    ("select 'x', 1", "select 'a' -- why\n -- not\n 'b', 1"),
    ("select E'x', 1", "select e'a'\n'\\'b', 1"),
    ("select a from t where b in (1)", "select a from t where b IN (1, 2,3)"),
    ("select a from t where b in ('x')", "select a from t where b in ('x', $$y$$)"),
    ("select 1.5", "select 1e10"),
    ("select 1.5", "select .5"),
    ("select 1.5", "select 99999999999"),
    ("select 2147483647", "select 0000000000001"),
    ("select b'1'", "select B'0101'"),
    ("select date '2020-01-01'", "select DATE'1999-12-31'"),
    ("select a.b", "select a . b"),
    ("select a+b", "select a + b"),
    ("select a\n--x\rfrom b", "select a from b"),
    ("/*NO LOAD BALANCE*/ select 1", "/* pgrouter:PRIMARY */ /* pgrouter: replica */ select 1"),
]

APART = [
    ("select a b", "select ab"),
    ("select 1 2", "select 12"),
    ("select - -1", "select --1\n1"),
    ("select a- -b", "select a--b\n"),
    ("select a / * b", "select a /* b */"),
    ("select a@ -b", "select a@-b"),
    ("select 1", "select 1.5"),
    ("select 2147483647", "select 2147483648"),
    ("select 1", "select '1'"),
    ("select 'a' 'b'", "select 'a'\n'b'"),
    ("select 'a' /* x */\n'b'", "select 'a' -- x\n'b'"),
    ("select $$a$$\n'b'", "select 'a'\n'b'"),
    ("select e 'x'", "select e'x'"),
    ("select b 'x'", "select b'1'"),
    ("select b'1'", "select x'1'"),
    ("select n 'x'", "select n'x'"),
    ("select x'a''a'", "select x'a'"),
    ("select n'a''a'", "select n'a' 'a'"),
    ('select "A"', 'select "a"'),
    ('select "a""b"', 'select "a" "b"'),
    ('select "a"', "select a"),
    ("select a$1", "select a $1"),
    ("select $1", "select $2"),
    ("select 1", "/* pgrouter: primary */ select 1"),
    ("/* pgrouter: replica */ select 1", "/* pgrouter: primary */ select 1"),
    ("select * from t where a in (1,2)", "select * from t where a in (1,'2')"),
    ("select min(1)", "select min(1, 2)"),
    ("select a in (a0)", "select a in (a0, 1)"),
    ('select "in"(1)', 'select "in"(1, 2)'),
    ("select xin(1)", "select xin(1, 2)"),
    ("select 1::float(5)", "select 1::float(99)"),
    ("select :a", "select a"),
    ("select a::b", "select a: :b"),
    ("select '\\'; delete from t; --'", "select 'x'"),
    ("/* /* */ select 1 */ delete from t", "/* */ select 1"),
]

WHOLE = [
    "select U&'d\\0061t'",
    "select U&\"d!0061t\" uescape '!'",
    "select 0x1f",
    "select 1_000",
    "select 1a",
    "select $1a",
    "select 1e5$1",
    "select a..5",
    "select $a",
    "select E'\\x41'",
    "select E'\\u0041'",
    "select 'open",
    "select E'open\\'",
    "select $$open$",
    'select "open',
    "select /* open /* */",
    "select \\",
    "select {",
    "select \0",
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_alike(fingerprint_module: ModuleType, one: str, other: str) -> None:
    assert key(fingerprint_module, one) == key(fingerprint_module, other)
    assert key(fingerprint_module, one)[:1] != b"\0"


@pytest.mark.parametrize(("one", "other"), APART)
def test_apart(fingerprint_module: ModuleType, one: str, other: str) -> None:
    assert key(fingerprint_module, one) != key(fingerprint_module, other)


@pytest.mark.parametrize("sql", WHOLE)
def test_not_normalized(fingerprint_module: ModuleType, sql: str) -> None:
    assert key(fingerprint_module, sql) == b"\0" + sql.encode()


def test_key_is_readable(fingerprint_module: ModuleType) -> None:
    sql = "SELECT a.b, 'x' FROM \"T\" AS a WHERE c >= $1 AND d IN (1, 2) AND e - -1.5 < 0 -- done"
    assert key(fingerprint_module, sql) == b"""select a.b,'from "T" as a where c>=$1 and d in(0)and e- -9<0"""


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("/*NO LOAD BALANCE*/ select 1", 1),
        ("-- x\n /* y */ /* pgrouter : primary */ select 1", 1),
        ("/*pgrouter:replica*/select 1", 2),
        ("/* pgrouter: replica */ /* pgrouter: primary */ select 1", 2),
        ("select 1 /* pgrouter: primary */", 0),
        ("/* pgrouter: elsewhere */ select 1", 0),
        ("/* pgrouter: primary, please */ select 1", 0),
        ("/* NO LOAD BALANCE", 0),
        ("", 0),
    ],
)
def test_hint(fingerprint_module: ModuleType, sql: str, hint: int) -> None:
    assert fingerprint_module.leading_hint(sql.encode(), 0, len(sql)) == hint


def test_looks_only_between_start_and_end(fingerprint_module: ModuleType) -> None:
    around = b"'xx select a /* yy"
    assert fingerprint_module.fingerprint(around, 4, 12) == b"select a"
    for end in range(len(around)):
        assert fingerprint_module.fingerprint(around, 0, end) == fingerprint_module.fingerprint(around[:end], 0, end)


def test_one_maker_makes_many_keys(fingerprint_module: ModuleType) -> None:
    maker = fingerprint_module.Fingerprinter()
    long = b"select " + b'a"b"' * 100_000
    assert maker.key(b"select 1", 0, 8) == b"select 0"
    assert maker.key(long, 0, len(long)) == b"select " + b'a "b" ' * 99_999 + b'a "b"'
    assert maker.key(b"select 1", 0, 8) == b"select 0"
    assert maker.key(b"", 0, 0) == b""
