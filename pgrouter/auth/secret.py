"""What is known of a user's password: the password, its md5 digest, or what SCRAM keeps of it. None ever prints.

A secret remembers what PBKDF2 gave, so that only a user's first login pays for it, on either side. These memories are
invisible from outside: secrets compare and behave as immutable values. What takes longer than PostgreSQL's own 4096
iterations do is not done here: the login that needs it yields a `Derivation`, and goes on when somebody has done it.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pgrouter.auth import md5, scram
from pgrouter.auth.wire import as_bytes

if TYPE_CHECKING:
    from collections.abc import Generator

AT_ONCE = 8192  # iterations: some two milliseconds

# Members of one cluster share salts, and the router's own side adds one: more than two are seldom in use.
REMEMBERED = 8

_MD5 = re.compile(r"md5([0-9a-f]{32})")
_SCRAM = re.compile(r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([^$:]+)\$([^$:]+):([^$:]+)")


class Secret(Protocol):
    """What a users file holds for a user; of `ScramSecret` see `ScramSecret.proven`."""

    def proves(self, user: str, password: str) -> PlainSecret | None:
        """Give the password as a secret if it is the right one; an empty one never is. In constant time."""


class Derivation:
    """SCRAM keys that a login waits for: `run` makes them, in any thread, and the login is sent them."""

    def __init__(self, password: str, salt: bytes, iterations: int) -> None:
        self._password = password
        self._salt = salt
        self._iterations = iterations

    def run(self) -> scram.ScramKeys:
        """Do it; a second of one core for every four million iterations."""
        return scram.derive(self._password, self._salt, self._iterations)

    def __repr__(self) -> str:
        return "<Derivation>"


class _Hidden:
    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


@dataclass(frozen=True, slots=True, repr=False)
class PlainSecret(_Hidden):
    """A password: answers every request of a server."""

    password: str
    _derived: dict[tuple[bytes, int], scram.ScramKeys] = field(default_factory=dict, init=False, compare=False)

    def proves(self, user: str, password: str) -> PlainSecret | None:  # noqa: ARG002  (Secret)
        """See `Secret`."""
        same = hmac.compare_digest(as_bytes(password), as_bytes(self.password))
        return self if same and password else None

    def keys(self, salt: bytes, iterations: int) -> scram.ScramKeys:
        """Derive SCRAM keys, or remember them."""
        return self._derived.get((salt, iterations)) or self._keep(scram.derive(self.password, salt, iterations))

    def derived(self, salt: bytes, iterations: int) -> Generator[Derivation, scram.ScramKeys, scram.ScramKeys]:
        """Give what `keys` does, and have it derived by somebody else where that takes long."""
        if iterations > AT_ONCE and (salt, iterations) not in self._derived:
            return self._keep((yield Derivation(self.password, salt, iterations)))
        return self.keys(salt, iterations)

    def _keep(self, keys: scram.ScramKeys) -> scram.ScramKeys:
        if len(self._derived) >= REMEMBERED:
            del self._derived[next(iter(self._derived))]
        self._derived[keys.salt, keys.iterations] = keys
        return keys


@dataclass(frozen=True, slots=True, repr=False)
class Md5Secret(_Hidden):
    """md5(password + user): serves md5 exchanges and a password that a client sends in clear, never SCRAM."""

    digest: str
    _proven: list[PlainSecret] = field(default_factory=list, init=False, compare=False)

    def proves(self, user: str, password: str) -> PlainSecret | None:
        """See `Secret`."""
        if not password or not hmac.compare_digest(md5.password_digest(password, user), self.digest):
            return None
        return _remember(self._proven, user, password) or _keep(self._proven, PlainSecret(password))


@dataclass(frozen=True, slots=True, repr=False)
class ScramSecret(_Hidden):
    """What PostgreSQL keeps in pg_authid: it checks a client's proof and cannot make one."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    _proven: list[PlainSecret] = field(default_factory=list, init=False, compare=False)

    def proven(self, user: str, password: str) -> Generator[Derivation, scram.ScramKeys, PlainSecret | None]:
        """Give what `Secret.proves` does; PBKDF2 is run unless this password was found right before."""
        known = _remember(self._proven, user, password)
        if known is not None:
            return known
        candidate = PlainSecret(password)
        keys = yield from candidate.derived(self.salt, self.iterations)
        if not hmac.compare_digest(keys.stored_key, self.stored_key) or not password:
            return None
        return _keep(self._proven, candidate)


Credential = PlainSecret | Md5Secret | scram.ScramKeys
"""What the router can log in to a server with."""


def _remember(proven: list[PlainSecret], user: str, password: str) -> PlainSecret | None:
    return proven[0].proves(user, password) if proven else None


def _keep(proven: list[PlainSecret], secret: PlainSecret) -> PlainSecret:
    proven[:] = [secret]
    return secret


def parse_secret(text: str) -> PlainSecret | Md5Secret | ScramSecret:
    """Tell the three written forms apart, by PostgreSQL's rules.

    Raises:
        ValueError: it begins like a SCRAM secret and is none; the text does not repeat it.

    """
    digest = _MD5.fullmatch(text)
    if digest:
        return Md5Secret(digest[1])
    if not text.startswith("SCRAM-SHA-256$"):
        return PlainSecret(text)
    parts = _SCRAM.fullmatch(text)
    if not parts:
        raise ValueError("malformed SCRAM secret: expected SCRAM-SHA-256$iterations:salt$storedkey:serverkey")
    try:
        salt, stored_key, server_key = (scram.decode(as_bytes(part), "a part") for part in parts.groups()[1:])
    except scram.ScramError:
        raise ValueError("malformed SCRAM secret: salt and keys must be base64") from None
    if len(stored_key) != scram.KEY_BYTES or len(server_key) != scram.KEY_BYTES:
        raise ValueError(f"malformed SCRAM secret: keys must be {scram.KEY_BYTES} bytes")
    if int(parts[1]) > scram.MAX_ITERATIONS:
        raise ValueError(f"the SCRAM secret has more than {scram.MAX_ITERATIONS} iterations")
    return ScramSecret(salt, int(parts[1]), stored_key, server_key)


def scram_secret(user: str, secret: Secret | None) -> ScramSecret:
    """Give what a client's proof is checked against.

    A user who is unknown, or whose secret cannot serve SCRAM, gets one that no password satisfies and that looks as
    any other: nothing in the exchange tells which it was.
    """
    if isinstance(secret, ScramSecret):
        return secret
    salt = scram.salt_for(user)
    if isinstance(secret, PlainSecret) and secret.password:
        keys = secret.keys(salt, scram.ITERATIONS)
        return ScramSecret(salt, scram.ITERATIONS, keys.stored_key, keys.server_key)
    nothing = secrets.token_bytes(scram.KEY_BYTES)
    return ScramSecret(salt, scram.ITERATIONS, nothing, nothing)
