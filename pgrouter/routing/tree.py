# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""One walk over a parse tree that collects what speaks against a replica, and which names were used.

The tree is libpg_query's JSON: an object with one capitalized key is a node; a field whose type is fixed holds the
node's content without its name, so fields that tell a node apart (`funcname`, `relname`) are looked for as well.
Zeroes and falses are left out of that JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgrouter.routing import builtins, embedded, knowledge
from pgrouter.routing.functions import (
    is_builtin,
    is_session_setting,
    is_system_relation,
    why_builtin,
    why_relation,
)
from pgrouter.routing.nodes import Node, literal, names
from pgrouter.routing.overloads import kind_of, may_mean
from pgrouter.routing.statement import NO_ROLE, Effect, Reason, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.routing.bodies import Variables
    from pgrouter.routing.catalog import Catalog, Overload, Why

class Findings:
    """What one walk has found: objections to a replica, names, effects. Local to one classification."""

    __slots__ = (
        "aliases", "blamed", "catalog", "ctes", "derived", "doubts", "effects", "functions", "literal_sensitive",
        "objections", "relations", "settings", "strangers", "variables",
    )  # fmt: skip

    def __init__(self, catalog: Catalog, variables: Variables | None = None) -> None:
        self.catalog = catalog
        self.variables = variables or {}  # of a function's body
        self.blamed: list[Why] = []  # what the catalog says of names
        self.objections: list[tuple[int, str, str, bool]] = []  # position, reason, cause, overridable
        self.functions: dict[str, None] = {}
        self.relations: dict[str, None] = {}
        self.aliases: set[str] = set()  # of relations
        self.ctes: set[str] = set()
        self.strangers: list[tuple[Node, str]] = []  # relations that the catalog does not have, maybe CTEs
        self.derived = False  # there are columns that are not a relation's own
        self.doubts: list[tuple[Node, str, list[Overload], list[Node]]] = []  # what calls of a name may mean
        self.settings: list[Setting] = []
        self.effects = 0
        self.literal_sensitive = False

    def object(self, node: Node | list[Node], reason: str, cause: str, *, overridable: bool = False) -> None:
        """Note why the primary is needed; a node without a place stands for the beginning, none for no place at all."""
        location = node.get("location", 0) if isinstance(node, dict) and node else -1
        self.objections.append((location, reason, cause, overridable))

    def object_to(self, node: Node, why: Why, written: str) -> None:
        """Note that the catalog says why the primary is needed for a name."""
        self.blamed.append(why)
        self.object(node, Reason.CATALOG, f"{written} ({why})", overridable=True)

    def finish(self) -> None:
        """Say what can only be said when everything was seen."""
        for node, name in self.strangers:
            if name not in self.ctes:
                self.object(node, Reason.UNKNOWN_RELATION, name, overridable=True)
        columns = self._columns()
        for node, written, overloads, arguments in self.doubts:
            kinds = [kind_of(argument, self.catalog, columns) for argument in arguments]
            rivals = self.catalog.rivals.get(written.removeprefix("pg_catalog."), ())
            for overload in overloads:
                if may_mean(overload, kinds, rivals, self.catalog):
                    self.object_to(node, overload.why, written)
                    self.effects |= Effect.UNSEEN
        if self.catalog.implicit_cast and (self.relations or self.functions):
            self.object_to({}, self.catalog.implicit_cast, "implicit cast")

    def _columns(self) -> Variables | None:
        """Give the types of all columns and variables by name; None when of some nothing is known."""
        if self.derived or self.ctes or not self.doubts or not self.relations.keys() <= self.catalog.columns.keys():
            return None
        rows = self.aliases | {relation.rpartition(".")[2] for relation in self.relations}
        if any(f"{row}." in self.variables for row in rows):
            return None  # a variable of the same name
        types = {name: set(known) for name, known in self.variables.items()}
        for row in rows:
            types[row] = {None}  # may be the whole row
        for relation in self.relations:
            for name, number in self.catalog.columns[relation].items():
                types.setdefault(name, set()).add(number)
        return types

    def first(self) -> tuple[int, str, str, bool]:
        """Give the objection to tell: one that no hint can move before the others, then the first in the text."""
        return min(self.objections, key=lambda found: (found[3], found[0]))


def walk(root: Node, found: Findings) -> None:
    """Look at every node below `root`."""
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if type(node) is list:
            stack.extend(reversed(node))  # left to right: of two set_config of one name the last one stays
            continue
        for key, value in node.items():
            if type(value) is not dict and type(value) is not list:
                if key == "relname":
                    _relation(node, found)
                elif key == "ctename":
                    found.ctes.add(value)
                continue
            look = _LOOKS.get(key)
            if look is not None:
                look(node, value, found)
            elif key[0] < "a" and key not in _READ_NODES:
                found.object(value, Reason.UNKNOWN_NODE, key)
            if key not in _LEAVES:
                stack.append(value)
    found.finish()


# -- functions ------------------------------------------------------------------------------------------------------


