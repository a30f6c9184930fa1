"""Both halves of a login talking to each other, and how to cut what they say into messages."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pgrouter.auth.client import ClientIdentity, client_login
from pgrouter.auth.conversation import Conversation
from pgrouter.auth.server import ServerHello, server_login

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

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


def start(steps: Any) -> Conversation:
    """Start a login; what it sends first is in its `sends()`."""
    conversation = Conversation(steps, 256 * 1024)
    conversation.resume(None)
    return conversation


def say(conversation: Conversation, said: Message | None) -> bytes:
    """Let a login hear a message; return what it sends."""
    conversation.resume(said)
    return conversation.sends()


def begin(auth_type: str, user: str, secret: StoredSecret | None) -> tuple[Conversation, Message]:
    """Start a client's login and give the first request."""
    exchange = start(client_login(auth_type, user, secret))
    return exchange, message(exchange.sends())


def talk(
    auth_type: str, user: str, secret: StoredSecret | None, credential: Credential | None
) -> tuple[ClientIdentity, ServerHello]:
    """Log in with `server_login` at a server that is played by `client_login`; errors of either side come out."""
    client, server = start(client_login(auth_type, user, secret)), start(server_login(user, "db", (), credential))
    assert server.sends().endswith(b"database\0db\0\0")
    while True:
        identity = client.result
        said = b""
        for each in messages(client.sends() if identity is None else identity.final + WELCOME):
            said += say(server, each)
        if server.result is not None:
            assert identity is not None
            return identity, server.result
        client.resume(message(said))
