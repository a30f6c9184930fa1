"""The facts of a client's connection, as the rules of auth/hba.py see them."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from pgrouter.auth.hba import Arrival, Certificate

if TYPE_CHECKING:
    from pgrouter.proxy.client import ClientConnection

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
NOBODY = -1


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
