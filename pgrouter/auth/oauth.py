"""OAUTHBEARER: a client logs in with a token of an issuer, whose public keys are in a file (JWKS). No request is made.

joserfc verifies signatures; the extra `pgrouter[oauth]` installs it.

Source: RFC 7628; RFC 7519; client-auth chapter, "OAuth Authorization/Authentication"; backend/libpq/auth-oauth.c.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from pgrouter.auth.steps import READ_MESSAGE
from pgrouter.errors import ConfigError, InvalidAuthorization, ProtocolViolation
from pgrouter.protocol import codes
from pgrouter.protocol.messages import authentication

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from joserfc.jwk import KeySet

    from pgrouter.config.settings import Oauth

MECHANISM = b"OAUTHBEARER"
MAX_BYTES = 65535  # PG_MAX_AUTH_TOKEN_LENGTH
SEPARATOR = b"\1"
ABSENT = 0xFFFFFFFF
LEEWAY_S = 30  # clocks differ
# Signatures with a public key only: with a shared secret (HS256) the file's public keys would be the secret
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
_TOKEN = re.compile(rb"Bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
_PAIR = re.compile(rb"([A-Za-z]+)=([\x20-\x7e\t\r\n]*)")


class TokenError(Exception):
    """A token that is not accepted; the text says why, and goes to the log."""


@dataclass(frozen=True, slots=True, repr=False)
class TokenVerifier:
    """Verifies tokens by an issuer's public keys."""

    keys: KeySet
    audience: str  # "": any
    user_claim: str

    @classmethod
    def load(cls, oauth: Oauth) -> TokenVerifier | None:
        """Read the keys; None: there are none.

        Raises:
            ConfigError: they cannot be read, or joserfc is not installed.

        """
        if oauth.jwks_file is None:
            return None
        return cls(_keys(oauth.jwks_file), oauth.audience, oauth.user_claim)

    def subject(self, token: str, issuer: str, scope: str, now_s: float) -> str:
        """Return whose token it is, in its issuer's words. Raises TokenError: it is not accepted."""
        claims = self._claims(token)
        if claims.get("iss") != issuer:
            raise TokenError("it is of another issuer")
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not _is_time(expires) or expires + LEEWAY_S < now_s:
            raise TokenError("it has expired")
        if not _is_time(begins) or begins - LEEWAY_S > now_s:
            raise TokenError("it is not valid yet")
        audience = claims.get("aud")
        if self.audience and self.audience not in (audience if isinstance(audience, list) else [audience]):
            raise TokenError("it is for another audience")
        if not set(scope.split()) <= _scopes(claims):
            raise TokenError("it lacks a scope")
        subject = claims.get(self.user_claim)
        if not isinstance(subject, str) or not subject:
            raise TokenError(f"it has no {self.user_claim}")
        return subject

    def _claims(self, token: str) -> dict[str, Any]:
        from joserfc import jws  # noqa: PLC0415  (an extra)
        from joserfc.errors import JoseError  # noqa: PLC0415

        try:
            verified = jws.deserialize_compact(token, self.keys, algorithms=list(ALGORITHMS))
            claims = json.loads(verified.payload)
        # What joserfc lets through of malformed headers, besides its own errors
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise TokenError(f"it is not valid ({type(error).__name__})") from None
        if not isinstance(claims, dict):
            raise TokenError("it has no claims")
        return claims

    def __repr__(self) -> str:
        return "<TokenVerifier>"


def _keys(path: Path) -> KeySet:
    try:
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import KeySet  # noqa: PLC0415
    except ImportError:
        raise ConfigError(["needs joserfc: pip install 'pgrouter[oauth]'"]) from None
    try:
        keys = json.loads(path.read_text("utf-8"))["keys"]
        public = [key for key in keys if key["kty"] != "oct"]
        if not public:
            raise ConfigError([f"{path}: it has no public key"])
        return KeySet.import_key_set({"keys": public})
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or error}"]) from error
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError([f"{path}: no JSON Web Key Set: {type(error).__name__}"]) from error


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scopes(claims: dict[str, Any]) -> set[str]:
    """Return the scopes of a token: a string with blanks (RFC 8693), or `scp` as a list."""
    scope = claims.get("scope") or claims.get("scp") or ""
    found = scope.split() if isinstance(scope, str) else scope
    return {one for one in found if isinstance(one, str)} if isinstance(found, list) else set()


