"""What the body of a function or the query of a view refers to.

A tree (pg_node_tree) holds numbers: what it calls and reads is known exactly. A text (SQL or PL/pgSQL) is only cut into
tokens by PostgreSQL's own lexer: every word in it may be the name of anything. That says too much rather than too
little, needs no second parser, and what puts SQL together at run time has to use a word that gives it away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pglast.parser import ParseError, scan

from pgrouter.routing.functions import is_session_setting

# FuncExpr, OpExpr and its kin, Aggref, WindowFunc, TableSampleClause; the names are those of the structures' fields.
_FUNCTIONS = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid|tsmhandler) (\d+)")
_OPERATORS = re.compile(r":(?:opno|eqop|sortop) (\d+)|:opnos \(o ([\d ]+)\)")
_RELATIONS = re.compile(r":relid (\d+).*?:inh (true|false)")  # a RangeTblEntry
_TYPES = re.compile(r":\w*type(?:Id)? (\d+)")
_WRITES = re.compile(r":commandType [2-6]|:hasModifyingCTE true|:hasForUpdate true|\{NEXTVALUEEXPR")
# current_setting(text) and current_setting(text, bool) with a constant: its bytes, behind a header of four
_SETTINGS = re.compile(r":funcid (?:2077|3294) .*?:location -?\d+(?: :constvalue \d+ \[ ([-\d ]+)\])?")
# A dot stands behind a schema; a name in front of one is a schema or an alias.
_BEFORE_RELATION = frozenset({"FROM", "JOIN", "ONLY", "TABLE", "ASCII_44", "ASCII_40", "ASCII_46"})
_CONSTANTS = frozenset({"SCONST", "ICONST", "FCONST", "USCONST", "BCONST", "XCONST", "PARAM"})

# Words that begin a command which writes, or SQL that nobody can see. LOCK and SET TRANSACTION are not for functions.
_TELLTALE = frozenset(
    """
INSERT UPDATE DELETE_P MERGE EXECUTE CALL COPY TRUNCATE CREATE ALTER DROP NOTIFY LISTEN UNLISTEN LOAD DISCARD
CHECKPOINT LOCK_P UIDENT REFRESH IMPORT_P GRANT DO
""".split()  # noqa: SIM905  (a list of words stays readable as text)
)


@dataclass(frozen=True, slots=True)
class References:
    """Numbers from trees, words from texts; `why` if the body needs the primary whatever it refers to."""

    functions: frozenset[int] = frozenset()
    operators: frozenset[int] = frozenset()
    relations: frozenset[int] = frozenset()  # with their children
    only: frozenset[int] = frozenset()  # relations without theirs
    types: frozenset[int] = frozenset()
    words: frozenset[str] = frozenset()  # identifiers as the parser folds them, and operators' signs
    sources: frozenset[str] = frozenset()  # those of them that stand where a FROM list has a relation
    why: str = ""


def of_tree(tree: str) -> References:
    """Read a pg_node_tree."""
    operators = [number for one, more in _OPERATORS.findall(tree) for number in (one or more).split()]
    relations = _RELATIONS.findall(tree)
    why = "writes" if _WRITES.search(tree) else _why_settings(tree)
    return References(
        functions=_numbers(_FUNCTIONS.findall(tree)),
        operators=_numbers(operators),
        relations=_numbers([number for number, inherits in relations if inherits == "true"]),
        only=_numbers([number for number, inherits in relations if inherits == "false"]),
        types=_numbers(_TYPES.findall(tree)),
        why=why,
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


def of_text(text: str) -> References:
    """Read the body of a function in SQL or PL/pgSQL."""
    try:
        tokens = scan(text)
    except (ParseError, ValueError):
        return References(why="does not parse")
    words: set[str] = set()
    sources: set[str] = set()
    why = ""
    for at, token in enumerate(tokens):
        if token.name in _TELLTALE:
            return References(why=f"contains {token.name.removesuffix('_P')}")
        word = _word(text[token.start : token.end + 1], token.name)
        words.add(word)
        if _before(tokens, at) in _BEFORE_RELATION and _before(tokens, at + 2) != "ASCII_46":
            sources.add(word)
        if word == "current_setting":
            why = why or _why_setting(text, tokens[at + 1 : at + 3])
    return References(words=frozenset(words), sources=frozenset(sources), why=why)


def _before(tokens: list, at: int) -> str:
    return tokens[at - 1].name if 0 < at <= len(tokens) else ""


def _word(text: str, name: str) -> str:
    """Give a token as the parser would look it up, an operator as its sign; "" for constants."""
    if name == "IDENT":
        return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
    if name in _CONSTANTS:
        return ""
    return "<>" if text == "!=" else text.lower()  # keywords may be names, too


def _why_setting(text: str, following: list) -> str:
    if len(following) == 2 and following[0].name == "ASCII_40" and following[1].name == "SCONST":
        name = text[following[1].start + 1 : following[1].end]
        return "" if is_session_setting(name) else f"reads the setting {name}"
    return "reads the setting of some name"
