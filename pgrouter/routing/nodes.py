"""A parse tree as libpg_query's JSON has it: what all who read one need."""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]


def names(parts: list[Node]) -> list[str]:
    """Give the strings of a qualified name."""
    return [part["String"].get("sval", "") for part in parts if "String" in part]
