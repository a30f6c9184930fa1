"""The lines of pg_hba.conf and pg_ident.conf: words, quotes, comma lists, and the files that they include.

Text in, tokens out; what else is read (`@file`, `include`) comes from a `Files`, so that tests need no disk.

Source: backend/libpq/hba.c, next_token(), next_field_expand(), tokenize_auth_file().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from pgrouter.auth.text import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_DEPTH = 10  # CONF_FILE_MAX_DEPTH, conffiles.h
INCLUDES = ("include", "include_if_exists", "include_dir")
BLANK = " \t\r"


class Token(NamedTuple):
    """One word. A quoted one is no keyword."""

    text: str
    quoted: bool = False

    def is_keyword(self, word: str) -> bool:
        """Whether it is this keyword."""
        return not self.quoted and self.text == word


Field = tuple[Token, ...]  # one word, or a list with commas


class Line(NamedTuple):
    """A line with something in it; `number` is that of its first physical line."""

    path: Path
    number: int
    text: str
    fields: tuple[Field, ...]

    @property
    def place(self) -> str:
        """FILE:LINE."""
        return f"{self.path}:{self.number}"


class Files(Protocol):
    """Where included files come from."""

    def read(self, path: Path) -> str:
        """Return a file's text. Raises OSError."""

    def listed(self, directory: Path) -> list[Path]:
        """Return the files in a directory. Raises OSError."""


class Disk:
    """The file system."""

    def read(self, path: Path) -> str:
        """Return a file's text. Raises OSError."""
        return as_text(path.read_bytes())

    def listed(self, directory: Path) -> list[Path]:
        """Return the files in a directory. Raises OSError."""
        return [entry for entry in directory.iterdir() if not entry.is_dir()]


class LineReader:
    """Reads a file and all that it includes; `problems` are `FILE:LINE: what` of what could not be read."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.problems: list[str] = []

    def read(self, path: Path) -> list[Line]:
        """Return the lines of a file, and at their place those of the files that it includes."""
        try:
            return list(self._lines(path, 0))
        except OSError as error:
            self.problems.append(f"{path}: {error.strerror or error}")
            return []

    def _lines(self, path: Path, depth: int) -> Iterator[Line]:
        for number, text in _logical_lines(self._files.read(path)):
            before = len(self.problems)
            line = Line(path, number, text.strip(), self._fields(path, number, text, depth))
            if len(self.problems) > before or not line.fields:
                continue
            word = line.fields[0][0].text if line.fields[0] else ""
            if word in INCLUDES and len(line.fields) == 2 and line.fields[1]:
                yield from self._included(word, line, depth)
            else:
                yield line

    def _fields(self, path: Path, number: int, text: str, depth: int) -> tuple[Field, ...]:
        fields: list[Field] = []
        more = False
        for token, more_follows in _tokens(text):
            found: Field = (token,)
            if not token.quoted and len(token.text) > 1 and token.text[0] == "@":
                found = self._listed_in(path, number, token.text[1:], depth)
            if more:
                fields[-1] += found
            else:
                fields.append(found)
            more = more_follows
        return tuple(fields)

    def _listed_in(self, path: Path, number: int, name: str, depth: int) -> Field:
        """Return all words of a file that is named as @file in place of names."""
        inner = path.parent / name
        try:
            self._check(depth)
            lines = list(self._lines(inner, depth + 1))
        except OSError as error:
            self.problems.append(f"{path}:{number}: could not open file {str(inner)!r}: {error.strerror or error}")
            return ()
        return tuple(token for line in lines for field in line.fields for token in field)

    def _included(self, word: str, line: Line, depth: int) -> Iterator[Line]:
        target = line.path.parent / line.fields[1][0].text
        try:
            self._check(depth)
            for path in self._conf_files(target) if word == "include_dir" else [target]:
                yield from self._lines(path, depth + 1)
        except FileNotFoundError as error:
            if word != "include_if_exists":
                self.problems.append(f"{line.place}: could not open {str(target)!r}: {error.strerror or error}")
        except OSError as error:
            self.problems.append(f"{line.place}: could not open {str(target)!r}: {error.strerror or error}")

    def _conf_files(self, directory: Path) -> list[Path]:
        """Return what PostgreSQL takes from a directory: *.conf, no hidden files, in the order of their names."""
        found = self._files.listed(directory)
        return sorted(path for path in found if path.name.endswith(".conf") and not path.name.startswith("."))

    @staticmethod
    def _check(depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise OSError("maximum nesting depth exceeded")


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers; a backslash at the end of one continues it."""
    begun, first = "", 0
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.removesuffix("\r")
        first = first or number
        if line.endswith("\\"):
            begun += line[:-1]
            continue
        yield first, begun + line
        begun, first = "", 0
    if begun:
        yield first, begun


def _tokens(line: str) -> Iterator[tuple[Token, bool]]:
    """Yield each token of a line, and whether a comma follows: then the next one is in the same list."""
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in BLANK + ",":
            at += 1
        if at == end or line[at] == "#":
            return
        at, token, comma = _token(line, at)
        yield token, comma


def _token(line: str, at: int) -> tuple[int, Token, bool]:
    """Return where the token that begins at `at` ends, the token, and whether a comma ended it."""
    text, quoting, quoted, was_quote = "", False, line[at] == '"', False
    while at < len(line) and (quoting or line[at] not in BLANK):
        letter = line[at]
        if letter == "#" and not quoting:
            return len(line), Token(text, quoted), False
        if letter == "," and not quoting:
            return at + 1, Token(text, quoted), True
        if letter != '"' or was_quote:
            text += letter
        was_quote = quoting and letter == '"' and not was_quote  # two in quotes are one
        if letter == '"':
            quoting = not quoting
        at += 1
    return at, Token(text, quoted), False
