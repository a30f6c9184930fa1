"""What stored expressions (pg_node_tree) refer to: those of views, policies, defaults, BEGIN ATOMIC bodies.

Such a tree contains OIDs: what it calls and reads is known exactly. It is not parsed here, only searched.
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
# current_setting(text) and current_setting(text, bool) with a constant: its bytes, after a header of four
_SETTINGS = re.compile(r":funcid (?:2077|3294) .*?:location -?\d+(?: :constvalue \d+ \[ ([-\d ]+)\])?")
# The same for set_config(text, text, bool): if no constant directly follows the call, there are no bytes
_SET = re.compile(r":funcid 2078 [^{}]*(?:\{CONST [^{}]*?:constvalue \d+ \[ ([-\d ]+)\])?")


@dataclass(frozen=True, slots=True)
class References:
    """OIDs of the objects in a tree; `why` it needs the primary whatever they are."""

    functions: frozenset[int] = frozenset()
    operators: frozenset[int] = frozenset()
    relations: frozenset[int] = frozenset()  # with their children
    only: frozenset[int] = frozenset()  # relations without their children
    types: frozenset[int] = frozenset()
    why: str = ""
    writes: bool = False  # it writes to some of its relations
    draws: bool = False  # it draws from the sequence of an identity column
    settings: frozenset[str] = frozenset()  # custom settings that it reads or sets
    sets_any: bool = False  # it sets a setting whose name is computed


def references(tree: str) -> References:
    """Find the references in a pg_node_tree."""
    writes = _WRITES.search(tree) is not None
    operators = [number for one, more in _OPERATORS.findall(tree) for number in (one or more).split()]
    relations = _RELATIONS.findall(tree)
    return References(
        functions=_numbers(_FUNCTIONS.findall(tree)),
        operators=_numbers(operators),
        relations=_numbers([number for number, inherits in relations if inherits == "true"]),
        only=_numbers([number for number, inherits in relations if inherits == "false"]),
        types=_numbers(_TYPES.findall(tree)),
        why="writes" if writes else _why_settings(tree),
        writes=writes,
        draws="{NEXTVALUEEXPR" in tree,
        settings=_custom(tree),
        sets_any=":funcid 2078 " in tree and not all(_text(value) for value in _SET.findall(tree)),
    )


def _numbers(found: list[str]) -> frozenset[int]:
    return frozenset(map(int, found))


def _custom(tree: str) -> frozenset[str]:
    if ":funcid 2077 " not in tree and ":funcid 3294 " not in tree and ":funcid 2078 " not in tree:
        return frozenset()
    names = (_text(value).lower() for value in (*_SETTINGS.findall(tree), *_SET.findall(tree)))
    return frozenset(name for name in names if "." in name)


def _why_settings(tree: str) -> str:
    for value in _SETTINGS.findall(tree):
        name = _text(value)
        if not is_session_setting(name):
            return f"reads the setting {name or 'of some name'}"
    return ""


def _text(octets: str) -> str:
    """Return the text of a stored constant: signed bytes after a header of four."""
    return bytes(int(octet) & 255 for octet in octets.split()[4:]).decode("utf-8", "replace")
