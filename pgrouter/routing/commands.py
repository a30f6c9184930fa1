"""One function per kind of statement: its node -> Statement. Kinds that always need the primary are in `knowledge`.

The functions do not see the text: positions are the parser's, counted from the start of the whole string.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pgrouter.routing import builtins, knowledge, transactions
from pgrouter.routing.bodies import language_of, read_block, read_function, words_of
from pgrouter.routing.catalog import ANY_NAME
from pgrouter.routing.code import run
from pgrouter.routing.findings import Findings
from pgrouter.routing.functions import STATE, in_code
from pgrouter.routing.statement import Effect, Reason, Statement, Target
from pgrouter.routing.tree import fire, rewrite, walk, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.routing.catalog import Catalog
    from pgrouter.routing.nodes import Node

_HOLD = 0x20  # CURSOR_OPT_HOLD, parsenodes.h
_DRAWS, _SEQUENCES = int(Effect.DRAWS), int(Effect.SEQUENCES)
_UNKNOWN_SETTING = int(Effect.SETTINGS | Effect.OTHER_STATE)


def judge(kind: str, node: Node, catalog: Catalog) -> Statement:
    """Classify one statement, given its node's name and content."""
    return examine(kind, node, Findings(catalog))


def examine(kind: str, node: Node, found: Findings) -> Statement:
    """Classify one statement; details are collected in `found`, which must be empty."""
    command = KINDS.get(kind)
    if command is not None:
        return command(node, found)
    if kind in knowledge.PRIMARY_COMMANDS:
        tag, reason, effects = knowledge.PRIMARY_COMMANDS[kind]
        return _primary({kind: node}, found, tag, reason, effects)
    if kind in knowledge.DDL_NODES:
        tag = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("Stmt")).upper()
        return _primary({kind: node}, found, tag, Reason.DDL, Effect.DDL | Effect.REDEFINES)
    return Statement(Target.PRIMARY, Reason.UNKNOWN_NODE, cause=kind, effects=Effect.OTHER_STATE | Effect.CODE)


def _primary(node: Node, found: Findings, tag: str, reason: str, effects: int) -> Statement:
    found.creates = bool(effects & Effect.DDL)
    walk(node, found)  # for the functions in it: an INSERT may call set_config
    if not knowledge.DEFINING.isdisjoint(node):
        found.forget()
    if found.creates or not knowledge.WITH_EVENTS.isdisjoint(node):
        fire(found)
    _rewritten(node, found)
    temporary = any(objection[1] == Reason.TEMPORARY for objection in found.objections)
    temporary = temporary or bool(effects & Effect.DDL and _names_temporary(node))
    return Statement(
        Target.PRIMARY, reason, cause=tag, tag=tag, **_left(found, effects | (Effect.TEMP if temporary else 0))
    )


def _left(found: Findings, effects: int) -> dict[str, Any]:
    """Return the fields common to all statements that were walked: what they leave, and the names in them."""
    effects |= found.effects
    drawn = bool(effects & _DRAWS)
    if drawn and any(state.effects & _DRAWS for state in found.states):
        effects &= ~_SEQUENCES  # code that asks for values has drawn them itself, or may have
    return {
        "effects": int(effects) & ~_DRAWS,
        "literal_sensitive": found.literal_sensitive,
        "custom": tuple(found.custom),
        "through": found.cause,
        "draws": drawn,
        "functions": tuple(found.functions),
        "relations": tuple(found.relations),
        "settings": tuple(found.settings),
    }


def _rewritten(node: Node, found: Findings) -> None:
    """Examine what is evaluated by a command that rewrites relations or rebuilds their indexes."""
    kind, content = next(iter(node.items()))
    if kind not in knowledge.REWRITING:
        return
    if kind == "VacuumStmt":
        named = content.get("rels", [{"VacuumRelation": {}}])
        relations = [each["VacuumRelation"].get("relation", {}) for each in named]
    else:
        relations = [content.get("relation", {})]
    for relation in relations:
        rewrite(relation, found)


def _names_temporary(root: Any) -> bool:
    """Whether DDL names an object of the temporary schema, of whatever kind: CREATE FUNCTION pg_temp.f()."""
    if isinstance(root, dict):
        return any(_names_temporary(value) for value in root.values())
    if isinstance(root, list):
        return any(_names_temporary(value) for value in root)
    return isinstance(root, str) and root.startswith("pg_temp")


