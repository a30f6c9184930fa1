"""One function per kind of statement: its node -> Statement. What needs the primary whatever it says is in knowledge.

The functions know nothing of the text: positions are the parser's, counted from the start of the whole string.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pgrouter.routing import builtins, knowledge, transactions
from pgrouter.routing.statement import Effect, Reason, Statement, Target
from pgrouter.routing.tree import Findings, walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.routing.catalog import Catalog
    from pgrouter.routing.nodes import Node

_HOLD = 0x20  # CURSOR_OPT_HOLD, parsenodes.h


def judge(kind: str, node: Node, catalog: Catalog) -> Statement:
    """Classify one statement, given its node's name and content."""
    command = KINDS.get(kind)
    if command is not None:
        return command(node, catalog)
    if kind in knowledge.PRIMARY_COMMANDS:
        tag, reason, effects = knowledge.PRIMARY_COMMANDS[kind]
        return _primary({kind: node}, catalog, tag, reason, effects)
    if kind in knowledge.DDL_NODES:
        tag = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("Stmt")).upper()
        return _primary({kind: node}, catalog, tag, Reason.DDL, Effect.DDL | Effect.REDEFINES)
    return Statement(Target.PRIMARY, Reason.UNKNOWN_NODE, cause=kind, effects=Effect.OTHER_STATE | Effect.UNSEEN)


def _primary(node: Node, catalog: Catalog, tag: str, reason: str, effects: int) -> Statement:
    found = Findings(catalog)
    walk(node, found)  # for the functions in it: an INSERT may call set_config
    temporary = any(objection[1] == Reason.TEMPORARY for objection in found.objections)
    temporary = temporary or bool(effects & Effect.DDL and _names_temporary(node))
    return Statement(
        Target.PRIMARY,
        reason,
        cause=tag,
        effects=int(effects | found.effects | (Effect.TEMP if temporary else 0)),
        tag=tag,
        literal_sensitive=found.literal_sensitive,
        functions=tuple(found.functions),
        relations=tuple(found.relations),
        settings=tuple(found.settings),
    )


def _names_temporary(root: Any) -> bool:
    """Whether DDL names an object of the temporary schema, of whatever kind: CREATE FUNCTION pg_temp.f()."""
    if isinstance(root, dict):
        return any(_names_temporary(value) for value in root.values())
    if isinstance(root, list):
        return any(_names_temporary(value) for value in root)
    return isinstance(root, str) and root.startswith("pg_temp")


def _read(
    node: Node, catalog: Catalog, tag: str, target: Target = Target.REPLICA, reason: str = Reason.READ
) -> Statement:
    """Answer `target` unless something inside the statement needs the primary."""
    found = Findings(catalog)
    walk(node, found)
    position, cause, overridable = -1, "", False
    if found.objections:
        target = Target.PRIMARY
        position, reason, cause, overridable = found.first()
    effects = found.effects
    if effects & Effect.SEQUENCES and found.functions.keys() & knowledge.NEXT_VALUES:
        effects &= ~Effect.SEQUENCES
    if any(objection[1] == Reason.TEMPORARY for objection in found.objections):
        effects |= Effect.TEMP
    return Statement(
        target,
        reason,
        cause=cause,
        position=position,
        effects=int(effects),
        tag=tag,
        literal_sensitive=found.literal_sensitive,
        overridable=overridable,
        functions=tuple(found.functions),
        relations=tuple(found.relations),
        settings=tuple(found.settings),
    )


def _select(node: Node, catalog: Catalog) -> Statement:
    return _read(node, catalog, "SELECT")


def _explain(node: Node, catalog: Catalog) -> Statement:
    """As the statement that is explained, with or without ANALYZE: planning evaluates functions, too."""
    kind, query = next(iter(node.get("query", {}).items()), ("", {}))
    inner = judge(kind, query, catalog)
    return replace(inner, tag="EXPLAIN")


def _copy(node: Node, catalog: Catalog) -> Statement:
    if node.get("is_from") or node.get("is_program") or node.get("filename"):
        found = _read(node, catalog, "COPY")
        cause = "FROM" if node.get("is_from") else "PROGRAM" if node.get("is_program") else "TO file"
        return Statement(
            Target.PRIMARY, Reason.COPY, cause, effects=found.effects, tag="COPY", functions=found.functions,
            relations=found.relations, settings=found.settings, literal_sensitive=True,
        )  # fmt: skip
    return replace(_read(node, catalog, "COPY"), literal_sensitive=True)  # a file's name, unless it is empty, moves it


