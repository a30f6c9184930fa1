"""What a built-in function does: why it needs the primary, and what it leaves, by the tables of `knowledge`. Pure."""

from __future__ import annotations

from pgrouter.routing import builtins, knowledge
from pgrouter.routing.extensions import ANYTHING
from pgrouter.routing.statement import Effect, Reason

# What the server can be queried for after code has left it or taken it away
_ASKED = int(
    Effect.SETTINGS | Effect.TEMP | Effect.LISTEN | Effect.HOLD_CURSOR | Effect.SQL_PREPARE | Effect.ADVISORY_LOCK
    | Effect.DISCARD | Effect.DEALLOCATE | Effect.UNLISTEN | Effect.RELEASES | Effect.CODE
)  # fmt: skip
_SPREADING = int(Effect.OTHER_STATE | Effect.SEQUENCES | Effect.DRAWS | Effect.CUSTOM)
_DDL = int(Effect.DDL | Effect.REDEFINES | Effect.MAKES)

STATE = int(Effect.CODE | Effect.OTHER_STATE)
CODE, TEMP = int(Effect.CODE), int(Effect.TEMP)


def in_code(effects: int) -> int:
    """Return the effects that a statement has on the caller if it is in the body of a function."""
    if not effects:
        return 0
    spread = effects & _SPREADING
    if not effects & TEMP:  # no catalog describes temporary objects
        spread |= effects & _DDL
    return spread | CODE if effects & _ASKED else spread


def effects_of_builtin(name: str, arguments: int = -1) -> int:
    """Return the effects of calling a function of pg_catalog, except set_config, which depends on its arguments."""
    if name in knowledge.LASTING_FUNCTIONS:
        return int(Effect.OTHER_STATE)
    if name in knowledge.SQL_IN_STRING:
        if arguments == knowledge.SAFE_WITH_ARGUMENTS.get(name, -2):
            return 0
        return ANYTHING if name in knowledge.ANY_SQL_IN_STRING else int(Effect.CODE)
    return int(Effect.DRAWS) if name == "nextval" else knowledge.SESSION_FUNCTIONS.get(name, 0)


def why_builtin(name: str, arguments: int = -1) -> str:
    """Return why a function of pg_catalog needs the primary, "" if it does not or is unknown."""
    if name in knowledge.SESSION_FUNCTIONS:
        return Reason.SESSION_FUNCTION
    if name in knowledge.SQL_IN_STRING:
        return "" if arguments == knowledge.SAFE_WITH_ARGUMENTS.get(name, -2) else Reason.SQL_IN_STRING
    if name in knowledge.SERVER_FUNCTIONS or name.startswith(knowledge.SERVER_PREFIXES):
        return Reason.SERVER_FUNCTION
    if name in builtins.VOLATILE_FUNCTIONS and name not in knowledge.SAFE_VOLATILE:
        return Reason.WRITING_FUNCTION
    return ""


def is_builtin(name: str) -> bool:
    """Whether PostgreSQL has a built-in function of this name."""
    return (
        name in builtins.STEADY_FUNCTIONS
        or name in builtins.VOLATILE_FUNCTIONS
        or name in knowledge.SAFE_VOLATILE
        or name in knowledge.SESSION_FUNCTIONS
        or name in knowledge.SERVER_FUNCTIONS
        or name in knowledge.SQL_IN_STRING
        or name.startswith(knowledge.SERVER_PREFIXES)
    )


def is_session_setting(name: str) -> bool:
    """Whether every server with the session's settings answers the same for this setting."""
    return "." in name or name.lower() in builtins.SESSION_SETTINGS


def why_relation(schema: str, name: str) -> str:
    """Return why one of PostgreSQL's own relations needs the primary, "" if it does not."""
    if schema not in ("", "pg_catalog"):
        return ""
    if name in knowledge.SERVER_RELATIONS or name.startswith(knowledge.SERVER_RELATION_PREFIXES):
        return Reason.SERVER_RELATION
    return Reason.SEQUENCE if name in knowledge.SEQUENCE_RELATIONS else ""


def is_system_relation(schema: str, name: str) -> bool:
    """Whether a relation is one of PostgreSQL's own, judged by its name."""
    return schema in ("pg_catalog", "information_schema") or (not schema and name.startswith("pg_"))
