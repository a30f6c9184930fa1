"""The console's language: a text is parsed into commands, each with its columns known before it runs.

Words are case-insensitive, comments count as spaces, `;` ends a command. What is in none of the tables here is a
syntax error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgrouter.admin.driver_queries import HARMLESS, SELECTS, SETTINGS, WITHOUT_EFFECT
from pgrouter.admin.result import TEXT, Column, columns
from pgrouter.admin.views import VIEWS, View
from pgrouter.admin.views.config import ALIASES
from pgrouter.errors import FeatureNotSupported, RouterError, ShuttingDown, UndefinedObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row

_TOKEN = re.compile(
    r"""(?P<space> \s+ | --[^\n]* | /\*.*?(?:\*/|\Z) )
      | (?P<end> ; )
      | (?P<text> '(?:[^']|'')*' | "(?:[^"]|"")*" | [^\s;'"/-]+ | . )""",
    re.DOTALL | re.VERBOSE,
)

MAX_TEXT = 16 * 1024  # characters; what drivers send by themselves has a few hundred at most
SOME_TOKENS = 256  # after which others may have a turn
SHOWN_IN_ERRORS = 60  # characters of an unknown command

ALL_STATEMENTS = "ALL"


def _nothing(_context: Context) -> tuple[Row, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Command:
    """One command, ready to run; `columns` None: it returns no rows."""

    tag: str
    run: Callable[[Context], Iterable[Row | None]] = _nothing
    columns: tuple[Column, ...] | None = None
    admin: bool = False  # not for stats users
    status: bytes = b""  # transaction status afterwards; empty: unchanged
    closes: str = ""  # prepared statement that it deallocates, or ALL_STATEMENTS


# -- text -> commands


def parse(text: str) -> list[Command]:
    """Parse the commands in a text, none if it is empty. Raises as `parsing` does."""
    return [command for command in parsing(text) if command is not None]


def parsing(text: str) -> Iterator[Command | None]:
    """Yield the commands in a text, and None now and then, as a long text takes a while.

    Raises:
        RouterError: 42601, one of them is not a command of the console; 0A000, it is one of PgBouncer's that is not
            supported; 54000, the text is too long. Then none of them may run, as in PostgreSQL.

    """
    if len(text) > MAX_TEXT:
        raise RouterError(f"a console command has at most {MAX_TEXT} characters", sqlstate="54000")
    for words in splitting(text):
        yield _command(words) if words else None


def split(text: str) -> list[list[str]]:
    """Split a text into commands, and those into words; comments and empty commands are dropped."""
    return [words for words in splitting(text) if words]


def splitting(text: str) -> Iterator[list[str]]:
    """Yield the words of each command, and an empty list now and then."""
    pieces: list[str] = []
    for number, token in enumerate(_TOKEN.finditer(text), 1):
        if token.lastgroup == "end":
            yield "".join(pieces).split()
            pieces = []
            continue
        pieces.append(" " if token.lastgroup == "space" else token.group())
        if number % SOME_TOKENS == 0:
            yield []
    yield "".join(pieces).split()


def _command(words: list[str]) -> Command:
    verb = words[0].upper()
    if verb in _VERBS:
        return _VERBS[verb](words)
    if verb in HARMLESS:
        return Command(HARMLESS[verb])
    if verb in UNSUPPORTED:
        raise FeatureNotSupported(f"{verb} is not supported by this console", hint="SHOW HELP lists what is.")
    raise _unknown(words)


def _unknown(words: list[str]) -> RouterError:
    shown = " ".join(words)
    if len(shown) > SHOWN_IN_ERRORS:
        shown = shown[:SHOWN_IN_ERRORS] + "..."
    return RouterError(
        f'the console knows no such command: "{shown}"',
        detail="This database is the router itself: it holds no tables and runs no SQL.",
        hint="SHOW HELP",
        sqlstate="42601",
    )


# -- one function per verb


def _show(words: list[str]) -> Command:
    name = " ".join(words[1:])
    view = _SHOW.get(name.upper())
    if view is not None:
        return Command("SHOW", view.rows, view.columns)
    value = SETTINGS.get(name.lower())
    if value is None:
        raise _unknown(words)
    return Command("SHOW", lambda _: [(value,)], (Column(name.lower().replace(" ", "_"), TEXT),))


_SET = re.compile(
    r"""SET\s+ (?:(?:SESSION|LOCAL)\s+(?!CHARACTERISTICS))? (?P<name>NAMES|TIME\s+ZONE|[\w.]+)
        \s*(?:=|TO\b)?\s* (?P<value>.*)""",
    re.IGNORECASE | re.VERBOSE,
)
_SPELLINGS = {"names": "client_encoding", "time zone": "timezone"}


def _set(words: list[str]) -> Command:
    found = _SET.fullmatch(" ".join(words))
    if found is None:
        raise _unknown(words)
    name = " ".join(found["name"].lower().split())
    name = _SPELLINGS.get(name, name)
    value = found["value"].strip("'\"")
    if name in WITHOUT_EFFECT:
        return Command("SET")
    here = SETTINGS.get(name)
    if here is None:
        key = ALIASES.get(name, "it")
        raise UndefinedObject(
            f'the console has no setting "{name}"',
            hint=f"The router's configuration: change {key} in its file and say RELOAD. SHOW CONFIG lists all.",
        )
    if _plain(value) not in (_plain(here), "default"):
        raise FeatureNotSupported(f'"{name}" is always "{here}" on this console')
    return Command("SET")


def _plain(value: str) -> str:
    """Normalize a value: utf8 is UTF-8, ISO is ISO, MDY."""
    return value.lower().replace("-", "").replace(" ", "").partition(",")[0]


def _select(words: list[str]) -> Command:
    probe = SELECTS.get(" ".join(words[1:]).lower().removeprefix("pg_catalog."))
    if probe is None:
        raise _unknown(words)
    return Command("SELECT 1", lambda context: [(probe.value(context),)], (probe.column,))


def _begin(words: list[str]) -> Command:
    return Command("BEGIN" if words[0].upper() == "BEGIN" else "START TRANSACTION", status=b"T")


def _commit(_words: list[str]) -> Command:
    return Command("COMMIT", status=b"I")


def _rollback(words: list[str]) -> Command:
    return Command("ROLLBACK", status=b"" if "TO" in map(str.upper, words) else b"I")


def _deallocate(words: list[str]) -> Command:
    name = words[-1]
    if name.upper() == ALL_STATEMENTS:
        return Command("DEALLOCATE ALL", closes=ALL_STATEMENTS)
    return Command("DEALLOCATE", closes=name[1:-1].replace('""', '"') if name[0] == '"' else name.lower())


def _reload(words: list[str]) -> Command:
    run = _RELOADS.get(" ".join(words[1:]).upper())
    if run is None:
        raise _unknown(words)
    return Command("RELOAD", run, admin=True)


def _run_reload(context: Context) -> tuple[Row, ...]:
    context.app.reload()
    return ()


def _run_forget(context: Context) -> tuple[Row, ...]:
    context.app.reload()
    context.app.monitor.forget()
    return ()


_RELOADS: dict[str, Callable[[Context], tuple[Row, ...]]] = {"": _run_reload, "FORGET CLUSTER": _run_forget}


def _shutdown(words: list[str]) -> Command:
    # What PgBouncer's options wait for is what a drain does anyway.
    if [word.upper() for word in words[1:]] not in ([], ["WAIT_FOR_CLIENTS"], ["WAIT_FOR_SERVERS"]):
        raise _unknown(words)
    return Command("SHUTDOWN", _run_shutdown, admin=True)


def _run_shutdown(context: Context) -> tuple[Row, ...]:
    context.app.request_stop()
    return ()


LONGEST_ID = 18  # digits


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


_VERBS: dict[str, Callable[[list[str]], Command]] = {
    "SHOW": _show,
    "SET": _set,
    "SELECT": _select,
    "RELOAD": _reload,
    "SHUTDOWN": _shutdown,
    "KILL_CLIENT": _kill_client,
    "BEGIN": _begin,
    "START": _begin,
    "COMMIT": _commit,
    "END": _commit,
    "ROLLBACK": _rollback,
    "ABORT": _rollback,
    "DEALLOCATE": _deallocate,
}

# PgBouncer's other commands
UNSUPPORTED = frozenset({"PAUSE", "RESUME", "DISABLE", "ENABLE", "RECONNECT", "KILL", "SUSPEND", "WAIT_CLOSE"})

# -- help

_ACTIONS = {
    "RELOAD": "read the configuration file again",
    "RELOAD FORGET CLUSTER": "the same, and forget which system identifier and timeline the cluster had",
    "SHUTDOWN": "accept no more clients, let running transactions end, then stop",
    "KILL_CLIENT id": "end the connection of a client",
}


def _help(_context: Context) -> Iterator[Row]:
    for name, view in _SHOW.items():
        yield f"SHOW {name}", view.about
    yield from _ACTIONS.items()


_SHOW = VIEWS | {"HELP": View(columns("command about"), _help, "this list")}