def _declare(node: Node, catalog: Catalog) -> Statement:
    statement = _read(node.get("query", {}), catalog, "DECLARE CURSOR", Target.SESSION, Reason.CURSOR)
    if node.get("options", 0) & _HOLD:
        return _with_effects(statement, Effect.HOLD_CURSOR)
    return statement


def _with_effects(statement: Statement, effects: int) -> Statement:
    return replace(statement, effects=int(statement.effects | effects))


def _fetch(node: Node, _: Catalog) -> Statement:
    return Statement(Target.SESSION, Reason.CURSOR, tag="MOVE" if node.get("ismove") else "FETCH")


def _close(_node: Node, _: Catalog) -> Statement:
    return Statement(Target.SESSION, Reason.CURSOR, effects=int(Effect.RELEASES), tag="CLOSE CURSOR")


def _prepare(node: Node, catalog: Catalog) -> Statement:
    statement = _read(node.get("query", {}), catalog, "PREPARE", Target.SESSION, Reason.PREPARED)
    effects = Effect.SQL_PREPARE | Effect.NAMES
    return Statement(
        Target.SESSION, Reason.PREPARED, node.get("name", ""), effects=int(effects), tag="PREPARE",
        functions=statement.functions, relations=statement.relations,
    )  # fmt: skip


def _execute(node: Node, catalog: Catalog) -> Statement:
    found = _read(node, catalog, "EXECUTE", Target.SESSION, Reason.PREPARED)  # its arguments may call functions
    cause = node.get("name", "") if found.target is Target.SESSION else found.cause
    return replace(_with_effects(found, Effect.UNSEEN | Effect.NAMES), cause=cause)


def _deallocate(node: Node, _: Catalog) -> Statement:
    name = node.get("name", "")
    if not name:
        return Statement(Target.SESSION, Reason.PREPARED, effects=int(Effect.DEALLOCATE), tag="DEALLOCATE ALL")
    effects = Effect.DEALLOCATE | Effect.NAMES
    return Statement(Target.SESSION, Reason.PREPARED, name, effects=int(effects), tag="DEALLOCATE")


def _discard(node: Node, _: Catalog) -> Statement:
    word = node.get("target", "DISCARD_ALL").removeprefix("DISCARD_")
    effects = Effect.DISCARD if word == "ALL" else Effect.RELEASES
    return Statement(Target.SESSION, Reason.DISCARD, word, effects=int(effects), tag=f"DISCARD {word}")


def _unlisten(_node: Node, _: Catalog) -> Statement:
    return Statement(Target.SESSION, Reason.NOTIFY, effects=int(Effect.UNLISTEN), tag="UNLISTEN")


def _constraints(_node: Node, _: Catalog) -> Statement:
    return Statement(Target.SESSION, Reason.SESSION_STATE, "CONSTRAINTS", tag="SET CONSTRAINTS")


def _show(node: Node, _: Catalog) -> Statement:
    """Let a session's own setting follow the session; what tells of the server must tell of the primary."""
    name = node.get("name", "").lower()
    if "." in name or name in builtins.SESSION_SETTINGS or name in ("transaction_isolation", "transaction_deferrable"):
        return Statement(Target.SESSION, Reason.SETTING, name, tag="SHOW", overridable=True)
    return Statement(Target.PRIMARY, Reason.SERVER_SETTING, name, tag="SHOW", overridable=True)


def _set(node: Node, _: Catalog) -> Statement:
    return transactions.set_statement(node)


def _transaction(node: Node, _: Catalog) -> Statement:
    return transactions.transaction_statement(node)


KINDS: dict[str, Callable[[Node, Catalog], Statement]] = {
    "SelectStmt": _select,
    "ExplainStmt": _explain,
    "CopyStmt": _copy,
    "DeclareCursorStmt": _declare,
    "FetchStmt": _fetch,
    "ClosePortalStmt": _close,
    "PrepareStmt": _prepare,
    "ExecuteStmt": _execute,
    "DeallocateStmt": _deallocate,
    "DiscardStmt": _discard,
    "UnlistenStmt": _unlisten,
    "ConstraintsSetStmt": _constraints,
    "VariableShowStmt": _show,
    "VariableSetStmt": _set,
    "TransactionStmt": _transaction,
}
