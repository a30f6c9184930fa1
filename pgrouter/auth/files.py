"""Everything that is read from files for authentication, together: all of it is right, or none of it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pgrouter.auth.account import typical
from pgrouter.auth.hba import Rules
from pgrouter.auth.ident import UserMaps
from pgrouter.auth.users import UserStore
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgrouter.auth.account import StoredSecret
    from pgrouter.config.settings import Auth

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class AuthFiles:
    """Who may come in, with what, as whom."""

    users: UserStore
    rules: Rules
    maps: UserMaps
    typical: StoredSecret | None  # a secret like most others of the users file

    @classmethod
    def load(cls, auth: Auth) -> AuthFiles:
        """Read the files.

        Raises:
            ConfigError: `auth.KEY: FILE:LINE: what is wrong` for everything that is.

        """
        problems: list[str] = []
        users = _read("users_file", auth.users_file, UserStore.load, problems) or UserStore.empty()
        rules = _read("hba_file", auth.hba_file if auth.type == "hba" else None, Rules.load, problems)
        maps = _read("ident_file", auth.ident_file, UserMaps.load, problems) or UserMaps()
        if problems:
            raise ConfigError(problems)
        return cls(users, rules or Rules.always(auth.type), maps, typical(users.secrets.values()))


def _read(key: str, path: Path | None, load: Callable[[Path], Content], problems: list[str]) -> Content | None:
    if path is None:
        return None
    try:
        return load(path)
    except ConfigError as error:
        problems += [f"auth.{key}: {problem}" for problem in error.problems]
        return None