def _function(node: Node, parts: list[Node], found: Findings) -> None:
    path = names(parts)[-2:]
    written = ".".join(path)
    found.functions[written] = None
    said = found.catalog.configured.get(written, found.catalog.configured.get(path[-1]))
    if said is not None:
        if said:
            found.object_to(node, said, written)
            found.effects |= Effect.UNSEEN
        return
    arguments = len(node.get("args", ())) + (len(node.get("agg_order", ())) if node.get("agg_within_group") else 0)
    qualified = len(path) > 1 and path[0] != "pg_catalog"
    overloads = found.catalog.overloads(written, arguments)
    unsafe = [overload for overload in overloads if overload.why]
    if unsafe and all(overload.why == knowledge.RUNS_SQL for overload in unsafe) and _embedded(node, path[-1], found):
        return
    if unsafe:
        found.doubts.append((node, written, unsafe, node.get("args", [])))
    if qualified and path[0] != "information_schema":
        if not overloads:
            _unknown_function(node, written, found)
    elif not overloads or is_builtin(path[-1]):
        _builtin(node, path[-1], arguments, written, found)


def _builtin(node: Node, name: str, arguments: int, written: str, found: Findings) -> None:
    why = why_builtin(name, arguments)
    if why == Reason.SQL_IN_STRING and _embedded(node, name, found):
        return
    if why:
        found.effects |= knowledge.SESSION_FUNCTIONS.get(name, 0)
        found.object(node, why, written, overridable=why != Reason.WRITING_FUNCTION)
        if name == "set_config":
            _set_config(node, found)
        elif why == Reason.SQL_IN_STRING:
            found.effects |= Effect.UNSEEN
    elif name == "current_setting":
        _current_setting(node, written, found)
    elif not is_builtin(name):
        if arguments == 1 and (written in found.catalog.types or name in builtins.TYPES):  # a cast: regclass('t')
            _type(node, {"names": node["funcname"]}, found)
        else:
            _unknown_function(node, written, found)


def _unknown_function(node: Node, written: str, found: Findings) -> None:
    found.effects |= Effect.UNSEEN
    found.object(node, Reason.UNKNOWN_FUNCTION, written, overridable=True)


def _set_config(node: Node, found: Findings) -> None:
    """Follow set_config(name, value, is_local): the session must know what it set."""
    found.literal_sensitive = True
    name, value, is_local = ([literal(argument) for argument in node.get("args", ())] + [None] * 3)[:3]
    if is_local in (True, "t", "true", "on", "1", "yes", "y"):
        return
    found.effects |= Effect.SETTINGS
    if isinstance(name, str):
        found.settings.append(Setting(name.lower(), value if isinstance(value, str) else ""))
        if name.lower() == "session_authorization":
            found.settings.append(NO_ROLE)
    else:
        found.effects |= Effect.OTHER_STATE


def _current_setting(node: Node, written: str, found: Findings) -> None:
    found.literal_sensitive = True
    arguments = node.get("args", ())
    name = literal(arguments[0]) if arguments else None
    if not isinstance(name, str) or not is_session_setting(name):
        found.object(node, Reason.SERVER_SETTING, written, overridable=True)


def _embedded(node: Node, name: str, found: Findings) -> bool:
    """Look at the SQL in a function's arguments as if it stood here; False if it is not there to read."""
    found.literal_sensitive = True
    queries = embedded.queries(name, node.get("args", []))
    if queries is None:
        return False
    for query in queries:
        inner = Findings(found.catalog)
        walk(query, inner)
        found.effects |= inner.effects
        found.functions |= inner.functions
        found.relations |= inner.relations
        found.blamed += inner.blamed
        for _, reason, cause, overridable in inner.objections:
            found.object(node, reason, cause, overridable=overridable)
    return True


def _sample_method(node: Node, parts: list[Node], found: Findings) -> None:
    written = ".".join(names(parts))
    if written not in knowledge.SAMPLE_METHODS:
        _unknown_function(node, written, found)


# -- operators and types --------------------------------------------------------------------------------------------


def _expression(_: Node, node: Node, found: Findings) -> None:
    if node.get("kind", "").endswith(("BETWEEN", "BETWEEN_SYM")):
        _unspoken(node, (">=", "<=", "<", ">"), found)
    else:
        _operator(node, node.get("name", []), found)


def _unspoken(node: Node, signs: tuple[str, ...], found: Findings) -> None:
    """Look at operators that PostgreSQL looks up by name without their being written, for types that do not show."""
    for sign in signs:
        unsafe = [overload for overload in found.catalog.operators.get(sign, ()) if overload.why]
        if unsafe:
            found.doubts.append((node, sign, unsafe, [{}, {}]))


def _case(_: Node, node: Node, found: Findings) -> None:
    if "arg" in node:
        _unspoken(node, ("=",), found)


def _sublink(_: Node, node: Node, found: Findings) -> None:
    if "testexpr" in node and "operName" not in node:  # x IN (SELECT ...)
        _unspoken(node, ("=",), found)


