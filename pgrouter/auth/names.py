"""What a name may be in pg_hba.conf and pg_ident.conf: `all`, `+group`, a regular expression, or just a name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from pgrouter.auth.patterns import Pattern

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from pgrouter.auth.tokens import Token


class Kind(Enum):
    """How a name is compared."""

    ALL = auto()
    SAMEUSER = auto()
    SAMEROLE = auto()
    NEVER = auto()  # `replication`: such connections do not pass through the router
    GROUP = auto()
    PATTERN = auto()
    EXACT = auto()


DATABASE_WORDS = {
    "all": Kind.ALL,
    "sameuser": Kind.SAMEUSER,
    "samerole": Kind.SAMEROLE,
    "samegroup": Kind.SAMEROLE,
    "replication": Kind.NEVER,
}


@dataclass(frozen=True, slots=True)
class Name:
    """One name of a list."""

    kind: Kind
    text: str
    pattern: Pattern | None = None

    @property
    def needs_roles(self) -> bool:
        """Whether it depends on the roles that a user is a member of."""
        return self.kind in (Kind.GROUP, Kind.SAMEROLE)

    def matches_database(self, database: str, user: str, roles: AbstractSet[str] | None) -> bool | None:
        """Whether a database of this name is meant; None: that depends on the user's roles, which are not known."""
        if self.kind is Kind.SAMEUSER:
            return database == user
        if self.kind is Kind.SAMEROLE:
            return None if roles is None else database in roles
        return self._matches(database)

    def matches_user(self, user: str, roles: AbstractSet[str] | None) -> bool | None:
        """Whether a user of this name is meant; None as in `matches_database`."""
        if self.kind is Kind.GROUP:
            return None if roles is None else self.text in roles
        return self._matches(user)

    def _matches(self, name: str) -> bool:
        if self.pattern is not None:
            return self.pattern.search(name) is not None
        return self.kind is Kind.ALL or (self.kind is Kind.EXACT and name == self.text)


def database_name(token: Token) -> Name:
    """Read a database name of pg_hba.conf. Raises ValueError: an invalid regular expression."""
    kind = None if token.quoted else DATABASE_WORDS.get(token.text)
    return Name(kind, token.text) if kind else _name(token)


def user_name(token: Token) -> Name:
    """Read a user name of either file. Raises ValueError: an invalid regular expression."""
    if token.is_keyword("all"):
        return Name(Kind.ALL, token.text)
    if not token.quoted and token.text.startswith("+"):
        return Name(Kind.GROUP, token.text[1:])
    return _name(token)


def system_name(token: Token) -> Name:
    """Read a system user's name of pg_ident.conf. Raises ValueError: an invalid regular expression."""
    return _name(token)


def _name(token: Token) -> Name:
    if token.text.startswith("/"):  # also in quotes, which it needs for a comma
        return Name(Kind.PATTERN, token.text, Pattern.of(token.text[1:]))
    return Name(Kind.EXACT, token.text)


def any_of(answers: list[bool | None]) -> bool | None:
    """Whether one of a list matches; None: unknown."""
    if True in answers:
        return True
    return None if None in answers else False
