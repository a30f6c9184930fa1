"""User name maps, in the format of pg_ident.conf: which system user or certificate may log in as which database user.

Source: backend/libpq/hba.c, parse_ident_line(), check_ident_usermap(); client-auth chapter, "User Name Maps".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgrouter.auth.names import Kind, Name, system_name, user_name
from pgrouter.auth.tokens import Disk, Files, Line, LineReader
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

BACKREFERENCE = "\\1"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line: in this map the system user may log in as the database user."""

    map: str
    system_user: Name
    user: Name
    place: str

    def allows(self, system_user: str, user: str, roles: AbstractSet[str] | None) -> bool | None:
        """Whether it lets a system user log in as this user; None: it depends on roles that are not known."""
        wanted = self.user
        if self.system_user.pattern is None:
            if system_user != self.system_user.text:
                return False
        else:
            match = self.system_user.pattern.search(system_user)
            if match is None:
                return False
            if wanted.pattern is None and BACKREFERENCE in wanted.text:
                if match[1] is None:
                    return False
                # Compared as it is: what a system user is called must not become a keyword or a group
                wanted = replace(wanted, kind=Kind.EXACT, text=wanted.text.replace(BACKREFERENCE, match[1], 1))
        return wanted.matches_user(user, roles)


@dataclass(frozen=True, slots=True)
class UserMaps:
    """All lines of a file."""

    mappings: tuple[Mapping, ...] = ()

    @classmethod
    def load(cls, path: Path, files: Files | None = None) -> UserMaps:
        """Read a file.

        Raises:
            ConfigError: `FILE:LINE: what is wrong` for every line that cannot be used.

        """
        reader = LineReader(files or Disk())
        mappings = []
        for line in reader.read(path):
            try:
                mappings.append(_mapping(line))
            except ValueError as error:
                reader.problems.append(f"{line.place}: {error}")
        if reader.problems:
            raise ConfigError(reader.problems)
        return cls(tuple(mappings))

    @property
    def needs_roles(self) -> bool:
        """Whether a line depends on the roles that a user is a member of."""
        return any(mapping.user.needs_roles for mapping in self.mappings)

    def allow(self, name: str, system_user: str, user: str, roles: AbstractSet[str] | None) -> bool | None:
        """Whether a system user (or a certificate's name) may log in as `user`.

        `name` is the map; empty: both names must be the same. None: that depends on roles that are not known.
        """
        if not name:
            return system_user == user
        unknown = False
        for mapping in self.mappings:
            if mapping.map == name:
                allowed = mapping.allows(system_user, user, roles)
                if allowed:
                    return True
                unknown = unknown or allowed is None
        return None if unknown else False


def _mapping(line: Line) -> Mapping:
    fields = line.fields
    if len(fields) < 3:
        raise ValueError("missing entry at end of line")
    if any(len(field) != 1 for field in fields[:3]):
        raise ValueError("multiple values in ident field")
    if len(fields) > 3:
        raise ValueError("expected three fields: map, system user, database user")
    (name,), (system,), (database_user,) = fields[:3]
    mapping = Mapping(name.text, system_name(system), user_name(database_user), line.place)
    pattern = mapping.system_user.pattern
    if pattern and BACKREFERENCE in mapping.user.text and not mapping.user.pattern and not pattern.has_group:
        raise ValueError(
            f'regular expression "{pattern.text}" has no subexpressions as requested by backreference in '
            f'"{mapping.user.text}"'
        )
    return mapping
