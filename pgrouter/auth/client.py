"""The authentication of a client, as a generator (see `auth.conversation`), which returns the client's identity.

AuthenticationOk is not part of it: the login (`proxy.login`) sends that, after `ClientIdentity.final`.

Which exchange a user gets depends on auth.type and on the kind of secret (`EXCHANGES`), as in PostgreSQL and
PgBouncer: md5 becomes SCRAM if only a SCRAM secret is known. A failed login always looks the same to the client; the
reason goes to the log.

Source: protocol chapter, "Start-up" and "SASL Authentication"; backend/libpq/auth.c, auth-sasl.c, auth-scram.c.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable, Generator
from types import MappingProxyType, NoneType

import cython

from pgrouter.auth import md5
from pgrouter.auth.scram import (
    MECHANISM,
    ClientFirst,
    Proof,
    ScramError,
    ScramKeys,
    ServerFirst,
    new_nonce,
    read_client_final,
    read_client_first,
    server_final,
    server_first,
)
from pgrouter.auth.secret import Credential, Derivation, Md5Secret, PlainSecret, ScramSecret, scram_secret
from pgrouter.auth.text import as_text
from pgrouter.errors import AuthenticationFailed, ProtocolViolation
from pgrouter.protocol.framing import copied, end_of_string, length_at
from pgrouter.protocol.messages import authentication

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.auth.steps import READ_MESSAGE
    from pgrouter.protocol.codes import (
        AUTH_CLEARTEXT,
        AUTH_MD5,
        AUTH_SASL,
        AUTH_SASL_CONTINUE,
        AUTH_SASL_FINAL,
        PASSWORD,
    )

log = logging.getLogger("pgrouter.auth")

# PostgreSQL's own limits: PG_MAX_AUTH_TOKEN_LENGTH and PG_MAX_SASL_MESSAGE_LENGTH
MAX_PASSWORD_BYTES = 65535
MAX_SASL_BYTES = 1024

INT_BYTES = 4
ABSENT = 0xFFFFFFFF  # -1: no initial response

_OFFER = authentication(AUTH_SASL, MECHANISM + b"\0\0")

StoredSecret = PlainSecret | Md5Secret | ScramSecret


class ClientIdentity:
    """Who a client is, and the credential that its login left for logging in to servers."""

    def __init__(self, user: str, credential: Credential | None = None, final: bytes = b"") -> None:
        self.user = user
        self.credential = credential  # None: see UserStore.credential
        self.final = final  # the server's final SASL message: sent before AuthenticationOk, and never answered

    def __repr__(self) -> str:
        return f"<ClientIdentity {self.user}>"


Exchange = Generator[bytes | int | Derivation, tuple[int, bytes] | ScramKeys | None, ClientIdentity]


def client_login(auth_type: str, user: str, secret: StoredSecret | None) -> Exchange:
    """Return the exchange that checks whether a client is `user`, who has this `secret`; None for an unknown user.

    If it yields a `Derivation`, it is sent the keys.

    The exchange raises:
        AuthenticationFailed: 28P01, wrong password or unknown user.
        ProtocolViolation: 08P01, the client sent something that the exchange does not allow at that point.

    """
    return _trust(user) if auth_type == "trust" else EXCHANGES[auth_type, type(secret)](user, secret)


def _trust(user: str) -> Exchange:
    return ClientIdentity(user)
    yield b""  # makes it a generator, which yields nothing


def _failed(user: str, why: str) -> AuthenticationFailed:
    log.info('login of user "%s" failed: %s', user, why)
    return AuthenticationFailed(f'password authentication failed for user "{user}"')


def _why(secret: StoredSecret | None, wrong: str = "wrong password") -> str:
    if secret is None:
        return "the users file does not have the user"
    if isinstance(secret, PlainSecret) and not secret.password:
        return "the user's password in the users file is empty"
    return wrong


# -- password and md5


def _cleartext(user: str, secret: StoredSecret | None) -> Exchange:
    yield authentication(AUTH_CLEARTEXT)
    answer = yield READ_MESSAGE
    password = as_text(_password(answer))
    known = scram_secret(user, None) if secret is None else secret
    if isinstance(known, ScramSecret):
        proven = yield from known.proven(user, password)
    else:
        proven = known.proves(user, password)
    if proven is None:
        raise _failed(user, _why(secret))
    return ClientIdentity(user, proven)


def _md5(user: str, secret: PlainSecret | Md5Secret | None) -> Exchange:
    salt = secrets.token_bytes(md5.SALT_BYTES)
    yield authentication(AUTH_MD5, salt)
    answer = yield READ_MESSAGE
    if isinstance(secret, Md5Secret):
        digest = secret.digest
    elif isinstance(secret, PlainSecret) and secret.password:
        digest = md5.password_digest(secret.password, user)
    else:
        digest = secrets.token_hex(16)
    if not hmac.compare_digest(_password(answer), md5.response(digest, salt)):
        raise _failed(user, _why(secret))
    return ClientIdentity(user, secret)


def _password(answer: tuple[int, bytes]) -> bytes:
    body = _body(answer, "password", MAX_PASSWORD_BYTES)
    if not body or body.find(b"\0") != len(body) - 1:
        raise ProtocolViolation("invalid password packet size")
    if len(body) == 1:
        raise AuthenticationFailed("empty password returned by client")
    return body[: len(body) - 1]


def _body(answer: tuple, what: str, limit: cython.Py_ssize_t) -> bytes:
    code: cython.int = answer[0]
    body: bytes = answer[1]
    if code != PASSWORD:
        raise ProtocolViolation(f"expected {what} response, got message type {code}")
    if len(body) > limit:
        raise ProtocolViolation("invalid message length", detail=f"A {what} response has at most {limit} bytes.")
    return body


# -- SCRAM


def _scram(user: str, secret: StoredSecret | None) -> Exchange:
    known = secret if type(secret) is ScramSecret else scram_secret(user, secret)
    try:
        yield _OFFER
        initial = yield READ_MESSAGE
        message = _initial_response(_body(initial, "SASL", MAX_SASL_BYTES))
        if message is None:  # PostgreSQL, too, asks for it with an empty challenge
            yield authentication(AUTH_SASL_CONTINUE)
            message = _body((yield READ_MESSAGE), "SASL", MAX_SASL_BYTES)
        first: ClientFirst = read_client_first(message)
        challenge: ServerFirst = server_first(first, new_nonce(), known.salt, known.iterations)
        yield authentication(AUTH_SASL_CONTINUE, challenge.message)
        answer = yield READ_MESSAGE
        response = _body(answer, "SASL", MAX_SASL_BYTES)
        proof: Proof = read_client_final(response, first, challenge, known.stored_key)
    except ScramError as error:
        raise ProtocolViolation("malformed SCRAM message", detail=str(error)) from None
    if not proof.holds(known.stored_key):
        usable = not isinstance(secret, Md5Secret)
        raise _failed(user, _why(secret, "wrong password" if usable else "an md5 secret cannot serve SCRAM"))
    final = authentication(AUTH_SASL_FINAL, server_final(proof, known.server_key))
    return ClientIdentity(user, _proven(secret, known, proof), final)


def _proven(secret, known, proof: Proof) -> Credential:
    if isinstance(secret, PlainSecret):
        return secret
    return ScramKeys(known.salt, known.iterations, proof.client_key, known.server_key)


def _initial_response(body: bytes) -> bytes | None:
    """Return the client's first SCRAM message, None if it sent only the mechanism's name."""
    end: cython.Py_ssize_t = end_of_string(body, 0, len(body))
    at: cython.Py_ssize_t = end + 1 + INT_BYTES
    if end < 0 or len(body) < at:
        raise ProtocolViolation("invalid SASL initial response: insufficient data left in message")
    if copied(body, 0, end) != MECHANISM:
        raise ProtocolViolation("client selected an invalid SASL authentication mechanism")
    length: cython.uint = length_at(body, end + 1)
    if length == ABSENT and len(body) == at:
        return None
    if length != len(body) - at:
        raise ProtocolViolation("invalid SASL initial response: wrong length")
    return copied(body, at, len(body))


EXCHANGES: MappingProxyType[tuple[str, type], Callable[[str, StoredSecret | None], Exchange]] = MappingProxyType(
    {
        ("password", PlainSecret): _cleartext,
        ("password", Md5Secret): _cleartext,
        ("password", ScramSecret): _cleartext,
        ("password", NoneType): _cleartext,
        ("md5", PlainSecret): _md5,
        ("md5", Md5Secret): _md5,
        ("md5", ScramSecret): _scram,
        ("md5", NoneType): _md5,
        ("scram-sha-256", PlainSecret): _scram,
        ("scram-sha-256", Md5Secret): _scram,  # always fails, without revealing that the user exists
        ("scram-sha-256", ScramSecret): _scram,
        ("scram-sha-256", NoneType): _scram,
    }
)
"""The exchange for an auth.type and a kind of secret; without an entry there is no such auth.type."""
