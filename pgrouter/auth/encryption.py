"""How a connection to a server is protected: libpq's sslmode, as the attempts that it stands for.

Source: libpq, "SSL Support"; fe-connect.c, fe-secure.c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pgrouter.auth.require import METHODS, allowed
from pgrouter.auth.steps import READ_BYTE
from pgrouter.errors import ServerLost
from pgrouter.protocol.messages import SSL_REQUEST

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pgrouter.net.tls import TlsCodec, TlsContext

ALPN = "postgresql"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to connect to a host."""

    host: str = ""
    tls: TlsContext | None = None  # None: in clear
    required: bool = True  # else a server that has no TLS is used in clear
    direct: bool = False  # without asking for TLS first
    allowed: frozenset[str] = METHODS  # what the server may ask for, see `auth.require`
    then: Attempt | None = None  # what is tried if the server refuses this

    def encrypted(self) -> Attempt | None:
        """Return the attempt with TLS among this and those that follow; None: there is none."""
        return self if self.tls is not None else self.then and self.then.encrypted()


PLAIN = Attempt()
VERIFIED = ("verify-ca", "verify-full")


class Encryption:
    """How connections to all servers are protected: an sslmode, the context for its TLS, and servers.require_auth."""

    def __init__(
        self, mode: str = "disable", tls: TlsContext | None = None, rule: Sequence[str] = (), *, direct: bool = False
    ) -> None:
        self._mode, self._tls, self._direct = mode, tls, direct
        self._allowed = allowed(rule, private=mode in VERIFIED)
        self._plain = Attempt(allowed=self._allowed)
        self._local = Attempt(allowed=allowed(rule, private=True))
        self._known: dict[str, Attempt] = {}

    def at(self, host: str) -> Attempt:
        """Return what is tried first at a host; Unix sockets have no TLS."""
        if host.startswith(("/", "@")):
            return self._local
        if self._mode == "disable":
            return self._plain
        found = self._known.get(host)
        if found is None:
            found = self._known[host] = self._first(host)
        return found

    def _first(self, host: str) -> Attempt:
        if self._mode == "allow":
            return replace(self._plain, then=Attempt(host, self._tls, allowed=self._allowed))
        if self._mode == "prefer":
            return Attempt(host, self._tls, required=False, allowed=self._allowed, then=self._plain)
        return Attempt(host, self._tls, direct=self._direct, allowed=self._allowed)


class StartTls:
    """A login's request: begin TLS with this codec. It is sent None once that is established."""

    def __init__(self, codec: TlsCodec) -> None:
        self.codec = codec


def encrypt(attempt: Attempt) -> Generator[bytes | int | StartTls, Any, TlsCodec | None]:
    """Protect a connection as the attempt says; return its codec, None in clear.

    Raises:
        ServerLost: 08006, the server does not offer TLS; 08P01, it answers something else.

    """
    if attempt.tls is None:
        return None
    if not attempt.direct:
        yield SSL_REQUEST
        answer = yield READ_BYTE
        if answer == ord("N"):
            if attempt.required:
                raise ServerLost("server does not support SSL, but SSL was required")
            return None
        if answer != ord("S"):  # an error message, say: nobody vouches for its text (CVE-2024-10977)
            raise ServerLost("the server did not answer the request for SSL", sqlstate="08P01")
    codec = attempt.tls.connect(attempt.host)
    yield StartTls(codec)
    if attempt.direct and codec.alpn() != ALPN:
        raise ServerLost("direct SSL connection was established without ALPN protocol negotiation extension")
    return codec
