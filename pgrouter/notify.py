"""systemd's sd_notify, which a unit of Type=notify waits for; does nothing without $NOTIFY_SOCKET."""

from __future__ import annotations

import logging
import os
import socket

WATCHDOG_SHARE = 3  # signs of life in the time that systemd waits for one

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


class Watchdog:
    """Signs of life for systemd (WatchdogSec=): as long as the loop turns, it gets one in a third of that time."""

    def __init__(self) -> None:
        wanted = os.environ.get("WATCHDOG_USEC", "")
        process = os.environ.get("WATCHDOG_PID", "")
        mine = not process or process == str(os.getpid())
        self._every_s = int(wanted) / 1e6 / WATCHDOG_SHARE if wanted.isdigit() and mine else 0.0
        self._next_s = 0.0

    def tick(self, now: float) -> None:
        """Called ten times a second."""
        if self._every_s and now >= self._next_s:
            self._next_s = now + self._every_s
            notify("WATCHDOG=1")
