"""Laws of the classification: what must not change a route, and what is never a read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pglast.parser import ParseError, parse_sql_json, scan

from pgrouter.routing import builtins
from pgrouter.routing.catalog import UNKNOWN, Catalog, Overload
from pgrouter.routing.classify import classify
from pgrouter.routing.fingerprint import fingerprint
from pgrouter.routing.functions import is_builtin, is_system_relation
from pgrouter.routing.statement import Reason, Statement, Target

STATEMENTS = [
    "select a, 'b', 1 from t where c = 'd' and e in (1, 2, 3) limit 10",
    "select lower('x') || E'y\\'z', 1.5, $1::int, interval '1 day' from s.t",
    "select nextval('s'), 5",
    "select app.f(1, 'x')",
    "select * from t where a = 'x' for update",
    "with w as (delete from t where a = 1 returning *) select count(*) from w",
    "select set_config('a.b', 'c', false)",
    "select current_setting('work_mem'), current_setting('port')",
    "select a ### 1, b like 'x%' from t",
    "select date '2020-01-01', 'x'::mood, B'1', X'ff', N'n', $$d$$",
    "insert into t values (1, 'a'), (2, 'b')",
    "update t set a = 'x' where b = 1.5",
    "copy (select 1, 'x') to stdout",
    "copy t to '/tmp/f'",
    "explain (analyze, costs false) select 1",
    "explain (analyze 'false') insert into t values (1)",
    "begin read only; select 1; commit",
    "set work_mem = '1MB'",
    "set search_path = 'a', \"B\"",
    "set transaction_read_only = 'on'",
    "show port",
    "fetch 5 from c",
    "declare c cursor with hold for select 'x'",
    "prepare p as select $1, 'x'",
    "execute p('x', 1)",
    "notify c, 'payload'",
    "do $body$ begin perform 1; end $body$",
    "create temp table t (a varchar(10) default 'x', b float(5))",
    "select pg_stat_get_live_tuples(1) from pg_class where relname = 'x'",
    "/* pgrouter: primary */ select 'x'",
    "/* pgrouter: replica */ select my_function('x', 1)",
    "select ts_rewrite('a'::tsquery, 'b'::tsquery, 'c'::tsquery)",
    "select query_to_xml('select 1', true, false, '')",
    "select * from t where a between 1 and 2 order by 1 offset 3",
    "select g(1), g(b) from t where b = 'x'",
    "select * from w",
    "lock table t in share mode",
    "prepare transaction 'g'",
]
LITERALS = {
    "SCONST": ["''", "'x'", "'it''s'", "'; drop table t; --'", "$q$ ' $q$", "E'\\''", "'true'", "'port'", "'/* '"],
    "ICONST": ["0", "1", "42", "2147483647"],
    "FCONST": ["0.5", "1e3", "99999999999"],
}
# What is known: tables, views, functions that read and that write, one that is both, by its arguments
KNOWN = Catalog(
    functions={
        "app.f": (Overload(2, 2, ""),),
        "my_function": (Overload(2, 2, "volatile function"),),
        "lower": (Overload(1, 1, "volatile function", (16400,)),),
        "g": (Overload(1, 1, "volatile function", (23,)), Overload(1, 1, "", (25,))),
    },
    operators={"###": (Overload(2, 2, ""),)},
    relations={"t": "", "s.t": "", "w": "volatile function"},
    only={"t": "", "s.t": "", "w": "volatile function"},
    types={"mood": ""},
    rivals={"lower": ((25,),)},
    columns={"t": {"a": 23, "b": 25, "x": 25}, "s.t": {}},
    builtins_first=True,
    complete=True,
)
KNOWN_CALLS = {"f", "g", "my_function", "mood"}  # functions of it, and a type that may be written as one
CATALOGS = st.sampled_from([UNKNOWN, KNOWN])
GAPS = [" ", "\n", "\t", " /* x */ ", " -- y\n", "/* '/* */ */"]
ADDED = st.sampled_from(["", " ", "'", "''", "--", "/*", "*/", "1", "x", "(", ";", "$$"])
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), ADDED), max_size=3)


def timeless(statement: Statement) -> Statement:
    """Give the statement without what belongs to one text."""
    return replace(statement, position=-1)


def key(sql: str) -> bytes:
    raw = sql.encode()
    return fingerprint(raw, 0, len(raw))


@st.composite
def rewritten(draw: st.DrawFn, *, literals: bool) -> tuple[str, str]:
    """Draw a statement and its twin: other space, comments, case, and (where asked) other literals of the same kind."""
    sql = draw(st.sampled_from(STATEMENTS))
    hint = sql[: sql.index("*/") + 2] if sql.startswith("/*") else ""
    twin = hint
    for token in scan(sql):
        if token.name in ("C_COMMENT", "SQL_COMMENT"):
            continue
        text = sql[token.start : token.end + 1]
        if token.name in LITERALS:
            text = draw(st.sampled_from(LITERALS[token.name])) if literals else text
            if twin.endswith("N") and not text.startswith("'"):
                text = "'n'"  # N$$ or NE'' would begin with a name
        elif token.name not in ("BCONST", "XCONST", "NCHAR", "PARAM") and text[0] not in "\"'":
            text = draw(st.sampled_from([text, text.upper(), text.title()]))
        twin += text if token.name == "NCHAR" else text + draw(st.sampled_from(GAPS))
    return sql, twin


@settings(max_examples=400, deadline=None)
@given(rewritten(literals=False), CATALOGS)
def test_comments_case_and_space_change_nothing(pair: tuple[str, str], catalog: Catalog) -> None:
    sql, twin = pair
    one, two = classify(sql, catalog), classify(twin, catalog)
    assert timeless(one) == timeless(two)


@settings(max_examples=400, deadline=None)
@given(rewritten(literals=True), CATALOGS)
def test_literals_change_nothing_that_has_one_key(pair: tuple[str, str], catalog: Catalog) -> None:
    sql, twin = pair
    one, two = classify(sql, catalog), classify(twin, catalog)
    if key(sql) == key(twin):
        assert one.literal_sensitive == two.literal_sensitive or Target.ERROR in (one.target, two.target)
        if not one.literal_sensitive and not two.literal_sensitive:
            assert timeless(one) == timeless(two)
    assert one.literal_sensitive or two.literal_sensitive or one.target is two.target


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(STATEMENTS), EDITS, EDITS, CATALOGS)
def test_one_key_one_classification(
    sql: str, edits: list[tuple[float, int, str]], more: list[tuple[float, int, str]], catalog: Catalog
) -> None:
    one, two = edited(sql, edits), edited(sql, more)
    if key(one) == key(two):
        first, second = classify(one, catalog), classify(two, catalog)
        if not first.literal_sensitive and not second.literal_sensitive:
            assert timeless(first) == timeless(second)


def edited(sql: str, edits: list[tuple[float, int, str]]) -> str:
    for where, removed, piece in edits:
        at = int(where * len(sql))
        sql = sql[:at] + piece + sql[at + removed :]
    return sql


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(STATEMENTS), EDITS)
def test_what_does_not_parse_is_never_a_read(sql: str, edits: list[tuple[float, int, str]]) -> None:
    text = edited(sql, edits)
    try:
        parse_sql_json(text)
    except ParseError:
        assert classify(text).target is Target.ERROR
    else:
        assert classify(text).target is not Target.ERROR


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True)


@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES)
def test_a_function_of_an_unknown_schema_is_never_a_read(schema: str, name: str) -> None:
    found = classify(f'select "my_{schema}"."{name}"(1)')
    assert (found.target, found.reason) == (Target.PRIMARY, Reason.UNKNOWN_FUNCTION)


OPERATORS = st.from_regex(r"[~!@#^&|?<>%*=]{1,8}", fullmatch=True)
# Where a read may have a name: of a function, a relation, a type, an operator
PLACES = [
    ("function", "select {}('x')"),
    ("function", "select a from t where {}(a, b) > 1"),
    ("function", "select * from {}(1, 2) as x(y)"),
    ("function", "select count(*) from t group by a having {}(max(b)) order by a"),
    ("function", "with v as materialized (select {}() as c) select * from v, t"),
    ("function", "copy (select {}(a) from t) to stdout"),
    ("function", "explain select sum(a) filter (where {}(b)) over (partition by a) from t"),
    ("function", "select case when a = 1 then {}(b) end from t limit 5"),
    ("relation", "select * from {}"),
    ("relation", "select a from t where exists (select from {} where true)"),
    ("relation", "select a from t union all table {}"),
    ("relation", "select a from t left join lateral (select 1 from only {}) x on true"),
    ("relation", "with v as (select 1) select * from v, (select * from {}) y"),
    ("type", "select '1'::{}"),
    ("type", "select cast(a as {}[]) from t"),
    ("type", "select * from json_to_record('{{}}') as x(y {})"),
    ("operator", "select a {} b from t"),
    ("operator", "select {} 1"),
    ("operator", "select a from t order by b using {}"),
    ("operator", "select a {} any (array[1, 2]) from t"),
]


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(["", "app.", "s."]), NAMES, OPERATORS)
def test_what_the_catalog_does_not_know_is_never_a_read(
    place: tuple[str, str], schema: str, name: str, operator: str
) -> None:
    kind, template = place
    sql = template.format(operator if kind == "operator" else f'{schema}"{name}"')
    known = {
        "function": (name in builtins.TYPES or is_builtin(name)) and not schema,
        "relation": name in ("t", "v") or is_system_relation("", name),
        "type": (name.lstrip("_") in builtins.TYPES and not schema) or name == "mood",
        "operator": operator in builtins.OPERATORS | {"###", "=>", "!="},  # which is <>
    }
    if not known[kind] and not (kind == "function" and name in KNOWN_CALLS):
        assert classify(sql, KNOWN).target is not Target.REPLICA, sql


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_classified(sql: str | bytes) -> None:
    found = classify(sql)
    assert found.target is not Target.REPLICA or found.reason in (Reason.READ, Reason.EMPTY)
