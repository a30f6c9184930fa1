"""A YAML file to `Settings`, or every problem in it.

A problem is a line `path.to.key: what is wrong`; a list item is `listen[0].port`. Unknown and repeated keys are
problems: a misspelt setting must never be ignored silently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import yaml

from pgrouter.config.decode import decode
from pgrouter.config.rules import broken_rules
from pgrouter.config.settings import Settings
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class Source(Protocol):
    """Where settings come from, each time that they are loaded; its name is for people."""

    name: str

    def load(self) -> Settings:
        """Return the settings as they are now; raises ConfigError with every problem."""


class File:
    """A configuration file of ours."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def load(self) -> Settings:
        """See `Source`."""
        return load(self._path)


def load(path: Path) -> Settings:
    """Read a configuration file; its relative paths are relative to it.

    Raises:
        ConfigError: with every problem found.

    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"cannot be read: not UTF-8 at byte {error.start}"]) from error
    return parse(text, path.parent.absolute())


def parse(text: str, directory: Path) -> Settings:
    """Parse the text of a configuration file located in `directory`. Raises the same as `load`."""
    try:
        repeated = _repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_yaml_problem(error)]) from error
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError) as error:
        # The last three: a tag that does not fit its value, such as !!bool x
        raise ConfigError([f"not valid YAML: {' '.join(str(error).split())}"]) from error
    settings, problems = decode(Settings, data, directory)
    problems = repeated + problems
    if settings is not None:
        problems += broken_rules(settings)
    if settings is None or problems:
        raise ConfigError(problems)
    return settings


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}not valid YAML: {error.problem or error.context}"


def _repeated_keys(node: yaml.Node | None, path: str = "") -> list[str]:
    """Return the keys given twice; YAML itself silently uses the last one. Every anchor is followed only once."""
    problems: list[str] = []
    pending = [(node, path)]
    seen: set[int] = set()
    while pending:
        node, path = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += [(item, f"{path}[{number}]") for number, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                name = f"{path}.{key.value}" if path else str(key.value)
                if name in keys:
                    problems.append(f"{name}: given twice (line {key.start_mark.line + 1})")
                keys.add(name)
                pending.append((value, name))
    return problems
