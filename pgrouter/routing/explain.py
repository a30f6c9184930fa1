"""A classification for people to read: where a statement goes, why, and what in its text is the reason. Pure.

`pgrouter explain` prints these lines, and `EXPLAIN ROUTE` gives them to a client as rows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgrouter.routing.statement import Effect, Statement, Target, Tx

if TYPE_CHECKING:
    from pgrouter.routing.policy import Route

_MEANING = {
    Target.PRIMARY: "primary",
    Target.REPLICA: "replica",
    Target.SESSION: "session (the server that the session is on, else the primary)",
    Target.ERROR: "error (the primary gets it and says what is wrong)",
}
# What is the same to the cache must be the same here: spaces and comments do not count.
_BLANK = re.compile(rb"[ \t\n\r\f\v]+|--[^\r\n]*|/\*.*?\*/", re.DOTALL)
_WORD = re.compile(rb"[\w$\x80-\xff]")
MOST_POOL = 200  # bytes of one of Pgpool-II's commands
POOL_VIEWS = (
    "pool_nodes", "pool_processes", "pool_pools", "pool_version", "pool_status", "pool_cache",
    "pool_health_check_stats", "pool_backend_stats",
)  # fmt: skip
_POOL = re.compile(
    rf"""\ ?( show\ (?:{"|".join(POOL_VIEWS)}) | pgpool\ (?: show\ \w+ | reset\ \w+
         | set\ \w+\ ?(?:to\ |=)\ ?(?:'[^']*'|[\w.-]+) | set\ \w+\ '[^']*' ) )\ ?;?\ ?""".encode(),
    re.IGNORECASE | re.VERBOSE,
)


def asked_for(text: bytes) -> bytes | None:
    """Return the statement that EXPLAIN ROUTE is about, None if the text is not EXPLAIN ROUTE."""
    end = _after(text, b"explain", b"route")
    rest = text[end:]
    if end < 0 or _WORD.match(rest) or not rest.strip():
        return None
    return rest[1:] if rest[:1].isspace() else rest


def asks_position(text: bytes) -> bool:
    """Whether the text is SHOW pgrouter.lsn."""
    return _ends(text, _after(text, b"show", b"pgrouter", b".", b"lsn"))


def asks_pool(text: bytes) -> tuple[str, ...]:
    """Return the words of one of Pgpool-II's commands, in lower case: SHOW POOL_NODES, PGPOOL SHOW ...; () if none."""
    if len(text) > MOST_POOL:
        return ()
    found = _POOL.fullmatch(b" ".join(_BLANK.sub(b" ", text).split()))
    return tuple(found[1].decode("ascii", "replace").lower().replace("=", " ").split()) if found else ()


def asks_timer(text: bytes) -> str:
    """Return which idle timeout of a session the text SHOWs; the router enforces these, not the server."""
    name = b"idle_session_timeout"
    return name.decode() if _ends(text, _after(text, b"show", name)) else ""


def _after(text: bytes, *tokens: bytes) -> int:
    """Return where these tokens end at the start of the text, in any case; -1 if it does not begin with them."""
    at = 0
    word = False
    for token in tokens:
        start, at = at, _skip(text, at)
        if text[at : at + len(token)].lower() != token or (word and at == start and _WORD.match(token)):
            return -1
        at += len(token)
        word = _WORD.match(token) is not None
    return at


def _skip(text: bytes, at: int) -> int:
    while found := _BLANK.match(text, at):
        at = found.end()
    return at


def _ends(text: bytes, at: int) -> bool:
    """Whether nothing follows but a semicolon."""
    at = _skip(text, at) if at >= 0 else len(text) + 1
    return _skip(text, at + text.startswith(b";", at)) == len(text)


def explain(sql: str, statement: Statement, here: Route | None = None) -> list[str]:
    """Return lines with the target, the reason, its position in the text, and what was looked up.

    Args:
        sql: the statement's text.
        statement: its class.
        here: its route in the session that asks, which is shown first; None: no session.

    """
    lines = [f"route:      {_route(statement)}", f"reason:     {reason_of(statement)}"]
    if here is not None and (here.target, here.reason) != (statement.target, statement.reason):
        lines[:0] = [f"route:      {_MEANING[here.target]}", f"reason:     {here.reason}"]
        lines[2:4] = [f"by itself:  {_route(statement)}: {reason_of(statement)}"]
    if statement.position >= 0:
        lines += _pointer(sql, statement.position)
    for title, names in (("functions", statement.functions), ("relations", statement.relations)):
        if names:
            lines.append(f"{title + ':':<12}{', '.join(names)}")
    effects = [effect.name.lower().replace("_", " ") for effect in Effect if effect & statement.effects and effect.name]
    if effects:
        lines.append(f"may leave:  {', '.join(effects)}")
    if statement.through:
        lines.append(f"through:    {statement.through}")
    return lines


def reason_of(statement: Statement) -> str:
    """Return the reason with its cause."""
    return f"{statement.reason}: {statement.cause}" if statement.cause else statement.reason


def _route(statement: Statement) -> str:
    if statement.target is Target.SESSION and statement.tx is Tx.BEGIN_READ_ONLY:
        return "session (a read-only transaction: begins on a replica, moves to the primary where it must)"
    return _MEANING[statement.target]


def _pointer(sql: str, position: int) -> list[str]:
    """Return the line of the text with the byte at `position`, and a mark below it."""
    before = sql.encode("utf-8", "replace")[:position].decode("utf-8", "replace")
    start = before.rfind("\n") + 1
    line = sql[start:].partition("\n")[0]
    blank = "".join("\t" if character == "\t" else " " for character in before[start:])
    return [f"at:         {line}", f"            {blank}^"]
