"""pgpool.conf: `name = value` lines, comments, quoting and include, to names and values.

Source: Pgpool-II, src/config/pool_config.l (the grammar), pool_config_variables.c (units, truth values).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEEPEST = 10  # files that include each other
MOST_BYTES = 1024 * 1024  # of a file

_QUOTED = r"'(?:[^'\\\n]|\\.|'')*'"
_LINE = re.compile(
    rf"""\s* (?: (?P<name> [A-Za-z_][\w.]*) \s* (?:=\s*)?
         (?P<value> {_QUOTED} | [+-]?[\d.]+\s+[A-Za-z]+ | [^\s'\#]+ )? \s* )? (?:\#.*)?""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"''|\\([0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([A-Za-z]*)")

TRUE, FALSE = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
TIME_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}

# Names of older releases
ALIASES = {
    "logdir": "work_dir",
    "socket_dir": "unix_socket_directories",
    "fail_over_on_backend_error": "failover_on_backend_error",
    "black_function_list": "write_function_list",
    "white_function_list": "read_only_function_list",
    "black_query_pattern_list": "primary_routing_query_pattern_list",
    "follow_master_command": "follow_primary_command",
    "health_check_database_name": "health_check_database",
}


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter's value as written, and where."""

    text: str
    place: str = ""  # FILE:LINE

    def truth(self) -> bool:
        """Return a truth value. Raises ValueError."""
        word = self.text.lower()
        if word in TRUE:
            return True
        if word in FALSE:
            return False
        raise ValueError(f'expected on or off, got "{self.text}"')

    def number(self) -> int:
        """Return a whole number. Raises ValueError."""
        try:
            return int(self.text)
        except ValueError:
            raise ValueError(f'expected a whole number, got "{self.text}"') from None

    def seconds(self, unit: str = "s") -> float:
        """Return a duration in seconds; `unit` is that of a plain number. Raises ValueError."""
        return self._scaled(TIME_S, unit)

    def size(self, unit: str = "B") -> int:
        """Return a number of bytes. Raises ValueError."""
        return int(self._scaled(SIZE, unit))

    def items(self, separator: str = ",") -> tuple[str, ...]:
        """Return the parts of a list; a separator after a backslash belongs to the item."""
        parts = re.split(rf"(?<!\\){separator}", self.text)
        return tuple(part.strip().replace(f"\\{separator}", separator) for part in parts if part.strip())

    def _scaled(self, units: dict[str, float] | dict[str, int], unit: str) -> float:
        found = _NUMBER.fullmatch(self.text.strip())
        if found is None or (found[2] or unit) not in units:
            raise ValueError(f'expected a number with a unit ({", ".join(units)}), got "{self.text}"')
        number = float(found[1]) * units[found[2] or unit]
        if not math.isfinite(number):
            raise ValueError("expected a smaller number")
        return number


@dataclass(slots=True)
class Conf:
    """The values given, by the names of Pgpool-II 4.3 and later; the last of a name counts."""

    values: dict[str, Value] = field(default_factory=dict)

    def get(self, name: str, default: str = "") -> Value:
        """Return a value, or its default."""
        return self.values.get(name) or Value(default)

    def given(self, name: str) -> bool:
        """Whether a parameter has a value in the file."""
        return name in self.values

    def numbered(self, prefix: str) -> list[int]:
        """Return the numbers N for which there is a parameter PREFIX N, ascending."""
        found = (name.removeprefix(prefix) for name in self.values if name.startswith(prefix))
        return sorted(int(number) for number in found if number.isascii() and number.isdecimal())


def read(path: Path, read_text: Callable[[Path], str] | None = None) -> Conf:
    """Read a file and what it includes.

    Raises:
        ConfigError: with every line that is not of the grammar; a file cannot be read.

    """
    conf = Conf()
    problems: list[str] = []
    _read(path, conf, problems, read_text or _text_of, 0)
    if problems:
        raise ConfigError(problems)
    return conf


def parse(text: str, name: str = "pgpool.conf") -> Conf:
    """Parse a text without include. Raises ConfigError as `read` does."""
    conf = Conf()
    problems: list[str] = []
    for number, key, value in _lines(text, name, problems):
        conf.values[_name(key)] = Value(value, f"{name}:{number}")
    if problems:
        raise ConfigError(problems)
    return conf


def _read(path: Path, conf: Conf, problems: list[str], read_text: Callable[[Path], str], depth: int) -> None:
    if depth > DEEPEST:
        problems.append(f"{path}: files include each other more than {DEEPEST} times")
        return
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems.append(f"{path}: cannot be read: {why}")
        return
    for number, key, value in _lines(text, str(path), problems):
        if key.lower() == "include":
            _read(path.parent / value, conf, problems, read_text, depth + 1)
        else:
            conf.values[_name(key)] = Value(value, f"{path}:{number}")


def _lines(text: str, name: str, problems: list[str]) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        found = _LINE.fullmatch(line)
        if found is None or (found["name"] and found["value"] is None):
            problems.append(f"{name}:{number}: syntax error: expected name = value")
        elif found["name"]:
            yield number, found["name"], unquoted(found["value"])


def unquoted(value: str) -> str:
    """Return what a value as written means."""
    return _ESCAPE.sub(_unescaped, value[1:-1]) if value.startswith("'") else value.strip()


def quoted(value: str) -> str:
    """Return a value as it is written in a file."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    if escape is None:
        return "'"
    if escape.isascii() and escape.isdecimal():
        return chr(int(escape, 8))
    return _LETTERS.get(escape, escape)


def _name(key: str) -> str:
    name = key.lower()
    return ALIASES.get(name, name)


def _text_of(path: Path) -> str:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    return path.read_text("utf-8", "surrogateescape")