def _read(
    node: Node, found: Findings, tag: str, target: Target = Target.REPLICA, reason: str = Reason.READ
) -> Statement:
    """Classify as `target` unless something inside the statement needs the primary."""
    walk(node, found)
    position, cause, overridable = -1, "", False
    if found.objections:
        target = Target.PRIMARY
        position, reason, cause, overridable = found.first()
    effects = Effect.TEMP if any(objection[1] == Reason.TEMPORARY for objection in found.objections) else 0
    left = _left(found, effects)
    if left["effects"] & _SEQUENCES and found.functions.keys() & knowledge.NEXT_VALUES:
        left["effects"] &= ~_SEQUENCES
    overridable = overridable and not found.is_known_to_leave()  # nothing may be left on a replica
    return Statement(target, reason, cause=cause, position=position, tag=tag, overridable=overridable, **left)


def _select(node: Node, found: Findings) -> Statement:
    return _read(node, found, "SELECT")


def _explain(node: Node, found: Findings) -> Statement:
    """Classify as the explained statement, with or without ANALYZE: planning evaluates functions, too."""
    kind, query = next(iter(node.get("query", {}).items()), ("", {}))
    inner = examine(kind, query, found)
    return replace(inner, tag="EXPLAIN")


def _copy(node: Node, found: Findings) -> Statement:
    if node.get("is_from") or node.get("is_program") or node.get("filename"):
        if node.get("is_from"):
            write(node.get("relation", {}), found, inserts=True)
        read = _read(node, found, "COPY")
        cause = "FROM" if node.get("is_from") else "PROGRAM" if node.get("is_program") else "TO file"
        return replace(
            read, target=Target.PRIMARY, reason=Reason.COPY, cause=cause, position=-1, overridable=False,
            literal_sensitive=True,
        )  # fmt: skip
    return replace(_read(node, found, "COPY"), literal_sensitive=True)  # a file's name, unless it is empty, moves it


def _do(node: Node, found: Findings) -> Statement:
    """Classify a block like the body of a function."""
    catalog = found.catalog
    body = read_block(node, catalog.type_numbers, catalog.columns)
    body.unread = body.unread or bool(body.words)  # it was not parsed
    ran = run(body, catalog, examine)
    for word in words_of(body.source) & catalog.casting.keys():  # types of variables
        ran.leave(catalog.casting[word].effects, catalog.casting[word].cause)
    return Statement(
        Target.PRIMARY, Reason.CODE, "DO", effects=int(ran.effects & ~Effect.DRAWS), tag="DO", literal_sensitive=True,
        custom=tuple(sorted(ran.custom)), through=ran.cause, draws=bool(ran.effects & Effect.DRAWS),
    )  # fmt: skip


def _create_function(node: Node, found: Findings) -> Statement:
    """Find the settings that the body mentions: it may run before the catalog is read again."""
    statement = _primary(
        {"CreateFunctionStmt": node}, found, "CREATE FUNCTION", Reason.DDL, Effect.DDL | Effect.REDEFINES
    )
    language = language_of(node)
    custom = _function_settings(node)
    lasting = True
    if language in ("sql", "plpgsql"):
        body = read_function(node, language, found.catalog.type_numbers, found.catalog.columns)
        ran = run(body, found.catalog, examine)
        custom |= ran.custom
        lasting = bool(ran.effects & Effect.OTHER_STATE)
    return replace(
        statement, literal_sensitive=True, custom=tuple(dict.fromkeys((*statement.custom, *sorted(custom)))),
        effects=statement.effects | (int(Effect.MAKES) if lasting else 0),
    )  # fmt: skip


def _function_settings(node: Node) -> set[str]:
    """Return the custom settings in a function's SET clauses."""
    sets = [option["DefElem"]["arg"]["VariableSetStmt"] for option in node.get("options", ())
            if option["DefElem"]["defname"] == "set"]  # fmt: skip
    return {one["name"].lower() for one in sets if "." in one.get("name", "")}


def _declare(node: Node, found: Findings) -> Statement:
    statement = _read(node.get("query", {}), found, "DECLARE CURSOR", Target.SESSION, Reason.CURSOR)
    if node.get("options", 0) & _HOLD:
        return _with_effects(statement, Effect.HOLD_CURSOR)
    return statement


