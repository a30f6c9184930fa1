"""PostgreSQL's own parser, from libpg_query: the only module that calls it. Text -> trees (see nodes.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from pglast.parser import ParseError, parse_plpgsql_json, parse_sql_json, scan

if TYPE_CHECKING:
    from pgrouter.routing.nodes import Node

__all__ = ["ParseError", "plpgsql_functions", "scan", "statements"]

_decode = msgspec.json.Decoder().decode


def statements(text: str) -> list[Node]:
    """Return the statements of a text, each as {kind: content}; ParseError if the parser refuses it."""
    return [statement["stmt"] for statement in _decode(parse_sql_json(text))["stmts"]]


def plpgsql_functions(definition: str) -> list[dict[str, Any]]:
    """Return the PL/pgSQL functions in CREATE FUNCTION statements: their variables and actions, SQL in them as text."""
    return [function["PLpgSQL_function"] for function in _decode(parse_plpgsql_json(definition))]
