"""The facts of a client's connection, as the rules of auth/hba.py see them."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from pgrouter.auth.hba import Arrival, Certificate
from pgrouter.errors import InvalidAuthorization

if TYPE_CHECKING:
    from pgrouter.proxy.client import ClientConnection

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
NOBODY = -1
ENCRYPTED = ("require", "verify-ca", "verify-full")  # modes in which clients have to use TLS


def arrival(client: ClientConnection, user: str, database: str) -> Arrival:
    """Return what is known of a client that wants to be `user` in `database`."""
    address = client.address[0]
    if client.sealed is None:
        return Arrival(user, database, address)
    codec = client.sealed.codec
    names = codec.peer_names()
    return Arrival(
        user,
        database,
        address,
        encrypted=True,
        certificate=Certificate(*names) if names else None,
        binding=codec.binding(),
    )


def peer_uid(client: ClientConnection) -> int:
    """Return the number of the user at the other end of a Unix socket; NOBODY over TCP."""
    if client.address is None or client.address[0] or client.sock is None:
        return NOBODY
    _, uid, _ = _CREDENTIALS.unpack(client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def is_own(client: ClientConnection) -> bool:
    """Whether it is a process of the router's own system user on a Unix socket, which can read the router's files.

    So it is asked for nothing on the console. Source: PgBouncer client.c, admin_pre_login().
    """
    return peer_uid(client) == os.geteuid()


def check_encryption(client: ClientConnection, mode: str, user: str) -> None:
    """Refuse a client whose connection is not protected as its listener demands: `mode` is `listen[].tls.mode`.

    Raises:
        InvalidAuthorization: 28000, it has no TLS, no certificate, or one for somebody else than `user`.

    """
    if mode not in ENCRYPTED or not client.address[0]:  # a Unix socket needs no TLS
        return
    if client.sealed is None:
        raise InvalidAuthorization(
            "this address accepts only TLS connections", hint="Connect with sslmode=require or stronger."
        )
    if mode == "require":
        return
    names = client.sealed.codec.peer_names()
    if names is None:
        raise InvalidAuthorization("connection requires a valid client certificate")
    if mode == "verify-full" and names[0] != user:
        raise InvalidAuthorization(
            f'certificate authentication failed for user "{user}"', detail=f'The certificate is for "{names[0]}".'
        )
