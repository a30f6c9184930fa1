"""The router's login to a PostgreSQL server, as a generator.

It yields what to send (b"" for nothing) and is sent the server's next message, `(type, body)`, until the server is
ready for its first query. If it yields a `Derivation`, it is sent the keys.

Source: protocol chapter, "Start-up" and "SASL Authentication".
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgrouter.auth import md5, scram, wire
from pgrouter.auth.secret import Credential, Derivation, Md5Secret, PlainSecret
from pgrouter.errors import InvalidAuthorization, RouterError, ServerLost

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

Message = tuple[int, bytes]

INT_BYTES = 4

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
        digits = re.match(r"\d*", dict(self.parameters).get("server_version", ""))
        return int(digits[0] or 0) if digits else 0

    def __repr__(self) -> str:
        return f"<ServerHello pid={self.pid}>"


class ServerRefused(RouterError):
    """PostgreSQL refused the login: `body` is its ErrorResponse, to be passed on byte for byte."""

    def __init__(self, body: bytes) -> None:
        fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
        super().__init__(
            fields.get(b"M", "the server refused the login"),
            detail=fields.get(b"D", ""),
            hint=fields.get(b"H", ""),
            sqlstate=fields.get(b"C", "08006"),
            severity=fields.get(b"V", fields.get(b"S", "FATAL")),
        )
        self.body = body


def server_login(
    user: str, database: str, parameters: Iterable[tuple[str, str]], credential: Credential | None
) -> Generator[bytes | Derivation, Message | scram.ScramKeys, ServerHello]:
    """Log in to a server as `user`; `parameters` are startup parameters besides user and database.

    Raises:
        ServerRefused: the server refused the login; the SQLSTATE is its own.
        InvalidAuthorization: 28000, it asks for what `credential` cannot provide, or does not know the password itself.
        ServerLost: 08P01, it does not speak the protocol.

    """
    code, body = yield from _ask(_startup_packet(user, database, parameters))
    request, data = _authentication(code, body)
    if request != wire.AUTH_OK:
        if request == wire.AUTH_SASL:
            last = yield from _scram(user, data, credential)
        else:
            last = yield from _ask(wire.password(_password(request, data, user, credential) + b"\0"))
        request, _ = _authentication(*last)
        if request != wire.AUTH_OK:
            raise _odd(f"authentication request {request} after an answer")
    return (yield from _session_start())


def _startup_packet(user: str, database: str, parameters: Iterable[tuple[str, str]]) -> bytes:
    words = [word for pair in (("user", user), ("database", database), *parameters) for word in pair]
    body = b"".join(wire.as_bytes(word) + b"\0" for word in words) + b"\0"
    return struct.pack("!II", len(body) + 8, wire.PROTOCOL_3_0) + body


def _ask(out: bytes) -> Generator[bytes, Message, Message]:
    """Send, and return the next message that matters; an error ends the login."""
    code, body = yield out
    while code in (wire.NOTICE_RESPONSE, wire.NEGOTIATE_PROTOCOL_VERSION):
        code, body = yield b""
    if code == wire.ERROR_RESPONSE:
        raise ServerRefused(body)
    return code, body


def _odd(what: str) -> ServerLost:
    return ServerLost(f"unexpected message from server during login: {what}", sqlstate="08P01")


def _authentication(code: int, body: bytes) -> tuple[int, bytes]:
    if code != wire.AUTHENTICATION or len(body) < INT_BYTES:
        raise _odd(f"type {chr(code)!r} of {len(body)} bytes")
    return int.from_bytes(body[:INT_BYTES], "big"), body[INT_BYTES:]


# -- authentication


def _password(request: int, data: bytes, user: str, credential: Credential | None) -> bytes:
    """Return the answer to a password request, without the final NUL."""
    if request == wire.AUTH_CLEARTEXT:
        if isinstance(credential, PlainSecret):
            return wire.as_bytes(credential.password)
        raise _cannot("the password in clear", user, credential)
    if request == wire.AUTH_MD5 and len(data) == md5.SALT_BYTES:
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


def _scram(user: str, data: bytes, credential: Credential | None) -> Generator[bytes | Derivation, Any, Message]:
    """Run the SASL exchange; return the message after it."""
    if wire.MECHANISM not in data.split(b"\0"):
        raise _cannot("an unknown SASL mechanism", user, None)
    if not isinstance(credential, PlainSecret | scram.ScramKeys):
        raise _cannot("SCRAM-SHA-256", user, credential)
    first = scram.client_first(scram.new_nonce())
    try:
        begin = wire.MECHANISM + b"\0" + struct.pack("!I", len(first.message)) + first.message
        body = yield from _sasl(begin, wire.AUTH_SASL_CONTINUE)
        challenge = scram.read_server_first(body, first)
        keys = yield from _keys(user, credential, challenge)
        final, signature = scram.client_final(keys, first, challenge)
        body = yield from _sasl(final, wire.AUTH_SASL_FINAL)
        scram.check_server_final(body, signature)
    except scram.ScramError as error:
        raise InvalidAuthorization("SCRAM exchange with the server failed", detail=str(error)) from None
    return (yield from _ask(b""))


def _sasl(out: bytes, expected: int) -> Generator[bytes, Message, bytes]:
    request, data = _authentication(*(yield from _ask(wire.password(out))))
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


def _session_start() -> Generator[bytes, Message, ServerHello]:
    parameters: dict[str, str] = {}
    pid, key = 0, b""
    while True:
        code, body = yield from _ask(b"")
        if code == wire.PARAMETER_STATUS:
            name, _, value = body.removesuffix(b"\0").partition(b"\0")
            parameters[wire.as_text(name)] = wire.as_text(value)
        elif code == wire.BACKEND_KEY_DATA and len(body) > INT_BYTES:
            pid, key = int.from_bytes(body[:INT_BYTES], "big"), body[INT_BYTES:]
        elif code == wire.READY_FOR_QUERY:
            return ServerHello(tuple(parameters.items()), pid, key)
        else:
            raise _odd(f"type {chr(code)!r} of {len(body)} bytes")
