"""What an expression refers to that PostgreSQL keeps parsed (pg_node_tree): views, policies, defaults, BEGIN ATOMIC.

Such a tree holds numbers: what it calls and reads is known exactly. It is not parsed here, only searched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgrouter.routing.functions import is_session_setting

# FuncExpr, OpExpr and its kin, Aggref, WindowFunc, TableSampleClause; the names are those of the structures' fields.
_FUNCTIONS = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid|tsmhandler) (\d+)")
_OPERATORS = re.compile(r":(?:opno|eqop|sortop) (\d+)|:opnos \(o ([\d ]+)\)")
_RELATIONS = re.compile(r":relid (\d+).*?:inh (true|false)")  # a RangeTblEntry
_TYPES = re.compile(r":\w*type(?:Id)? (\d+)")
_WRITES = re.compile(r":commandType [2-6]|:hasModifyingCTE true|:hasForUpdate true|\{NEXTVALUEEXPR")
# current_setting(text) and current_setting(text, bool) with a constant: its bytes, behind a header of four
_SETTINGS = re.compile(r":funcid (?:2077|3294) .*?:location -?\d+(?: :constvalue \d+ \[ ([-\d ]+)\])?")


@dataclass(frozen=True, slots=True)
class References:
    """Numbers of what a tree refers to; `why` if it needs the primary whatever that is."""

    functions: frozenset[int] = frozenset()
    operators: frozenset[int] = frozenset()
    relations: frozenset[int] = frozenset()  # with their children
    only: frozenset[int] = frozenset()  # relations without theirs
    types: frozenset[int] = frozenset()
    why: str = ""


def references(tree: str) -> References:
    """Read a pg_node_tree."""
    operators = [number for one, more in _OPERATORS.findall(tree) for number in (one or more).split()]
    relations = _RELATIONS.findall(tree)
    return References(
        functions=_numbers(_FUNCTIONS.findall(tree)),
        operators=_numbers(operators),
        relations=_numbers([number for number, inherits in relations if inherits == "true"]),
        only=_numbers([number for number, inherits in relations if inherits == "false"]),
        types=_numbers(_TYPES.findall(tree)),
        why="writes" if _WRITES.search(tree) else _why_settings(tree),
    )


def _numbers(found: list[str]) -> frozenset[int]:
    return frozenset(map(int, found))


def _why_settings(tree: str) -> str:
    for value in _SETTINGS.findall(tree):
        octets = [int(octet) & 255 for octet in value.split()]
        name = bytes(octets[4:]).decode("utf-8", "replace")
        if not is_session_setting(name):
            return f"reads the setting {name or 'of some name'}"
    return ""
