"""The router's login to a PostgreSQL server, as a generator (see `auth.conversation`).

It returns when the server is ready for its first query. If it yields a `Derivation`, it is sent the keys.

Source: protocol chapter, "Start-up" and "SASL Authentication".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgrouter.auth import md5, scram
from pgrouter.auth.encryption import PLAIN, Attempt, StartTls, encrypt
from pgrouter.auth.secret import Credential, Derivation, Md5Secret, PlainSecret
from pgrouter.auth.steps import READ_MESSAGE
from pgrouter.auth.text import as_bytes
from pgrouter.errors import InvalidAuthorization, RouterError, ServerLost
from pgrouter.protocol import codes, messages

if TYPE_CHECKING:
    from collections.abc import Iterable

Message = tuple[int, bytes]

INT_BYTES = 4
_SQLSTATE = re.compile("[0-9A-Z]{5}")

# Of a cancel key; libpq, too, takes no more (fe-protocol3.c getBackendKeyData())
MAX_KEY_BYTES = 256

# Authentication methods that a server may ask for and we do not support, by request code
FOREIGN_REQUESTS = {2: "Kerberos V5", 6: "SCM credentials", 7: "GSSAPI", 9: "SSPI"}


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What a server reports when a login has succeeded."""

    parameters: tuple[tuple[str, str], ...]  # reported settings, in the server's order
    pid: int
    key: bytes  # for CancelRequest: 4 bytes, more from protocol 3.2 on; empty if the server sends none

    @property
    def version(self) -> int:
        """PostgreSQL's major version; 0: not reported."""
        digits = re.match(r"\d{0,9}", dict(self.parameters).get("server_version", ""))
        return int(digits[0] or 0) if digits else 0

    def __repr__(self) -> str:
        return f"<ServerHello pid={self.pid}>"


class ServerRefused(RouterError):
    """PostgreSQL refused the login: `body` is its ErrorResponse, to be passed on byte for byte; empty: it is none."""

    def __init__(self, body: bytes) -> None:
        fields = messages.read_error(body)
        super().__init__(
            fields.get("M", "the server refused the login"),
            detail=fields.get("D", ""),
            hint=fields.get("H", ""),
            sqlstate=fields["C"] if _SQLSTATE.fullmatch(fields.get("C", "")) else "08P01",
            severity=fields.get("V", fields.get("S", "FATAL")),
        )
        complete = body.endswith(b"\0\0") and self.sqlstate == fields.get("C") and {"S", "M"} <= fields.keys()
        self.body = body if complete else b""


Login = Generator[bytes | int | Derivation | StartTls, Any, ServerHello]


def server_login(
    user: str,
    database: str,
    parameters: Iterable[tuple[str, str]],
    credential: Credential | None,
    attempt: Attempt = PLAIN,
) -> Login:
    """Log in to a server as `user`; `parameters` are startup parameters besides user and database.

    `attempt` says how the connection is protected.

    Raises:
        ServerRefused: the server refused the login; the SQLSTATE is its own.
        InvalidAuthorization: 28000, it asks for what `credential` cannot provide, or does not know the password itself.
        ServerLost: 08P01, it does not speak the protocol; 08006, TLS cannot be had.

    """
    codec = yield from encrypt(attempt)
    binding = codec.binding() if codec is not None else b""
    pairs = (("user", user), ("database", database), *parameters)
    yield messages.startup((as_bytes(name), as_bytes(value)) for name, value in pairs)
    request, data = yield from _authentication()
    _check(request, user, attempt.allowed)
    if request == codes.AUTH_SASL:
        yield from _scram(user, data, credential, binding)
        request, data = yield from _authentication()
    elif request != codes.AUTH_OK:
        yield messages.password(_password(request, data, user, credential) + b"\0")
        request, data = yield from _authentication()
    if request != codes.AUTH_OK:
        raise _odd(f"authentication request {request} after an answer")
    return (yield from _session_start())


def _reply() -> Generator[int, Message, Message]:
    """Return the next message that matters; an error ends the login."""
    code, body = yield READ_MESSAGE
    while code in (codes.NOTICE_RESPONSE, codes.NEGOTIATE_PROTOCOL_VERSION):
        code, body = yield READ_MESSAGE
    if code == codes.ERROR_RESPONSE:
        raise ServerRefused(body)
    return code, body


def _authentication() -> Generator[int, Message, tuple[int, bytes]]:
    """Return what the server asks for, and the data of its request."""
    code, body = yield from _reply()
    if code != codes.AUTHENTICATION or len(body) < INT_BYTES:
        raise _unexpected(code, body)
    return int.from_bytes(body[:INT_BYTES], "big"), body[INT_BYTES:]


def _unexpected(code: int, body: bytes) -> ServerLost:
    return _odd(f"type {chr(code)!r} of {len(body)} bytes")


def _odd(what: str) -> ServerLost:
    return ServerLost(f"unexpected message from server during login: {what}", sqlstate="08P01")


# -- authentication

NAMES = {
    codes.AUTH_OK: "none",
    codes.AUTH_CLEARTEXT: "password",
    codes.AUTH_MD5: "md5",
    codes.AUTH_SASL: "scram-sha-256",
}