# -- the exchange


def bearer_login(verifier: TokenVerifier, issuer: str, scope: str) -> Generator[bytes | int, tuple[int, bytes], str]:
    """Ask a client for its token, and return whose it is.

    Raises:
        TokenError: it has none, or one that is not accepted.
        ProtocolViolation: 08P01, its message is malformed.
        InvalidAuthorization: 28000, it asks for another mechanism's features.

    """
    yield authentication(codes.AUTH_SASL, MECHANISM + b"\0\0")
    message = _initial_response(_body((yield READ_MESSAGE)))
    if message is None:
        yield authentication(codes.AUTH_SASL_CONTINUE)
        message = _body((yield READ_MESSAGE))
    authorization = _authorization(message)
    token = _TOKEN.fullmatch(authorization)
    why = "the client has sent no token yet"  # it asks where to get one, and connects again
    if authorization and not token:
        why = "malformed OAUTHBEARER message"
    if token:
        try:
            return verifier.subject(token[1].decode(), issuer, scope, time.time())
        except TokenError as error:
            why = f"the token is not accepted: {error}"
    found = {
        "status": "invalid_token",
        "openid-configuration": issuer.rstrip("/") + "/.well-known/openid-configuration",
        "scope": scope,
    }
    yield authentication(codes.AUTH_SASL_CONTINUE, json.dumps(found).encode())
    if _body((yield READ_MESSAGE)) != SEPARATOR:
        raise ProtocolViolation("malformed OAUTHBEARER message", detail="Client did not send a kvsep response.")
    raise TokenError(why)


def _body(answer: tuple[int, bytes]) -> bytes:
    code, body = answer
    if code != codes.PASSWORD:
        raise ProtocolViolation(f"expected SASL response, got message type {code}")
    if len(body) > MAX_BYTES:
        raise ProtocolViolation("invalid message length")
    return body


def _initial_response(body: bytes) -> bytes | None:
    """Return what comes with the mechanism's name; None: nothing."""
    mechanism, end, rest = body.partition(b"\0")
    if not end or len(rest) < 4:
        raise ProtocolViolation("invalid SASL initial response: insufficient data left in message")
    if mechanism != MECHANISM:
        raise ProtocolViolation("client selected an invalid SASL authentication mechanism")
    length, message = int.from_bytes(rest[:4], "big"), rest[4:]
    if length == ABSENT and not message:
        return None
    if length != len(message):
        raise ProtocolViolation("invalid SASL initial response: wrong length")
    return message


def _authorization(message: bytes) -> bytes:
    """Return the value of `auth`; empty: the client asks how to get a token."""

    def malformed(detail: str) -> ProtocolViolation:
        return ProtocolViolation("malformed OAUTHBEARER message", detail=detail)

    if message.startswith(b"p"):
        raise malformed(
            "The server does not support channel binding for OAuth, but the client message includes channel binding "
            "data."
        )
    if not message.startswith((b"n,", b"y,")):
        raise malformed("Unexpected channel-binding flag.")
    authzid, end, pairs = message[2:].partition(b",")
    if authzid:
        raise InvalidAuthorization("client uses authorization identity, but it is not supported")
    if not end or not pairs.startswith(SEPARATOR) or not pairs.endswith(SEPARATOR * 2):
        raise malformed("Message did not contain a final terminator.")
    found = [_PAIR.fullmatch(pair) for pair in pairs[1:-2].split(SEPARATOR)]
    values = [pair[2] for pair in found if pair and pair[1] == b"auth"]
    if None in found or len(values) != 1:
        raise malformed("Message does not contain an auth value.")
    return values[0]
