"""Which function or operator of a name may be meant: what shows of the types decides, doubt goes to the primary."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pgrouter.routing.catalog import Catalog, Overload
from pgrouter.routing.classify import classify
from pgrouter.routing.findings import Findings
from pgrouter.routing.parse import statements
from pgrouter.routing.statement import Target
from pgrouter.routing.tree import walk

if TYPE_CHECKING:
    from pgrouter.routing.bodies import Variables

TEXT, INT4, INT8, NUMERIC, PAIR, NOISY = 25, 23, 20, 1700, 16400, 16401
WRITES = "volatile function"

CATALOG = Catalog(
    functions={
        "lower": (Overload(1, 1, WRITES, (PAIR,)),),
        "abs": (Overload(1, 1, WRITES, (TEXT,)),),
        "upper": (Overload(1, 1, WRITES, (TEXT,)),),
        "f": (Overload(1, 1, WRITES, (INT4,)), Overload(1, 1, "", (TEXT,))),
        "checked": (Overload(1, 1, WRITES, (NOISY,)),),
        "many": (Overload(0, 9, WRITES, (1007,)),),
    },
    operators={"||": (Overload(2, 2, WRITES, (INT4, INT4)),), "@-@": (Overload(1, 1, WRITES, (INT4,)),)},
    rivals={
        "lower": ((TEXT,), (3831,)),
        "upper": ((TEXT,),),
        "abs": ((INT4,), (INT8,), (NUMERIC,), (701,)),
        "||": ((TEXT, TEXT), (2277, 5077), (TEXT, 2776), (2776, TEXT)),
    },
    relations={"t": "", "u": ""},
    columns={"t": {"id": INT4, "name": TEXT, "p": PAIR}, "u": {"id": INT8}},
    type_numbers={"int4": INT4, "text": TEXT, "int8": INT8, "numeric": NUMERIC, "_int4": 1007},
    arrays=frozenset({1007}),
    implicit=frozenset({(INT4, INT8), (INT4, NUMERIC), (INT4, NOISY)}),
    builtins_first=True,
    complete=True,
)


@pytest.mark.parametrize("sql", [
    "select lower('A'), lower(name) from t",
    "select abs(-1), abs(1.5), abs(3000000000), abs(id) from t",
    "select upper('a'), upper(name) from t",  # the built-in one has the same types and comes first
    "select f('x'::text), f(name) from t",
    "select 'a' || 'b', name || 'x' from t",
    "select array[1, 2] || 3",
])  # fmt: skip
def test_the_other_one_is_meant(sql: str) -> None:
    statement = classify(sql, CATALOG)
    assert statement.target is Target.REPLICA, statement.cause


@pytest.mark.parametrize("sql", [
    "select lower(p) from t",
    "select lower(row(1)::pair)",
    "select lower(x) from (select p as x from t) s",
    "select lower(name) from (select p as name from t) s, t",
    "with name as (select 1) select lower(name) from name, t",
    "select lower(name) from t as x(name)",
    "select abs('x')",  # only the user's takes a string
    "select abs(name) from t",
    "select f(1), f(id) from t",
    "select f(id) from t, u",  # two of that name
    "select f($1)",
    "select f(g(1))",
    "select 1 || 2",
    "select '7' || 1",
    "select id || id from t",
    "select @-@ 1",
    "select checked(1)",
    "select many(1, 2)",
    "select lower(name) from t name",  # the whole row, if there is no such column
])  # fmt: skip
def test_what_writes_may_be_meant(sql: str) -> None:
    assert classify(sql, CATALOG).target is Target.PRIMARY


VARIABLES: Variables = {
    "x": {INT4}, "name": {TEXT}, "r": {None}, "r.": {None}, "r.name": {TEXT}, "u": {TEXT}, "p": {INT4},
}  # fmt: skip


@pytest.mark.parametrize(("sql", "writes"), [
    ("select lower(name)", False),
    ("select lower(r.name)", False),
    ("select f(x)", True),
    ("select x || 1", True),
    ("select name || 'x'", False),
    ("select lower(r.other)", True),
    ("select lower(u) from t", False),
    ("select lower(u) from u", True),  # its row
    ("select lower(u) from t u", True),
    ("select lower(r.name) from t r", True),  # another r
    ("select lower(p) from t", True),  # a variable or a column
])  # fmt: skip
def test_variables_of_a_body_are_like_columns(sql: str, writes: bool) -> None:  # noqa: FBT001
    found = Findings(CATALOG, VARIABLES)
    walk(statements(sql)[0], found)
    assert bool(found.blamed) is writes


def test_where_pg_catalog_does_not_come_first_an_equal_wins() -> None:
    assert classify("select upper(name) from t", replace(CATALOG, builtins_first=False)).target is Target.PRIMARY
