"""A parse tree as libpg_query's JSON: helpers for everything that reads one."""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]


def names(parts: list[Node]) -> list[str]:
    """Return the strings of a qualified name."""
    return [part["String"].get("sval", "") for part in parts if "String" in part]


def literal(node: Node) -> str | bool | None:
    """Return the value of a constant (a string, also inside a cast; a boolean), None for anything else."""
    if "TypeCast" in node:
        return literal(node["TypeCast"].get("arg", {}))
    constant = node.get("A_Const")
    if constant is None or constant.get("isnull"):
        return None
    if "sval" in constant:
        text: str = constant["sval"].get("sval", "")
        return text
    if "boolval" in constant:
        return bool(constant["boolval"].get("boolval", False))
    return None
