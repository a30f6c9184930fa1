# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""One walk over a parse tree that collects the reasons against a replica and the names used.

The tree is libpg_query's JSON: an object with one capitalized key is a node; a field whose type is fixed contains the
node's content without its name, so nodes are also recognized by their fields (`funcname`, `relname`). Zeros and falses
are omitted from that JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgrouter.routing import builtins, embedded, knowledge
from pgrouter.routing.catalog import ANY_NAME
from pgrouter.routing.extensions import ANYTHING, BY_NAME
from pgrouter.routing.functions import (
    effects_of_builtin,
    in_code,
    is_builtin,
    is_session_setting,
    is_system_relation,
    why_builtin,
    why_relation,
)
from pgrouter.routing.nodes import Node, literal, names
from pgrouter.routing.statement import NO_ROLE, Effect, Reason, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.routing.findings import Findings


def walk(root: Node, found: Findings) -> None:
    """Visit every node below `root`."""
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if type(node) is list:
            stack.extend(reversed(node))  # left to right: of two set_config calls with one name the last one counts
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
    if ANY_NAME in path:
        found.leave(ANYTHING, "function of any name")
        return
    arguments = len(node.get("args", ())) + (len(node.get("agg_order", ())) if node.get("agg_within_group") else 0)
    said = found.catalog.configured.get(written, found.catalog.configured.get(path[-1]))
    if said is not None:
        if said:
            found.object_to(node, said, written)
            _configured(path, arguments, written, found)
        return
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


def _configured(path: list[str], arguments: int, written: str, found: Findings) -> None:
    """Record what a function leaves that the configuration lists as writing."""
    declared = _declared(path, found)
    overloads = found.catalog.overloads(written, arguments)
    if declared is not None:
        found.leave(declared, path[-1])
    elif overloads:
        for overload in overloads:
            found.touch(overload.state)
    elif is_builtin(path[-1]):
        found.leave(effects_of_builtin(path[-1], arguments), written)
    else:
        found.unknown(written)


def _declared(path: list[str], found: Findings) -> int | None:
    """Return the effects that the configuration declares for a function, None if it declares none."""
    declared = found.catalog.declared
    return declared.get(".".join(path), declared.get(path[-1])) if declared else None


def _builtin(node: Node, name: str, arguments: int, written: str, found: Findings) -> None:
    why = why_builtin(name, arguments)
    if why == Reason.SQL_IN_STRING and _embedded(node, name, found):
        return
    if why:
        found.object(node, why, written, overridable=why != Reason.WRITING_FUNCTION)
        if name == "set_config":
            _set_config(node, found)
        elif name not in knowledge.SLOT_FUNCTIONS or _is_temporary_slot(node, name, found):
            found.leave(effects_of_builtin(name, arguments), written)
    elif name == "current_setting":
        _current_setting(node, written, found)
    elif not is_builtin(name):
        if arguments == 1 and (written in found.catalog.types or name in builtins.TYPES):  # a cast: regclass('t')
            _type(node, {"names": node["funcname"]}, found)
        else:
            _unknown_function(node, written, found)


def _unknown_function(node: Node, written: str, found: Findings) -> None:
    declared = _declared(written.split("."), found)
    if declared is not None:
        found.leave(declared, written)
    elif written.startswith("pg_temp"):  # no catalog has these names
        found.leave(ANYTHING, written)
    else:
        found.unknown(written)
        found.leave(BY_NAME.get(written.rpartition(".")[2], 0), written)
    found.object(node, Reason.UNKNOWN_FUNCTION, written, overridable=True)


def _set_config(node: Node, found: Findings) -> None:
    """Record the setting in set_config(name, value, is_local): the session must know it."""
    found.literal_sensitive = True
    name, value, is_local = ([literal(argument) for argument in node.get("args", ())] + [None] * 3)[:3]
    local = is_local in (True, "t", "true", "on", "1", "yes", "y")
    if isinstance(name, str) and "." in name:
        found.custom[name.lower()] = None
    if isinstance(name, str) and name.lower() == "seed":  # like setseed(), local or not
        found.leave(int(Effect.OTHER_STATE), "seed")
        return
    if local and isinstance(name, str):
        found.settings.append(Setting(name.lower(), value if isinstance(value, str) else "", is_local=True))
        if "." in name:  # if it did not exist before, it exists afterwards, too
            found.effects |= Effect.SETTINGS
    elif local:
        found.effects |= Effect.CUSTOM
    if local:
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
    if isinstance(name, str) and "." in name:
        found.custom[name.lower()] = None
    if not isinstance(name, str) or not is_session_setting(name):
        found.object(node, Reason.SERVER_SETTING, written, overridable=True)


def _is_temporary_slot(node: Node, name: str, found: Findings) -> bool:
    """Whether a replication slot may be temporary, that is, belong to the session."""
    found.literal_sensitive = True
    for at, argument in enumerate(node.get("args", ())):
        named = argument.get("NamedArgExpr")
        if (named["name"] == "temporary") if named else at == knowledge.SLOT_FUNCTIONS[name]:
            return literal(named["arg"] if named else argument) not in (False, "f", "false", "off", "0", "no", "n")
    return name.startswith("pg_copy")  # without the argument it is like the slot that is copied


