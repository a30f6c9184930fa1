"""What is known of a user when it logs in: its secret, and what PostgreSQL says of the role."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from pgrouter.auth import scram
from pgrouter.auth.secret import Md5Secret, PlainSecret, ScramSecret

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

StoredSecret = PlainSecret | Md5Secret | ScramSecret


@dataclass(frozen=True, slots=True)
class Role:
    """What the primary says of a user."""

    exists: bool = True
    can_login: bool = True
    expired: bool = False  # its password, by VALID UNTIL
    roles: AbstractSet[str] | None = None  # its own and those that it is a member of; None: not known
    secret: StoredSecret | None = None  # from auth.query


NOTHING_KNOWN = Role()  # no server could be asked, and nothing speaks against it


class Account(msgspec.Struct, frozen=True):
    """A user as a login needs it."""

    secret: StoredSecret | None  # None: nobody can log in as it by a password
    why: str = ""  # why that is so, or why its secret is not the one; for the log
    can_login: bool = True


def decoy(method: str, user: str, like: StoredSecret | None) -> StoredSecret:
    """Return a secret that no password satisfies, for a user without one.

    A login with it looks like that of other users, whose secrets are like `like`: the same method, the same number of
    iterations, the same work.
    """
    if method != "scram-sha-256":
        if isinstance(like, PlainSecret) and method == "password":
            return PlainSecret(secrets.token_hex(16))
        if isinstance(like, PlainSecret | Md5Secret):
            return Md5Secret(secrets.token_hex(16))
    iterations = like.iterations if isinstance(like, ScramSecret) else scram.ITERATIONS
    nothing = secrets.token_bytes(scram.KEY_BYTES)
    return ScramSecret(scram.salt_for(user), iterations, nothing, nothing)


def typical(known: Iterable[StoredSecret]) -> StoredSecret | None:
    """Return one of the secrets that most others are like; None: there are none."""
    counts: dict[tuple[type, int], tuple[int, StoredSecret]] = {}
    for secret in known:
        key = (type(secret), secret.iterations if isinstance(secret, ScramSecret) else 0)
        counts[key] = (counts[key][0] + 1 if key in counts else 1, secret)
    return max(counts.values(), key=lambda each: each[0])[1] if counts else None
