"""systemd's sd_notify, which a unit of Type=notify waits for; does nothing without $NOTIFY_SOCKET."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger("pgrouter.notify")


def notify(state: str) -> bool:
    """Send a state (`READY=1`, ...) to the service manager named by $NOTIFY_SOCKET; return whether it was sent.

    A failure to send is only logged: the router serves all the same.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(1.0)
            sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        log.warning("the service manager at %s cannot be told %s: %s", address, state.split("\n", maxsplit=1)[0], error)
        return False
    return True
