"""The SQL that EXECUTE in PL/pgSQL builds, if everything inserted is quoted: then its kind is known. Pure.

`format('DROP TABLE %I', x)` or `'... ' || quote_ident(x) || ' = ' || quote_literal(y)` is the same statement whatever x
is: the text is returned with ANY_NAME for an identifier and a constant for a literal. Anything else that is computed
may be any SQL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgrouter.routing import parse
from pgrouter.routing.catalog import ANY_NAME
from pgrouter.routing.nodes import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.routing.bodies import Variables
    from pgrouter.routing.nodes import Node

_IDENTIFIER, _LITERAL, _NUMBER = f'"{ANY_NAME}"', "'x'", "1"
_QUOTING = {"quote_ident": _IDENTIFIER, "quote_literal": _LITERAL, "quote_nullable": _LITERAL}
_FORMAT = re.compile(r"%(?:(\d+)\$)?(-)?(\d+|\*(?:\d+\$)?)?(.)", re.DOTALL)
# Types whose values cannot change the meaning of the statement when they are inserted unquoted
_NUMBERS = ("int2", "int4", "int8", "oid", "bool")
_NAMES = ("regclass", "regtype", "regrole", "regnamespace", "regproc")


def text(expression: str, variables: Variables, types: Mapping[str, int]) -> str | None:
    """Return the SQL that an expression builds, None if it may be anything."""
    try:
        select = parse.statements(f"SELECT {expression}")[0]["SelectStmt"]
        return _Texts(variables, types).of(select["targetList"][0]["ResTarget"]["val"])
    except (parse.ParseError, LookupError, RecursionError):
        return None


class _Texts:
    def __init__(self, variables: Variables, types: Mapping[str, int]) -> None:
        self._variables = variables
        self._written = {types[name]: _NUMBER for name in _NUMBERS if name in types}
        self._written |= {types[name]: _IDENTIFIER for name in _NAMES if name in types}
        self._types = types

    def of(self, node: Node) -> str | None:
        """Return the text of an expression."""
        kind, content = next(iter(node.items()), ("", {}))
        if kind == "A_Const":
            return _constant(content)
        if kind in ("ColumnRef", "ParamRef"):
            return self._variable(kind, content)
        if kind == "TypeCast":
            return self._cast(content)
        if kind == "A_Expr" and names(content.get("name", [])) == ["||"] and "lexpr" in content:
            return _joined(self.of(content["lexpr"]), self.of(content["rexpr"]))
        if kind == "FuncCall":
            return self._call(names(content["funcname"]), content.get("args", []))
        return None

    def _variable(self, kind: str, content: Node) -> str | None:
        name = f"${content.get('number', 0)}" if kind == "ParamRef" else ".".join(names(content.get("fields", [])))
        known = self._variables.get(name, set())
        return self._written.get(next(iter(known)) or 0) if len(known) == 1 else None

    def _cast(self, content: Node) -> str | None:
        path = names(content.get("typeName", {}).get("names", []))
        if len(path) == 1 or path[:1] == ["pg_catalog"]:
            number = self._types.get(path[-1], 0)
            if number in self._written:
                return self._written[number]
            if path[-1] in ("text", "varchar"):
                return self.of(content.get("arg", {}))
        return None

    def _call(self, path: list[str], arguments: list[Node]) -> str | None:
        if len(path) > 1 and path[0] != "pg_catalog":
            return None
        if path[-1] in _QUOTING:
            return _QUOTING[path[-1]]
        if path[-1] == "format" and arguments:
            template = self.of(arguments[0])
            return None if template is None else self._format(template, arguments[1:])
        if path[-1] == "concat":
            return _joined(*map(self.of, arguments))
        return None

    def _format(self, template: str, arguments: list[Node]) -> str | None:
        made, at, following = "", 0, 0
        for found in _FORMAT.finditer(template):
            number, _, width, kind = found.groups()
            made += template[at : found.start()]
            at = found.end()
            if kind == "%":
                made += "%"
                continue
            position = int(number) - 1 if number else following
            following = position + 1
            if (width or "").startswith("*") or not 0 <= position < len(arguments):
                return None
            part = {"I": _IDENTIFIER, "L": _LITERAL}.get(kind)
            if part is None:
                part = self.of(arguments[position]) if kind == "s" else None
            if part is None:
                return None
            made += part
        return made + template[at:]


def _constant(content: Node) -> str | None:
    if "sval" in content:
        return str(content["sval"].get("sval", ""))
    if "ival" in content:
        return str(content["ival"].get("ival", 0))
    return None


def _joined(*parts: str | None) -> str | None:
    return None if None in parts else "".join(part for part in parts if part is not None)
