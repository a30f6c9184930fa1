"""Connections that have not proved who they are: how many there may be, and how long they may be silent.

They are nobody's yet, so they are limited before anything else is: when there are too many, the one that has been
there longest and has not said what it was asked for makes room for the next. A login in progress is hardly ever that
one, as it answers within a round trip; a stranger who says nothing always is. Where the router itself is what they
wait for, nobody makes room, and the next one is refused.

Source: sshd's MaxStartups; PostgreSQL's authentication_timeout.
"""

from __future__ import annotations

import fcntl
import termios
from itertools import islice
from typing import TYPE_CHECKING

from pgrouter.errors import TooManyClients

if TYPE_CHECKING:
    from pgrouter.config.settings import PoolSettings
    from pgrouter.proxy.client import ClientConnection

LEAST = 100  # by default, however few clients may log in: logins overlap
LOOKED_AT = 16  # how many are looked at when room is needed; those that wait for us are put behind the others


class Strangers:
    """All of a router's, in order of their arrival."""

    def __init__(self) -> None:
        self._clients: dict[int, ClientConnection] = {}
        self._limit = LEAST
        self._step_s = 0.0

    def __len__(self) -> int:
        return len(self._clients)

    def limit(self, settings: PoolSettings) -> None:
        """Apply the settings from now on."""
        self._limit = settings.max_logins or max(LEAST, settings.max_clients)
        self._step_s = settings.login_step_timeout_s

    def add(self, client: ClientConnection) -> None:
        """Add a new connection, and close another one, or this one, if they are too many."""
        goes = self._silent() or client if len(self._clients) >= self._limit else None
        self._clients[client.client_id] = client
        if goes is not None:
            goes.violation(TooManyClients("sorry, too many clients already", detail="They have not logged in yet."))

    def remove(self, client: ClientConnection) -> None:
        """Remove a connection, if it is there: it has proved who it is, or has ended."""
        self._clients.pop(client.client_id, None)

    def late(self, client: ClientConnection, now: float) -> bool:
        """Whether a connection is one of them, and has been silent for too long."""
        if not self._step_s or client.client_id not in self._clients:
            return False
        return _silent(client) and now - client.responder.asked_at > self._step_s

    def _silent(self) -> ClientConnection | None:
        for client_id in list(islice(self._clients, LOOKED_AT)):
            client = self._clients[client_id]
            if _silent(client) and not _has_spoken(client):
                return client
            del self._clients[client_id]
            self._clients[client_id] = client
        return None


def _has_spoken(client: ClientConnection) -> bool:
    """Whether something of a connection has arrived and was not read yet: it is us who are late."""
    unread = fcntl.ioctl(client.sock.fileno(), termios.FIONREAD, bytes(4))
    return any(unread)


def _silent(client: ClientConnection) -> bool:
    """Whether a connection has been asked for something and has not said it yet."""
    return client.responder is not None and client.responder.asked_at >= 0 and not client.put_aside
