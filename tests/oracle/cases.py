"""The hand-written corpus: SQL files in which comment lines that begin with `--- ` say what the statements need.

    --- case 5: DEFAULT nextval(...)             which of the numbered cases what follows belongs to; 0 is everyday SQL
    --- setup [as USER]                          objects; all setup of a file runs before any statement is judged
    --- primary [unseen] [alone] [unrun] [as USER] [: why]
    --- read [varies] [alone] [as USER] [: why]  a plain read
    --- before: SQL                              what the session did before each statement of this section

What is sent as one string ends at an empty line and, but for setup, also at a line that ends with a semicolon.
`unseen`: running cannot show that it needs the
primary, `why` says what happens. `unrun`: it would harm the servers. `varies`: its answer is legitimately random or of
the moment. `alone`: outside a transaction block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = Path(__file__).parent / "cases"
FLAGS = {"primary": {"unseen", "alone", "unrun"}, "read": {"varies", "alone"}, "setup": set()}

Claim = Literal["primary", "read"]


@dataclass(frozen=True, slots=True)
class Case:
    """One statement and what is claimed of it."""

    file: str
    line: int
    number: int  # of the numbered cases; 0: everyday SQL
    sql: str
    claim: Claim
    why: str = ""
    user: str = "postgres"
    before: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.file}:{self.line}"


@dataclass(slots=True)
class CaseFile:
    """One file: a database of its own, its setup as (user, SQL), its cases."""

    name: str
    setup: list[tuple[str, str]] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)


@dataclass(slots=True)
class _Section:
    kind: str = ""
    user: str = "postgres"
    flags: frozenset[str] = frozenset()
    why: str = ""
    before: str = ""


class CaseFileError(ValueError):
    """A case file says something that is not understood; the text names the file and the line."""


def read_all(directory: Path = DIRECTORY) -> list[CaseFile]:
    """Read every case file, in the order of their names."""
    return [parse(path.stem, path.read_text()) for path in sorted(directory.glob("*.sql"))]


def parse(name: str, text: str) -> CaseFile:
    """Read one file's text."""
    made = CaseFile(name)
    section, number = _Section(), 0
    for line, paragraph in paragraphs(text):
        if not paragraph.startswith("--- "):
            for offset, sql in strings(paragraph, whole=section.kind == "setup"):
                _add(made, section, number, line + offset, sql)
        elif match := re.match(r"--- case (\d+)", paragraph):
            number, section = int(match[1]), _Section()
        elif paragraph.startswith("--- before: "):
            section.before = paragraph.removeprefix("--- before: ")
        else:
            section = _section(paragraph, f"{name}:{line}")
    return made


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Give (line, text) of each directive and of each paragraph."""
    gathered: list[str] = []
    start = 0
    for line, content in enumerate([*text.splitlines(), ""], 1):
        directive = content.startswith("--- ")
        if (directive or not content.strip()) and gathered:
            yield start, "\n".join(gathered)
            gathered = []
        if directive:
            yield line, content
        elif content.strip():
            start = start if gathered else line
            gathered.append(content)


def strings(paragraph: str, *, whole: bool) -> Iterator[tuple[int, str]]:
    """Cut a paragraph into (line, SQL) after lines that end with a semicolon, unless it is wanted whole."""
    gathered: list[str] = []
    lines = paragraph.splitlines()
    for number, content in enumerate(lines):
        gathered.append(content)
        if (content.endswith(";") and not whole) or number == len(lines) - 1:
            yield number - len(gathered) + 1, "\n".join(gathered)
            gathered = []


def _section(directive: str, place: str) -> _Section:
    head, _, why = directive.removeprefix("--- ").partition(":")
    kind, *words = head.split()
    user = "postgres"
    if "as" in words:
        user = words[words.index("as") + 1]
        words = words[: words.index("as")]
    if kind not in FLAGS or not set(words) <= FLAGS[kind]:
        raise CaseFileError(f"{place}: {directive!r} is not a directive")
    if {"unseen", "unrun", "varies"} & set(words) and not why.strip():
        raise CaseFileError(f"{place}: {directive!r} does not say why")
    return _Section(kind, user, frozenset(words), why.strip())


def _add(made: CaseFile, section: _Section, number: int, line: int, sql: str) -> None:
    if section.kind == "setup":
        made.setup.append((section.user, sql))
    elif section.kind in ("primary", "read"):
        claim: Claim = "primary" if section.kind == "primary" else "read"
        made.cases.append(
            Case(made.name, line, number, sql, claim, section.why, section.user, section.before, section.flags)
        )
    elif any(not content.startswith("--") for content in sql.splitlines()):
        raise CaseFileError(f"{made.name}:{line}: a statement that belongs to no section")
