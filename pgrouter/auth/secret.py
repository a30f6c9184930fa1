"""What is known of a user's password: the password, its md5 digest, or its SCRAM secret. None is ever printed.

A secret caches the result of PBKDF2, so that only a user's first login pays for it, on either side. The caches are
invisible from outside: secrets compare and behave as immutable values. Much more than PostgreSQL's own 4096 iterations
is not computed here: the login that needs it yields a `Derivation`, and continues once that has been run.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pgrouter.auth import md5, scram
from pgrouter.auth.text import as_bytes

if TYPE_CHECKING:
    from collections.abc import Generator

AT_ONCE = 8192  # iterations: about two milliseconds

# Members of one cluster share salts, and the router's own side adds one: there are rarely more than two.
REMEMBERED = 8

_MD5 = re.compile(r"md5([0-9a-f]{32})")
_SCRAM = re.compile(r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([^$:]+)\$([^$:]+):([^$:]+)")


class Secret(Protocol):
    """What a users file holds for a user; for `ScramSecret` see `ScramSecret.proven`."""

    def proves(self, user: str, password: str) -> PlainSecret | None:
        """Return the password as a secret if it is the right one; an empty one never is. In constant time."""


class Derivation:
    """SCRAM keys that a login waits for: `run` computes them, in any thread, and the login is sent them."""

    def __init__(self, password: str, salt: bytes, iterations: int) -> None:
        self._password = password
        self._salt = salt
        self._iterations = iterations

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Derivation) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())

    def _all(self) -> tuple[str, bytes, int]:
        return self._password, self._salt, self._iterations

    def run(self) -> scram.ScramKeys:
        """Compute them; a second of one core for every four million iterations."""
        return scram.derive(self._password, self._salt, self._iterations)

    def __repr__(self) -> str:
        return "<Derivation>"


class _Hidden:
    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


@dataclass(frozen=True, slots=True, repr=False)
class PlainSecret(_Hidden):
    """A password: answers every authentication request of a server."""

    password: str
    _derived: dict[tuple[bytes, int], scram.ScramKeys] = field(default_factory=dict, init=False, compare=False)

    def proves(self, user: str, password: str) -> PlainSecret | None:  # noqa: ARG002  (Secret)
        """See `Secret`."""
        same = hmac.compare_digest(as_bytes(password), as_bytes(self.password))
        return self if same and password else None

    def keys(self, salt: bytes, iterations: int) -> scram.ScramKeys:
        """Return SCRAM keys, derived or from the cache."""
        return self._derived.get((salt, iterations)) or self._keep(scram.derive(self.password, salt, iterations))

    def derived(self, salt: bytes, iterations: int) -> Generator[Derivation, scram.ScramKeys, scram.ScramKeys]:
        """Return what `keys` does, but yield a `Derivation` if that takes long."""
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
    """md5(password + user): works for md5 exchanges and a cleartext password from a client, never for SCRAM."""

    digest: str
    _proven: list[PlainSecret] = field(default_factory=list, init=False, compare=False)

    def proves(self, user: str, password: str) -> PlainSecret | None:
        """See `Secret`."""
        if not password or not hmac.compare_digest(md5.password_digest(password, user), self.digest):
            return None
        return _remember(self._proven, user, password) or _keep(self._proven, PlainSecret(password))


@dataclass(frozen=True, slots=True, repr=False)
class ScramSecret(_Hidden):
    """What PostgreSQL stores in pg_authid: it can check a client's proof but not make one."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    _proven: list[PlainSecret] = field(default_factory=list, init=False, compare=False)

    def proven(self, user: str, password: str) -> Generator[Derivation, scram.ScramKeys, PlainSecret | None]:
        """Return what `Secret.proves` does; PBKDF2 runs unless this password has been verified before."""
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
    """Parse any of the three written forms, by PostgreSQL's rules.

    Raises:
        ValueError: it starts like a SCRAM secret and is not one; the message does not repeat it.

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


def scram_secret(user: str, secret: Secret) -> ScramSecret:
    """Return the secret that a client's proof is checked against.

    A user whose secret does not work for SCRAM gets one that no password satisfies and that looks like any other:
    nothing in the exchange reveals which it was.
    """
    if isinstance(secret, ScramSecret):
        return secret
    salt = scram.salt_for(user)
    if isinstance(secret, PlainSecret) and secret.password:
        keys = secret.keys(salt, scram.ITERATIONS)
        return ScramSecret(salt, scram.ITERATIONS, keys.stored_key, keys.server_key)
    nothing = secrets.token_bytes(scram.KEY_BYTES)
    return ScramSecret(salt, scram.ITERATIONS, nothing, nothing)
