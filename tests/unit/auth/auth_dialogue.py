"""Both halves of a login talking to each other, and how to cut what they say into messages."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pgrouter.auth.client import ClientIdentity, Exchange, client_login
from pgrouter.auth.server import ServerHello, server_login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.auth.client import StoredSecret
    from pgrouter.auth.secret import Credential

Message = tuple[int, bytes]

WELCOME = (
    b"R\x00\x00\x00\x08\x00\x00\x00\x00"
    b"S\x00\x00\x00\x16server_version\x0018\x00"
    b"K\x00\x00\x00\x0c\x00\x00\x00\x07\x01\x02\x03\x04"
    b"Z\x00\x00\x00\x05I"
)


def frame(code: str, body: bytes) -> bytes:
    """Build a message."""
    return struct.pack("!cI", code.encode(), len(body) + 4) + body


def messages(data: bytes) -> Iterator[Message]:
    """Cut bytes into whole messages; anything left over is an error of the test."""
    while data:
        (length,) = struct.unpack_from("!I", data, 1)
        assert len(data) > length
        yield data[0], data[5 : length + 1]
        data = data[length + 1 :]


def message(data: bytes) -> Message:
    """Give the only message in `data`."""
    (found,) = messages(data)
    return found


def begin(auth_type: str, user: str, secret: StoredSecret | None) -> tuple[Exchange, Message]:
    """Start a client's login and give the first request."""
    exchange = client_login(auth_type, user, secret)
    return exchange, message(next(exchange))


def talk(
    auth_type: str, user: str, secret: StoredSecret | None, credential: Credential | None
) -> tuple[ClientIdentity, ServerHello]:
    """Log in with `server_login` at a server that is played by `client_login`; errors of either side come out."""
    client, server = client_login(auth_type, user, secret), server_login(user, "db", (), credential)
    next(server)
    identity = None
    said = b""
    while True:
        try:
            request = client.send(message(said) if said else None)
        except StopIteration as over:
            identity = over.value
            request = identity.final + WELCOME
        said = b""
        for each in messages(request):
            try:
                said += server.send(each)
            except StopIteration as over:
                assert identity is not None
                return identity, over.value
