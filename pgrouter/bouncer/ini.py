"""PgBouncer's configuration file: lines to settings, and the key=value pairs of its entries. Pure but for reading.

Source: PgBouncer 1.26, lib/usual/cfparser.c, parse_ini_file(); src/loader.c, cstr_get_pair().
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_INCLUDE = 10
_SPACE = " \t\n\v\f\r"  # isspace() in the C locale

_INCLUDE = re.compile(r"%include[ \t]+(.*)")
_SETTING = re.compile(r"(?:'([^'\n]+)'|([\w.*-]*))[ \t]*=[ \t]*(.*)", re.ASCII)
_SECTION = re.compile(r"\[([^]]*)\](.*)")
_PAIR = re.compile(r" *([^= ]+) *= *(?:'((?:[^']|'')*)'|([^ ']?[^ ]*)) ?")


class Line(NamedTuple):
    """A setting, or (key None) the beginning of a section."""

    section: str
    key: str | None
    value: str
    place: str  # FILE:LINE


@dataclass(frozen=True, slots=True)
class _Reader:
    """One file with all that it includes."""

    read: Callable[[Path], str]

    def lines(self, path: Path, section: str, level: int) -> Iterator[Line]:
        """Yield what a file has; a file goes on in the section in which it was included."""
        try:
            text = self.read(path)
        except OSError as error:
            raise ConfigError([f'could not load file "{path}": {error.strerror or error}']) from None
        for number, raw in enumerate(text.split("\n"), 1):
            place = f"{path}:{number}"
            rest = raw.strip(_SPACE)
            while rest.startswith("["):
                match = _SECTION.match(rest)
                if match is None:
                    raise _syntax(place)
                section, rest = match[1], match[2].strip(_SPACE)
                yield Line(section, None, "", place)
            include = _INCLUDE.match(rest)
            if include and level >= MAX_INCLUDE:
                raise ConfigError([f"include nesting level too deep ({place}), stopping loading"])
            if include:
                for line in self.lines(Path(include[1]), section, level + 1):
                    section = line.section
                    yield line
            elif rest and rest[0] not in "#;":
                yield _setting(rest, section, place)


def _setting(text: str, section: str, place: str) -> Line:
    match = _SETTING.fullmatch(text)
    if match is None:
        raise _syntax(place)
    key = match[2] if match[1] is None else match[1]
    if not section:
        raise ConfigError([f"load_init_file: value without section: {key} ({place})"])
    return Line(section, key, match[3], place)


def _syntax(place: str) -> ConfigError:
    return ConfigError([f"syntax error in configuration ({place}), stopping loading"])


def read_text(path: Path) -> str:
    """Return the text of a file; bytes that are not UTF-8 stand for themselves."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def read_ini(path: Path, read: Callable[[Path], str] = read_text) -> tuple[Line, ...]:
    """Read a file and all that it includes; names in it are relative to the working directory, as there.

    Raises:
        ConfigError: in PgBouncer's words, with FILE:LINE.

    """
    return tuple(_Reader(read).lines(path, "", 0))


def pairs(text: str) -> list[tuple[str, str]]:
    """Split the value of an entry.

    >>> pairs("host=127.0.0.1 password='it''s'")
    [('host', '127.0.0.1'), ('password', "it's")]

    Raises:
        ValueError: "syntax error in connection string".

    """
    found, at = [], 0
    text = text.strip(_SPACE)
    while at < len(text):
        match = _PAIR.match(text, at)
        value = match and (match[3] if match[2] is None else match[2].replace("''", "'"))
        if not match or not value or (match[3] or "").startswith("'"):
            raise ValueError("syntax error in connection string")
        found.append((match[1], value))
        at = match.end()
    return found