def _with_effects(statement: Statement, effects: int) -> Statement:
    return replace(statement, effects=int(statement.effects | effects))


def _fetch(node: Node, _: Findings) -> Statement:
    return Statement(Target.SESSION, Reason.CURSOR, tag="MOVE" if node.get("ismove") else "FETCH")


def _close(_node: Node, _: Findings) -> Statement:
    return Statement(Target.SESSION, Reason.CURSOR, effects=int(Effect.RELEASES), tag="CLOSE CURSOR")


def _prepare(node: Node, found: Findings) -> Statement:
    """Count the prepared statement's effects as PREPARE's own: EXECUTE shows only a name."""
    kind, query = next(iter(node.get("query", {}).items()), ("", {}))
    inner = examine(kind, query, found)
    effects = Effect.SQL_PREPARE | Effect.NAMES | (inner.effects & (Effect.OTHER_STATE | Effect.CUSTOM))
    if in_code(inner.effects) & STATE:
        effects |= Effect.CODE
    return Statement(
        Target.SESSION, Reason.PREPARED, node.get("name", ""), effects=int(effects), tag="PREPARE",
        functions=inner.functions, relations=inner.relations, custom=inner.custom, through=inner.through,
        literal_sensitive=inner.literal_sensitive, prepared=node.get("name", ""),
    )  # fmt: skip


def _execute(node: Node, found: Findings) -> Statement:
    read = _read(node, found, "EXECUTE", Target.SESSION, Reason.PREPARED)  # its arguments may call functions
    name = node.get("name", "")
    return replace(
        _with_effects(read, Effect.CODE | Effect.NAMES), cause=name if read.target is Target.SESSION else read.cause,
        through=read.through or "EXECUTE", prepared=name,
    )  # fmt: skip


def _deallocate(node: Node, _: Findings) -> Statement:
    name = node.get("name", "")
    if not name:
        return Statement(Target.SESSION, Reason.PREPARED, effects=int(Effect.DEALLOCATE), tag="DEALLOCATE ALL")
    effects = Effect.DEALLOCATE | Effect.NAMES
    return Statement(Target.SESSION, Reason.PREPARED, name, effects=int(effects), tag="DEALLOCATE", prepared=name)


def _discard(node: Node, _: Findings) -> Statement:
    word = node.get("target", "DISCARD_ALL").removeprefix("DISCARD_")
    effects = Effect.DISCARD if word == "ALL" else Effect.RELEASES
    return Statement(Target.SESSION, Reason.DISCARD, word, effects=int(effects), tag=f"DISCARD {word}")


def _unlisten(_node: Node, _: Findings) -> Statement:
    return Statement(Target.SESSION, Reason.NOTIFY, effects=int(Effect.UNLISTEN), tag="UNLISTEN")


def _constraints(_node: Node, _: Findings) -> Statement:
    return Statement(Target.SESSION, Reason.SESSION_STATE, "CONSTRAINTS", tag="SET CONSTRAINTS")


def _show(node: Node, _: Findings) -> Statement:
    """A session's own setting is answered where the session is; what describes the server, by the primary."""
    name = node.get("name", "").lower()
    if name == "idle_session_timeout":  # see `explain.asks_timer`
        return Statement(
            Target.SESSION, Reason.SETTING, name, tag="SHOW", overridable=True, effects=int(Effect.INSTEAD),
            literal_sensitive=True,
        )  # fmt: skip
    if "." in name or name in builtins.SESSION_SETTINGS or name in ("transaction_isolation", "transaction_deferrable"):
        return Statement(Target.SESSION, Reason.SETTING, name, tag="SHOW", overridable=True)
    return Statement(Target.PRIMARY, Reason.SERVER_SETTING, name, tag="SHOW", overridable=True)


def _set(node: Node, _: Findings) -> Statement:
    statement = transactions.set_statement(node)
    if node.get("name") == ANY_NAME:  # built at run time: maybe a custom setting, which no query reports
        return replace(statement, effects=int(Effect.CUSTOM if node.get("is_local") else _UNKNOWN_SETTING), settings=())
    return statement


def _transaction(node: Node, _: Findings) -> Statement:
    return transactions.transaction_statement(node)


KINDS: dict[str, Callable[[Node, Findings], Statement]] = {
    "SelectStmt": _select,
    "ExplainStmt": _explain,
    "DoStmt": _do,
    "CreateFunctionStmt": _create_function,
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