def _join(_: Node, node: Node, found: Findings) -> None:
    if "usingClause" in node or "isNatural" in node:
        _unspoken(node, ("=",), found)


def _operator(node: Node, parts: list[Node], found: Findings) -> None:
    path = names(parts)[-2:]
    if not path:
        return
    written = ".".join(path)
    known = found.catalog.operators.get(written)
    sides = [node[side] for side in ("lexpr", "rexpr") if side in node]
    if unsafe := [overload for overload in known or () if overload.why]:
        found.doubts.append((node, written, unsafe, sides))
    if known is None and (path[-1] not in builtins.OPERATORS or (len(path) > 1 and path[0] != "pg_catalog")):
        found.object(node, Reason.UNKNOWN_OPERATOR, written, overridable=True)
        found.effects |= Effect.UNSEEN


def _type(_: Node, node: Node | list[Node], found: Findings) -> None:
    path = names(node if isinstance(node, list) else node.get("names", []))[-2:]  # DDL has bare names
    if not path:
        return
    written = ".".join(path)
    why = found.catalog.types.get(written)
    if why:
        found.object_to(node, why, written)
        found.effects |= Effect.UNSEEN
    elif why is None and (
        path[-1].lstrip("_") not in builtins.TYPES
        or (len(path) > 1 and path[0] not in ("pg_catalog", "information_schema"))
    ):
        found.object(node, Reason.UNKNOWN_TYPE, written, overridable=True)


# -- relations and clauses ------------------------------------------------------------------------------------------


def _relation(node: Node, found: Findings) -> None:
    name = node["relname"]
    schema = node.get("schemaname", "")
    written = f"{schema}.{name}" if schema else name
    found.relations[written] = None
    found.effects |= knowledge.SESSION_RELATIONS.get(name, 0)
    if "alias" in node:
        found.aliases.add(node["alias"]["aliasname"])
    if schema.startswith("pg_temp") or node.get("relpersistence") == "t":
        found.object(node, Reason.TEMPORARY, written)
        return
    why = (found.catalog.relations if node.get("inh") else found.catalog.only).get(written)
    own = why_relation(schema, name)
    if why:
        found.object_to(node, why, written)
    elif own:
        found.object(node, own, written, overridable=True)
    elif why is None and found.catalog.complete and not is_system_relation(schema, name):
        found.strangers.append((node, written))


def _fields(node: Node, fields: list[Node], found: Findings) -> None:
    """Look at `row.name` and `(row).name`, which may call a function of one row."""
    path = names(fields)
    if path and path[-1] in knowledge.SYSTEM_COLUMNS:
        found.object(node, Reason.SERVER_RELATION, path[-1], overridable=True)
    for name in path[1:] if "fields" in node else path:
        why = found.catalog.attributes.get(name)
        if why:
            found.object_to(node, why, name)
            found.effects |= Effect.UNSEEN


def _derived(_: Node, _value: Any, found: Findings) -> None:
    found.derived = True


def _locking(_: Node, clauses: list[Node], found: Findings) -> None:
    strength = clauses[0].get("LockingClause", {}).get("strength", "") if clauses else ""
    words = {
        "LCS_FORUPDATE": "FOR UPDATE",
        "LCS_FORNOKEYUPDATE": "FOR NO KEY UPDATE",
        "LCS_FORSHARE": "FOR SHARE",
        "LCS_FORKEYSHARE": "FOR KEY SHARE",
    }
    found.object({}, Reason.ROW_LOCK, words.get(strength, strength))


def _into(_: Node, clause: Node, found: Findings) -> None:
    found.effects |= Effect.DDL
    found.object(clause.get("rel", {}), Reason.INTO, "INTO")


def _writing(node: Node, value: Node, found: Findings) -> None:
    word = next(knowledge.WRITING_NODES[key] for key in node if key in knowledge.WRITING_NODES)
    found.object(value.get("relation", {}), Reason.WRITING_CTE, word)


def _execute(_: Node, _value: Any, found: Findings) -> None:
    found.effects |= Effect.NAMES


_LOOKS: dict[str, Callable[[Node, Any, Findings], None]] = {
    "funcname": _function,
    "method": _sample_method,
    "A_Expr": _expression,
    "CaseExpr": _case,
    "SubLink": _sublink,
    "JoinExpr": _join,
    "operName": _operator,
    "useOp": _operator,
    "typeName": _type,
    "TypeName": _type,
    **dict.fromkeys(("RangeSubselect", "RangeFunction", "RangeTableFunc", "JsonTable", "colnames"), _derived),
    "fields": _fields,
    "indirection": _fields,
    "lockingClause": _locking,
    "intoClause": _into,
    "ExecuteStmt": _execute,
    **dict.fromkeys(knowledge.WRITING_NODES, _writing),
}
_READ_NODES = knowledge.READ_NODES
_LEAVES = frozenset({"String", "A_Const", "fields", "name", "funcname", "names", "sval", "ival"})  # names and constants
