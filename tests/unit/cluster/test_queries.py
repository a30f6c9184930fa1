"""What the router asks with its own role names nothing that a user could have put something else behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind

from pgrouter.cluster.probe import QUERY as PROBE
from pgrouter.control.catalog_reader import DIGEST
from pgrouter.control.catalog_reader import QUERY as CATALOG

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTIONS = {"probe": PROBE.decode(), "catalog": CATALOG, "digest": DIGEST}
# Comparisons that look for their operators along search_path, however they are written
IMPLICIT = {
    A_Expr_Kind.AEXPR_IN, A_Expr_Kind.AEXPR_LIKE, A_Expr_Kind.AEXPR_ILIKE, A_Expr_Kind.AEXPR_SIMILAR,
    A_Expr_Kind.AEXPR_BETWEEN, A_Expr_Kind.AEXPR_NOT_BETWEEN, A_Expr_Kind.AEXPR_BETWEEN_SYM,
    A_Expr_Kind.AEXPR_NOT_BETWEEN_SYM, A_Expr_Kind.AEXPR_DISTINCT, A_Expr_Kind.AEXPR_NOT_DISTINCT,
    A_Expr_Kind.AEXPR_NULLIF,
}  # fmt: skip


def nodes(value: object) -> Iterator[ast.Node]:
    if isinstance(value, tuple):
        for each in value:
            yield from nodes(each)
    elif isinstance(value, ast.Node):
        yield value
        for name in value:
            yield from nodes(getattr(value, name))


def unqualified(sql: str) -> list[str]:
    """Name all that is looked up along search_path."""
    return [found for node in nodes(parse_sql(sql)) if (found := _unqualified(node))]


def _unqualified(node: ast.Node) -> str:  # noqa: PLR0911
    match node:
        case ast.RangeVar():
            return "" if node.schemaname == "pg_catalog" else f"relation {node.relname}"
        case ast.FuncCall():
            return _names(node.funcname, "function")
        case ast.TypeName():
            return _names(node.names, "type")
        case ast.A_Expr():
            return "implicit operator" if node.kind in IMPLICIT else _names(node.name, "operator")
        case ast.SubLink() if node.testexpr is not None:
            return _names(node.operName, "operator") if node.operName else "IN (SELECT ...)"
        case ast.SortBy() if node.useOp:
            return _names(node.useOp, "operator")
        case ast.CaseExpr() if node.arg is not None:
            return "CASE with an argument"
        case ast.JoinExpr() if node.usingClause or node.isNatural:
            return "USING"
        case ast.CollateClause():
            return _names(node.collname, "collation")
    return ""


def _names(names: tuple[ast.String, ...], kind: str) -> str:
    parts = [name.sval for name in names]
    return "" if len(parts) == 2 and parts[0] == "pg_catalog" else f"{kind} {'.'.join(parts)}"


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_name_is_qualified(name: str) -> None:
    assert unqualified(QUESTIONS[name]) == []


@pytest.mark.parametrize(
    "sql",
    [
        "select f(1)",
        "select 1 from t",
        "select 1 = 2",
        "select 'a'::text",
        "select 1 in (1)",
        "select 1 in (select 1)",
        "select 'a' like 'b'",
        "select 1 between 1 and 2",
        "select case 1 when 2 then 3 end",
        "select from pg_catalog.a join pg_catalog.b using (x)",
        "select from pg_catalog.a natural join pg_catalog.b",
        "select 1 is distinct from 2",
        "select nullif(1, 2)",
        "select -(pg_catalog.f(1))",
    ],
)
def test_what_is_not_is_found(sql: str) -> None:
    assert unqualified(sql)
