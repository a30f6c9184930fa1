"""Users and their secrets from a file in the format of PgBouncer's userlist.txt.

A line is `"user" "secret"`, a quote inside quotes is doubled, what follows on the line is ignored; lines that begin
with `;` or `#` are comments. Secrets are a password, `md5...` or `SCRAM-SHA-256$...` as in pg_authid.

Source: PgBouncer, doc/config.md, "Authentication file format"; src/loader.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pgrouter.auth.secret import Md5Secret, PlainSecret, parse_secret
from pgrouter.auth.text import as_text
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pgrouter.auth.client import ClientIdentity
    from pgrouter.auth.secret import Credential, ScramSecret

    Secret = PlainSecret | Md5Secret | ScramSecret

_LINE = re.compile(r'"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"(?:\s.*)?')


@dataclass(frozen=True, slots=True, repr=False)
class UserStore:
    """Who may log in, with what."""

    secrets: Mapping[str, PlainSecret | Md5Secret | ScramSecret]

    @classmethod
    def empty(cls) -> UserStore:
        """Return a store without users."""
        return cls(MappingProxyType({}))

    @classmethod
    def load(cls, path: Path) -> UserStore:
        """Read a file.

        Raises:
            ConfigError: it cannot be read, or `FILE:LINE: what is wrong` for every line that cannot be used.

        """
        try:
            text = as_text(path.read_bytes())
        except OSError as error:
            raise ConfigError([f"{path}: {error.strerror or error}"]) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = "users.txt") -> UserStore:
        """Parse the text of a file; `name` stands for it in error messages. Raises as `load` does."""
        lines = (line.strip() for line in text.removeprefix("\ufeff").split("\n"))
        return cls.of_lines((line if line[:1] not in (";", "#") else "" for line in lines), _entry, name)

    @classmethod
    def of_lines(cls, lines: Iterable[str], entry: Callable[[str], tuple[str, Secret]], name: str) -> UserStore:
        """Return the users of the lines that are not empty, each read by `entry`, which raises ValueError.

        Raises:
            ConfigError: `NAME:LINE: what is wrong` for every line that cannot be used.

        """
        found: dict[str, Secret] = {}
        problems = []
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                user, secret = entry(line)
                if user in found:
                    raise ValueError(f'user "{user}" is given twice')  # noqa: TRY301  (one place adds file and line)
                found[user] = secret
            except ValueError as error:
                problems.append(f"{name}:{number}: {error}")
        if problems:
            raise ConfigError(problems)
        return cls(MappingProxyType(found))

    def get(self, user: str) -> PlainSecret | Md5Secret | ScramSecret | None:
        """Return a user's secret; None for an unknown user."""
        return self.secrets.get(user)

    def merged(self, other: UserStore) -> UserStore:
        """Return the users of both; this one's secrets count."""
        return UserStore(MappingProxyType({**other.secrets, **self.secrets}))

    def credential(self, user: str, identity: ClientIdentity | None) -> Credential | None:
        """Return the credential for server logins as a user: what the client proved, else what the file has.

        None: the file has nothing, or only a SCRAM secret and the client did not log in with SCRAM; then only servers
        that trust us accept the login.
        """
        if identity is not None and identity.credential is not None:
            return identity.credential
        secret = self.get(user)
        if isinstance(secret, PlainSecret):
            return secret if secret.password else None
        return secret if isinstance(secret, Md5Secret) else None

    def __len__(self) -> int:
        return len(self.secrets)

    def __repr__(self) -> str:
        return f"<UserStore of {len(self)} users>"


def _entry(line: str) -> tuple[str, PlainSecret | Md5Secret | ScramSecret]:
    match = _LINE.fullmatch(line)
    if not match:
        raise ValueError('expected "user" "secret", both in double quotes')
    user, secret = (part.replace('""', '"') for part in match.groups())
    if not user:
        raise ValueError("the user name is empty")
    if "\0" in line:
        raise ValueError("a NUL byte cannot be part of a name or a password")
    return user, parse_secret(secret)
