"""Whether a client on a Unix socket is a process of the router's own system user.

Such a process can read the router's files, the users' secrets among them, so it is asked for nothing on the console.

Source: PgBouncer client.c, admin_pre_login(); SO_PEERCRED in unix(7).
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgrouter.proxy.client import ClientConnection

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: process, user, group


def is_own(client: ClientConnection) -> bool:
    """Whether it is; False for one that has connected over TCP."""
    if client.address is None or client.address[0] != "" or client.sock is None:
        return False
    with socket.socket(fileno=os.dup(client.sock.fileno())) as twin:
        if twin.family != socket.AF_UNIX:
            return False
        _, user, _ = _CREDENTIALS.unpack(twin.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(user == os.geteuid())
