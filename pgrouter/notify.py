"""systemd's sd_notify: what a unit of Type=notify waits for; nothing happens where nobody asked."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger("pgrouter.notify")


def notify(state: str) -> bool:
    """Send a state (`READY=1`, ...) to the service manager that $NOTIFY_SOCKET names; tell whether it was sent.

    What cannot be sent is logged, and nothing else: the router serves all the same.
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