def _embedded(node: Node, name: str, found: Findings) -> bool:
    """Examine SQL in a function's arguments as if it were part of the statement; False if it cannot be read."""
    found.literal_sensitive = True
    queries = embedded.queries(name, node.get("args", []))
    if queries is None:
        return False
    for query in queries:
        inner = type(found)(found.catalog)
        walk(query, inner)
        found.leave(in_code(inner.effects), inner.cause or name)  # its settings are not the statement's own
        found.states += inner.states
        found.custom |= inner.custom
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
    """Examine operators that PostgreSQL uses although they are not written, on types that are unknown."""
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
        found.unknown(written)


def _type(_: Node, node: Node | list[Node], found: Findings) -> None:
    path = names(node if isinstance(node, list) else node.get("names", []))[-2:]  # DDL has bare names
    if not path:
        return
    written = ".".join(path)
    why = found.catalog.types.get(written)
    if why:
        found.object_to(node, why, written)
        found.touch(found.catalog.casting.get(written))
    elif why is None and (
        path[-1].lstrip("_") not in builtins.TYPES
        or (len(path) > 1 and path[0] not in ("pg_catalog", "information_schema"))
    ):
        found.object(node, Reason.UNKNOWN_TYPE, written, overridable=True)
        if not found.creates:
            found.unknown(written)


# -- relations and clauses ------------------------------------------------------------------------------------------


def _written(node: Node) -> str:
    """Return the name of a relation as written."""
    schema, name = node.get("schemaname", ""), node["relname"]
    if ANY_NAME in (schema, name):
        return ANY_NAME
    return f"{schema}.{name}" if schema else str(name)


def _relation(node: Node, found: Findings) -> None:
    name = node["relname"]
    schema = node.get("schemaname", "")
    written = _written(node)
    found.relations[written] = None
    found.effects |= knowledge.SESSION_RELATIONS.get(name, 0)
    if "alias" in node:
        found.aliases.add(node["alias"]["aliasname"])
    if schema.startswith("pg_temp") or node.get("relpersistence") == "t":
        found.object(node, Reason.TEMPORARY, written)
        return
    found.touch(found.catalog.reading.get(written))
    why = (found.catalog.relations if node.get("inh") else found.catalog.only).get(written)
    own = why_relation(schema, name)
    if why:
        found.object_to(node, why, written)
    elif own:
        found.object(node, own, written, overridable=True)
    elif why is None and found.catalog.complete and not is_system_relation(schema, name):
        found.strangers.append((node, written))


def _fields(node: Node, fields: list[Node], found: Findings) -> None:
    """Examine `row.name` and `(row).name`, which may call a function that takes the row."""
    path = names(fields)
    if path and path[-1] in knowledge.SYSTEM_COLUMNS:
        found.object(node, Reason.SERVER_RELATION, path[-1], overridable=True)
    for name in path[1:] if "fields" in node else path:
        why = found.catalog.attributes.get(name)
        if why:
            found.object_to(node, why, name)
            found.touch(found.catalog.selecting.get(name))


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
    found.locks = True
    found.object({}, Reason.ROW_LOCK, words.get(strength, strength))


def _into(_: Node, clause: Node, found: Findings) -> None:
    found.effects |= Effect.DDL
    fire(found)
    found.object(clause.get("rel", {}), Reason.INTO, "INTO")


def _writing(node: Node, value: Node, found: Findings) -> None:
    word = next(knowledge.WRITING_NODES[key] for key in node if key in knowledge.WRITING_NODES)
    found.object(value.get("relation", {}), Reason.WRITING_CTE, word)
    write(value.get("relation", {}), found, inserts=word in _INSERTING or _sets_default(value))


def _sets_default(update: Node) -> bool:
    """Whether an UPDATE asks for defaults: SET a = DEFAULT."""
    values = [target.get("ResTarget", {}).get("val", {}) for target in update.get("targetList", ())]
    # For several columns at once it is nested deeper
    return any("SetToDefault" in value or "MultiAssignRef" in value for value in values)


def write(relation: Node, found: Findings, *, inserts: bool) -> None:
    """Record what a write to a relation runs."""
    if "relname" not in relation:
        return
    written = _written(relation)
    state = (found.catalog.inserting if inserts else found.catalog.writing).get(written)
    schema, name = relation.get("schemaname", ""), relation["relname"]
    if state:
        found.touch(state)
    elif schema in ("", "pg_catalog") and name == "pg_settings":
        found.leave(int(Effect.CODE), name)  # its rule calls set_config
    elif not (found.catalog.known and written in found.catalog.relations) and not is_system_relation(schema, name):
        found.leave(int(Effect.CODE | Effect.DRAWS) if inserts else int(Effect.CODE), written)


def _truncate(_: Node, value: Node, found: Findings) -> None:
    for relation in value.get("relations", ()):
        write(relation.get("RangeVar", {}), found, inserts=False)


def rewrite(relation: Node, found: Findings) -> None:
    """Record what may be evaluated when a relation is rewritten; one without a name may be any."""
    found.touch(found.catalog.writing.get(_written(relation) if "relname" in relation else ANY_NAME))


def fire(found: Findings) -> None:
    """Record that event triggers run, if there are any."""
    found.touch(found.catalog.events)
    if not found.catalog.known:
        found.leave(int(Effect.CODE), "event triggers")


def _execute(_: Node, _value: Any, found: Findings) -> None:
    found.leave(int(Effect.NAMES | Effect.CODE), "EXECUTE")


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
    "TruncateStmt": _truncate,
}
_INSERTING = frozenset({"INSERT", "MERGE"})
_READ_NODES = knowledge.READ_NODES
_LEAVES = frozenset({"String", "A_Const", "fields", "name", "funcname", "names", "sval", "ival"})  # names and constants
