"""SQL that is passed to a function as a constant string: crosstab('SELECT ...')."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.routing import parse
from pgrouter.routing.nodes import literal

if TYPE_CHECKING:
    from pgrouter.routing.nodes import Node

# function -> arguments that are queries; the others are data
_QUERIES = {
    **dict.fromkeys(("query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "ts_stat"), (0,)),
    **dict.fromkeys(("crosstab", "crosstab2", "crosstab3", "crosstab4"), (0, 1)),
}
# functions whose first argument is the name of a relation
_TABLES = frozenset({"table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema"})


def queries(name: str, arguments: list[Node]) -> list[Node] | None:
    """Return the queries that a call runs, None if they cannot be known."""
    if name in _TABLES:
        texts = [_table(argument) for argument in arguments[:1]]
    else:
        texts = [literal(argument) for at, argument in enumerate(arguments) if at in _QUERIES.get(name, ())]
    found: list[Node] = []
    for text in texts:
        if not isinstance(text, str):
            return None
        try:
            found += parse.statements(text)
        except parse.ParseError:
            return None
    return found if found and all("SelectStmt" in query for query in found) else None


def _table(argument: Node) -> str | None:
    name = literal(argument)
    return f"TABLE {name}" if isinstance(name, str) else None
