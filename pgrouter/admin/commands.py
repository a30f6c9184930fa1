"""The console's language: a text is parsed into commands, each with its columns known before it runs.

Words are case-insensitive, comments count as spaces, `;` ends a command. What is in none of the tables here is a
syntax error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgrouter.admin import operations
from pgrouter.admin.command import Command, unknown
from pgrouter.admin.driver_queries import HARMLESS, SELECTS, SETTINGS, WITHOUT_EFFECT
from pgrouter.admin.result import TEXT, Column, columns
from pgrouter.admin.views import VIEWS, View
from pgrouter.errors import FeatureNotSupported, RouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

ALL_STATEMENTS = "ALL"


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
        raise FeatureNotSupported(
            f"{verb} is not supported by this console", hint="PAUSE holds clients. SHOW HELP lists the commands."
        )
    raise unknown(words)


# -- one function per verb


def _show(words: list[str]) -> Command:
    name = " ".join(words[1:])
    view = _SHOW.get(name.upper())
    if view is not None:
        return Command("SHOW", view.rows, view.columns)
    value = SETTINGS.get(name.lower())
    if value is None:
        raise unknown(words)
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
        raise unknown(words)
    name = " ".join(found["name"].lower().split())
    name = _SPELLINGS.get(name, name)
    value = found["value"].strip("'\"")
    if name in WITHOUT_EFFECT:
        return Command("SET")
    here = SETTINGS.get(name)
    if here is None:
        return operations.set_parameter(found["name"], value)
    if _plain(value) not in (_plain(here), "default"):
        raise FeatureNotSupported(f'"{name}" is always "{here}" on this console')
    return Command("SET")


def _plain(value: str) -> str:
    """Normalize a value: utf8 is UTF-8, ISO is ISO, MDY."""
    return value.lower().replace("-", "").replace(" ", "").partition(",")[0]


def _select(words: list[str]) -> Command:
    probe = SELECTS.get(" ".join(words[1:]).lower().removeprefix("pg_catalog."))
    if probe is None:
        raise unknown(words)
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
        raise unknown(words)
    return Command("RELOAD", run, admin=True)


def _run_reload(context: Context) -> tuple[Row, ...]:
    context.app.reload()
    return ()


def _run_forget(context: Context) -> tuple[Row, ...]:
    context.app.reload()
    context.app.monitor.forget()
    return ()


_RELOADS: dict[str, Callable[[Context], tuple[Row, ...]]] = {"": _run_reload, "FORGET CLUSTER": _run_forget}


_VERBS: dict[str, Callable[[list[str]], Command]] = {
    "SHOW": _show,
    "SET": _set,
    "SELECT": _select,
    "RELOAD": _reload,
    "BEGIN": _begin,
    "START": _begin,
    "COMMIT": _commit,
    "END": _commit,
    "ROLLBACK": _rollback,
    "ABORT": _rollback,
    "DEALLOCATE": _deallocate,
    **operations.VERBS,
}

# What PgBouncer had for its online restart, up to 1.25
UNSUPPORTED = frozenset({"SUSPEND"})

# -- help

_ACTIONS = {
    "RELOAD": "read the configuration file again",
    "RELOAD FORGET CLUSTER": "the same, and forget which system identifier and timeline the cluster had",
    **operations.ABOUT,
}


def _help(_context: Context) -> Iterator[Row]:
    for name, view in _SHOW.items():
        yield f"SHOW {name}", view.about
    yield from _ACTIONS.items()


_SHOW = VIEWS | {"HELP": View(columns("command about"), _help, "this list")}