def _check(request: int, user: str, allowed: frozenset[str]) -> None:
    """Refuse what the server must not ask for."""
    name = NAMES.get(request)
    if name is None or name in allowed:
        return
    wanted = {
        "none": "The server lets the router in without authentication",
        "password": "The server asks for the password in clear",
    }.get(name, f"The server asks for {name}")
    raise InvalidAuthorization(
        f'cannot log in to the server as user "{user}"',
        detail=f"{wanted}, which is not allowed here.",
        hint="Let its pg_hba.conf ask for scram-sha-256, set servers.tls.mode to verify-full, or allow it with "
        f"servers.require_auth: [{', '.join(sorted(allowed | {name}))}].",
    )


def _password(request: int, data: bytes, user: str, credential: Credential | None) -> bytes:
    """Return the answer to a password request, without the final NUL."""
    if request == codes.AUTH_CLEARTEXT:
        if isinstance(credential, PlainSecret):
            return as_bytes(credential.password)
        raise _cannot("the password in clear", user, credential)
    if request == codes.AUTH_MD5 and len(data) == md5.SALT_BYTES:
        if isinstance(credential, PlainSecret):
            return md5.response(md5.password_digest(credential.password, user), data)
        if isinstance(credential, Md5Secret):
            return md5.response(credential.digest, data)
        raise _cannot("an md5 password", user, credential)
    if request in FOREIGN_REQUESTS:
        raise _cannot(FOREIGN_REQUESTS[request], user, None)
    raise _odd(f"authentication request {request}")


def _cannot(wanted: str, user: str, credential: Credential | None) -> InvalidAuthorization:
    known = {PlainSecret: "only a password", Md5Secret: "only an md5 secret", scram.ScramKeys: "only SCRAM keys"}
    return InvalidAuthorization(
        f'cannot log in to the server as user "{user}"',
        detail=f"The server asks for {wanted}; the router has {known.get(type(credential), 'no password')}.",
        hint="Put the user's password into auth.users_file.",
    )


def _scram(
    user: str, data: bytes, credential: Credential | None, binding: bytes
) -> Generator[bytes | int | Derivation, Any, None]:
    """Run the SASL exchange, up to the server's proof that it knows the password, too."""
    offered = data.split(b"\0")
    mechanism = scram.MECHANISM_PLUS if binding and scram.MECHANISM_PLUS in offered else scram.MECHANISM
    if mechanism not in offered:
        raise _cannot("an unknown SASL mechanism", user, None)
    if not isinstance(credential, PlainSecret | scram.ScramKeys):
        raise _cannot("SCRAM-SHA-256", user, credential)
    if mechanism == scram.MECHANISM_PLUS:
        first = scram.client_first(scram.new_nonce(), header=scram.BOUND, channel=binding)
    else:
        first = scram.client_first(scram.new_nonce(), header=scram.UNBOUND if binding else scram.UNABLE)
    try:
        yield messages.password(mechanism + b"\0" + struct.pack("!I", len(first.message)) + first.message)
        challenge = scram.read_server_first((yield from _sasl(codes.AUTH_SASL_CONTINUE)), first)
        keys = yield from _keys(user, credential, challenge)
        final, signature = scram.client_final(keys, first, challenge)
        yield messages.password(final)
        scram.check_server_final((yield from _sasl(codes.AUTH_SASL_FINAL)), signature)
    except scram.ScramError as error:
        raise InvalidAuthorization("SCRAM exchange with the server failed", detail=str(error)) from None


def _sasl(expected: int) -> Generator[int, Message, bytes]:
    request, data = yield from _authentication()
    if request != expected:
        # AuthenticationOk here would mean that the server skips the proof that it knows the password
        raise _odd(f"authentication request {request} instead of {expected}")
    return data


def _keys(
    user: str, credential: PlainSecret | scram.ScramKeys, challenge: scram.ServerFirst
) -> Generator[Derivation, scram.ScramKeys, scram.ScramKeys]:
    if isinstance(credential, PlainSecret):
        return (yield from credential.derived(challenge.salt, challenge.iterations))
    if (credential.salt, credential.iterations) != (challenge.salt, challenge.iterations):
        raise InvalidAuthorization(
            f'cannot log in to the server as user "{user}"',
            detail="The SCRAM secret in the users file is not the one that the server has.",
            hint="Copy rolpassword from pg_authid into auth.users_file, or put the password there.",
        )
    return credential


# -- after authentication


def _session_start() -> Generator[int, Message, ServerHello]:
    parameters: dict[str, str] = {}
    pid, key = 0, b""
    while True:
        code, body = yield from _reply()
        if code == codes.PARAMETER_STATUS:
            name, value = messages.read_parameter_status(body)
            parameters[name] = value
        elif code == codes.BACKEND_KEY_DATA and INT_BYTES < len(body) <= INT_BYTES + MAX_KEY_BYTES:
            pid, key = int.from_bytes(body[:INT_BYTES], "big"), body[INT_BYTES:]
        elif code == codes.READY_FOR_QUERY and body == b"I":
            return ServerHello(tuple(parameters.items()), pid, key)
        else:
            raise _unexpected(code, body)
