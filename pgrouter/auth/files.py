"""Everything that is read from files for authentication, together: all of it is right, or none of it is used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pgrouter.auth import pool_passwd
from pgrouter.auth.account import typical
from pgrouter.auth.hba import Rules
from pgrouter.auth.ident import UserMaps
from pgrouter.auth.oauth import TokenVerifier
from pgrouter.auth.users import UserStore
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgrouter.auth.account import StoredSecret
    from pgrouter.config.settings import Auth

Content = TypeVar("Content")
Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class AuthFiles:
    """Who may come in, with what, as whom."""

    users: UserStore
    rules: Rules
    maps: UserMaps
    typical: StoredSecret | None  # a secret like most others of the users file
    tokens: TokenVerifier | None = None  # for lines with method oauth

    @classmethod
    def load(cls, auth: Auth) -> AuthFiles:
        """Read the files.

        Raises:
            ConfigError: `auth.KEY: FILE:LINE: what is wrong` for everything that is.

        """
        problems: list[str] = []
        users = _read("users_file", auth.users_file, UserStore.load, problems) or UserStore.empty()
        pgpool = _read("pool_passwd_file", auth.pool_passwd_file, partial(_pool_passwd, auth), problems)
        users = users.merged(pgpool) if pgpool else users
        rules = _read("hba_file", auth.hba_file if auth.type == "hba" else None, Rules.load, problems)
        maps = _read("ident_file", auth.ident_file, UserMaps.load, problems) or UserMaps()
        tokens = _read("oauth.jwks_file", auth.oauth, TokenVerifier.load, problems)
        by_token = [rule.place for rule in rules.rules if rule.method == "oauth"] if rules else []
        if by_token and not auth.oauth.jwks_file:
            problems.append(f"auth.oauth.jwks_file: required: {by_token[0]} has the method oauth")
        if problems:
            raise ConfigError(problems)
        return cls(users, rules or Rules.always(auth.type), maps, typical(users.secrets.values()), tokens)


def _pool_passwd(auth: Auth, path: Path) -> UserStore:
    return pool_passwd.load(path, auth.pool_key_file)


def _read(
    key: str, source: Source | None, load: Callable[[Source], Content | None], problems: list[str]
) -> Content | None:
    if source is None:
        return None
    try:
        return load(source)
    except ConfigError as error:
        problems += [f"auth.{key}: {problem}" for problem in error.problems]
        return None
