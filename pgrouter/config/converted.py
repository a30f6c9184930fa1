"""Another program's configuration as settings of ours: the tree that YAML would give, and what there is to say."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from pgrouter.config.decode import decode
from pgrouter.config.rules import broken_rules
from pgrouter.config.settings import Settings
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 118


@dataclass(frozen=True, slots=True)
class Converted:
    """What a converter returns."""

    tree: dict[str, object]  # as in a YAML file; paths are absolute
    report: tuple[str, ...] = ()  # `setting: what becomes of it`, only where that is not the same

    def settings(self, directory: Path) -> Settings:
        """Return the settings.

        Raises:
            ConfigError: with every problem found, by our names.

        """
        settings, problems = decode(Settings, self.tree, directory)
        if settings is not None:
            problems = broken_rules(settings)
        if settings is None or problems:
            raise ConfigError(problems)
        return settings

    def yaml(self, origin: str) -> str:
        """Return the text of a configuration file, which begins with the report; `origin` is what was converted."""
        lines = [f"# Converted from {origin} by `pgrouter convert`."]
        for line in self.report:
            lines += textwrap.wrap(line, WIDTH, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False)
        body = yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True, width=WIDTH)
        return "\n".join(lines) + "\n" + body
