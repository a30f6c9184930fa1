"""Conversations as text.

    == area/name: what it shows [options]
    C> Parse("", "select 1"); Bind(); Execute(); Sync()
    S< 1 2 D C ZI

`C>` lines say what the client sends (calls of `wire.py`; `Cancel()` sends a CancelRequest on a connection of its own,
`Wait(s)` sleeps). `S<` says which messages PostgreSQL itself answers: type letters, `D*3` three of them, `S*` any
number of ParameterStatus, `ZI` a ReadyForQuery with that status, `E:42601` an error with that SQLSTATE, `raw:N` bytes
outside a frame, `EOF` the end. `R<` says what the router answers where it differs on purpose; then only the router's
types are compared, not its bytes. A step is everything from the first `C>` line to the `S<` (and `R<`) line that
follows.

Options: raw (the script sends the startup packet itself), own-words (errors of the router's own: only severity and
SQLSTATE are compared), router-only (PostgreSQL itself is not asked).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from wire import BUILDERS

SCRIPTS = Path(__file__).parent / "scripts"
_HEADER = re.compile(r"== (?P<name>\S+): (?P<shows>[^\[]*)(?:\[(?P<options>[^\]]*)\])?$")


@dataclass(frozen=True, slots=True)
class Action:
    """What the client does: bytes to send, or something outside the connection."""

    kind: str  # send, wait, cancel
    data: bytes = b""
    wait_s: float = 0.0


@dataclass(slots=True)
class Step:
    """What the client does and the tokens of what it must get."""

    actions: list[Action] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    routed: list[str] | None = None


@dataclass(slots=True)
class Script:
    """One conversation."""

    name: str
    shows: str
    options: frozenset[str]
    steps: list[Step] = field(default_factory=list)


def load() -> list[Script]:
    """Read all scripts."""
    return [script for path in sorted(SCRIPTS.glob("*.txt")) for script in parse(path.read_text())]


def parse(text: str) -> list[Script]:
    """Read the scripts of one file; anything that is not understood is a ValueError."""
    scripts: list[Script] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if header := _HEADER.match(line):
            options = frozenset((header["options"] or "").replace(",", " ").split())
            scripts.append(Script(header["name"], header["shows"].strip(), options))
            continue
        steps = scripts[-1].steps
        mark, _, rest = line.partition(" ")
        if mark == "C>":
            if not steps or steps[-1].answers:
                steps.append(Step())
            steps[-1].actions += _actions(rest)
        elif mark == "S<":
            steps[-1].answers = _tokens(rest)
        elif mark == "R<":
            steps[-1].routed = _tokens(rest)
        else:
            raise ValueError(f"not a line of a conversation: {line!r}")
    return scripts


def _tokens(text: str) -> list[str]:
    tokens = []
    for token in text.split():
        what, star, times = token.partition("*")
        tokens += [what] * int(times) if star and times else [token]
    return tokens


def _actions(text: str) -> list[Action]:
    actions = []
    for statement in ast.parse(text.strip()).body:
        call = statement.value
        name = call.func.id
        values = [ast.literal_eval(value) for value in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        if name == "Cancel":
            actions.append(Action("cancel"))
        elif name == "Wait":
            actions.append(Action("wait", wait_s=values[0]))
        else:
            actions.append(Action("send", BUILDERS[name](*values, **named)))
    return actions
