"""psql scripts cut into what psql would send: statements, the data of their COPY, and psql's own commands.

Follows psql's lexer (psqlscan.l) where the regression tests need it: quotes, dollar quotes, nested comments,
parentheses, bodies between BEGIN ATOMIC and END, `\\;`, and variables, which are put in as they are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = re.compile(
    r"""
    (?P<comment>--[^\n]*)
  | (?P<nested>/\*)
  | (?P<quoted>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
             | (?P<tag>\$(?:[A-Za-z_\x80-\U0010ffff][\w]*)?\$).*?(?P=tag))
  | (?P<variable>(?<!:):(?:(?P<bare>[A-Za-z_]\w*)|'(?P<literal>\w+)'|"(?P<name>\w+)"))
  | (?P<glue>\\;)
  | (?P<meta>\\[^\n]*)
  | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$]*)
  | (?P<end>;)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
COPY_FROM_STDIN = re.compile(r"\s*copy\b.*\bfrom\s+stdin\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is sent as one string; `data` answers its COPY FROM STDIN."""

    sql: str
    line: int
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Meta:
    """One of psql's own commands; `sql` is what stood before it and was not ended by a semicolon."""

    command: str
    arguments: str
    sql: str
    line: int


class Script:
    """One file, read from front to back; `variables` may change while it is read."""

    def __init__(self, text: str, variables: dict[str, str]) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._start()

    def _start(self) -> None:
        self._sql: list[str] = []
        self._words: list[str] = []
        self._parentheses = self._blocks = 0

    def __iter__(self) -> Iterator[Statement | Meta]:
        """Give what psql would send or do, in order."""
        while match := TOKEN.match(self._text, self._at):
            self._at = match.end()
            if match["meta"]:
                yield self._meta(match["meta"], self._line())
            elif match["end"] and not self._parentheses and not self._blocks:
                yield self._ended(self._line())
            else:
                self._add(match)
        if self._gathered():
            yield Statement(self._gathered(), self._line())

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _gathered(self) -> str:
        return "".join(self._sql).strip()

    def _add(self, match: re.Match[str]) -> None:
        if match["nested"]:
            self._sql.append(self._comment())
        elif match["variable"]:
            self._sql.append(self._value(match))
        elif match["glue"]:
            self._sql.append(";")
        elif not match["comment"]:
            self._count(match[0])
            self._sql.append(match[0])
        elif self._gathered():
            self._sql.append(match[0])

    def _count(self, token: str) -> None:
        self._parentheses = max(0, self._parentheses + (token == "(") - (token == ")"))
        word = token.lower()
        if not (word.isidentifier() and len(self._words) < 10_000):
            return
        self._words.append(word)
        if self._words[:2] not in (["create", "function"], ["create", "procedure"]) and self._words[:3] != [
            "create", "or", "replace",
        ]:  # fmt: skip
            return
        self._blocks += (word == "begin") or (word == "case" and self._blocks > 0)
        self._blocks -= word == "end" and self._blocks > 0

    def _comment(self) -> str:
        depth, start = 1, self._at - 2
        for match in re.compile(r"/\*|\*/").finditer(self._text, self._at):
            depth += 1 if match[0] == "/*" else -1
            if not depth:
                self._at = match.end()
                break
        return self._text[start : self._at]

    def _value(self, match: re.Match[str]) -> str:
        name = match["bare"] or match["literal"] or match["name"]
        value = self._variables.get(name)
        if value is None:
            return match[0]
        if match["literal"]:
            return "'" + value.replace("'", "''") + "'"
        return '"' + value.replace('"', '""') + '"' if match["name"] else value

    def _meta(self, text: str, line: int) -> Meta:
        command, _, arguments = text[1:].partition(" ")
        if command == "\\":  # `\\` ends a command: the rest of the line is another
            return self._meta(arguments, line)
        meta = Meta(command.strip(), arguments.strip(), self._gathered(), line)
        if command.startswith(("g", "crosstab")):
            self._start()
        return meta

    def _ended(self, line: int) -> Statement:
        sql = self._gathered()
        self._start()
        data = self._copied() if COPY_FROM_STDIN.match(sql) else None
        return Statement(sql, line, data)

    def _copied(self) -> bytes:
        """Take the lines up to the one that says only a backslash and a full stop."""
        begin = self._text.find("\n", self._at) + 1 or len(self._text)
        match = re.compile(r"^\\\.\n?", re.MULTILINE).search(self._text, begin)
        end = match.start() if match else len(self._text)
        self._at = match.end() if match else end
        return self._text[begin:end].encode("utf-8", "surrogateescape")
