"""The commands with which an operator stops databases, clients and the router, and lets them go on: PgBouncer's.

A command that waits yields None until what it waits for has come; the console looks again ten times a second.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgrouter.admin.command import Command, unknown
from pgrouter.admin.views.config import ALIASES
from pgrouter.errors import ConfigError, RouterError, ShuttingDown, UndefinedObject
from pgrouter.proxy.drain import Shutdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row
    from pgrouter.proxy.operator import Operator

LONGEST_ID = 18  # digits

# Of these settings of PgBouncer, 0 switches the limit off
NEVER_IF_0 = frozenset(
    {"query_wait_timeout", "server_idle_timeout", "pool_idle_timeout", "server_connect_timeout", "client_login_timeout"}
)
NEVER = "1000000000"  # seconds, as in the file

ABOUT = {
    "SET key = value": "change a setting until the next RELOAD, under its own name or PgBouncer's; see SHOW CONFIG",
    "PAUSE [db]": "hold clients, and close server connections as they become free; answered when none is left",
    "RESUME [db]": "let them go on",
    "DISABLE db": "refuse new clients",
    "ENABLE db": "accept them again",
    "RECONNECT [db]": "close each server connection when it is released",
    "WAIT_CLOSE [db]": "wait until those are closed",
    "KILL [db]": "end all clients and server connections now, and pause",
    "KILL_CLIENT id": "end the connection of a client",
    "SHUTDOWN": "stop now",
    "SHUTDOWN WAIT_FOR_SERVERS": "accept no more clients, let running transactions end, then stop",
    "SHUTDOWN WAIT_FOR_CLIENTS": "accept no more clients, wait until all have left, then stop",
}


# -- arguments

_QUOTED = re.compile(r""" "(?:[^"]|"")*" | '(?:[^']|'')*' """, re.VERBOSE)


def _name(words: list[str]) -> str | None:
    """Return the database that a command names; None: all."""
    if len(words) == 1:
        return None
    text = " ".join(words[1:])
    if _QUOTED.fullmatch(text):
        return text[1:-1].replace(text[0] * 2, text[0])
    if len(words) > 2:
        raise unknown(words)
    return text


def _one_name(words: list[str]) -> str:
    name = _name(words)
    if name is None:
        raise RouterError("a database is required", sqlstate="42601")
    return name


# -- databases


def _at_once(words: list[str], name: str | None, act: Callable[[Operator, str | None], object]) -> Command:
    def run(context: Context) -> tuple[Row, ...]:
        act(context.app.operator, name)
        return ()

    return Command(words[0].upper(), run, admin=True)


def _pause(words: list[str]) -> Command:
    name = _name(words)

    def run(context: Context) -> Iterator[None]:
        operator = context.app.operator
        operator.pause(name)
        try:
            while operator.busy(name):
                yield None
        except RouterError:  # cancelled, as with PgBouncer: its clients go on
            if operator.is_paused(name):
                operator.resume(name)
            raise

    return Command("PAUSE", run, admin=True)


def _wait_close(words: list[str]) -> Command:
    name = _name(words)

    def run(context: Context) -> Iterator[None]:
        while context.app.operator.closing(name):
            yield None

    return Command("WAIT_CLOSE", run, admin=True)


def _resume(words: list[str]) -> Command:
    name = _name(words)

    def run(context: Context) -> tuple[Row, ...]:
        if context.app.stopping:
            raise RouterError("pooler is shutting down", sqlstate="55000")
        context.app.operator.resume(name)
        return ()

    return Command("RESUME", run, admin=True)


def _disable(words: list[str]) -> Command:
    name = _one_name(words)
    return _at_once(words, name, lambda operator, _: operator.disable(name))


def _enable(words: list[str]) -> Command:
    name = _one_name(words)
    return _at_once(words, name, lambda operator, _: operator.enable(name))


def _reconnect(words: list[str]) -> Command:
    return _at_once(words, _name(words), lambda operator, name: operator.reconnect(name))


def _kill(words: list[str]) -> Command:
    return _at_once(words, _name(words), lambda operator, name: operator.kill(name))


# -- clients


def _kill_client(words: list[str]) -> Command:
    ident = "".join(words[1:]).strip("'").upper().removeprefix("C-")
    if not ident.isdecimal() or len(ident) > LONGEST_ID:
        raise RouterError(
            "KILL_CLIENT needs the id of one client",
            hint="SHOW CLIENTS has it in its column id.",
            sqlstate="42601",
        )

    def run(context: Context) -> tuple[Row, ...]:
        registry = context.app.registry
        client = registry.clients.get(int(ident)) or registry.logging_in.get(int(ident))
        if client is None:
            raise UndefinedObject(f"client {ident} does not exist")
        client.violation(ShuttingDown("terminating connection due to administrator command"))
        return ()

    return Command("KILL_CLIENT", run, admin=True)


# -- the router


def set_parameter(name: str, value: str) -> Command:
    """Return the SET of one of the router's settings, under its own name or PgBouncer's."""
    key = ALIASES.get(name.lower(), name)
    if name.lower() in NEVER_IF_0 and value == "0":
        value = NEVER

    def run(context: Context) -> tuple[Row, ...]:
        try:
            context.app.change(key, value, name)
        except ConfigError as error:
            raise RouterError("SET failed", detail=str(error), sqlstate="22023") from error
        return ()

    return Command(f"SET {name}={value}", run, admin=True)


_SHUTDOWNS = {"": Shutdown.NOW, "WAIT_FOR_SERVERS": Shutdown.SERVERS, "WAIT_FOR_CLIENTS": Shutdown.CLIENTS}


def _shutdown(words: list[str]) -> Command:
    how = _SHUTDOWNS.get(" ".join(words[1:]).upper())
    if how is None:
        raise unknown(words)

    def run(context: Context) -> Iterable[Row]:
        context.app.shut_down(how)
        return ()

    return Command("SHUTDOWN", run, admin=True)


VERBS: dict[str, Callable[[list[str]], Command]] = {
    "PAUSE": _pause,
    "RESUME": _resume,
    "DISABLE": _disable,
    "ENABLE": _enable,
    "RECONNECT": _reconnect,
    "WAIT_CLOSE": _wait_close,
    "KILL": _kill,
    "KILL_CLIENT": _kill_client,
    "SHUTDOWN": _shutdown,
}
