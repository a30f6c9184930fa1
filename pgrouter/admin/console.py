"""The console's responder: who may use it, what a login is answered, and each command run on the router as it is now.

Everything is in memory, so a command is answered in the call that read it, unless that takes long or the client reads
slowly: then the answer continues when other clients have had their turn and this one has taken what was sent before.
"""

from __future__ import annotations

import logging
import select
import time
from os import urandom
from typing import TYPE_CHECKING

from pgrouter.admin.context import Context
from pgrouter.admin.driver_queries import PARAMETERS
from pgrouter.admin.protocol import ConsoleProtocol
from pgrouter.errors import InvalidAuthorization, RouterError
from pgrouter.protocol import codes, messages
from pgrouter.proxy.arrival import is_own
from pgrouter.proxy.responder import Responder

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator, Iterable

    from pgrouter.admin.command import Command
    from pgrouter.admin.context import App
    from pgrouter.admin.result import Row
    from pgrouter.config.settings import Admin
    from pgrouter.proxy.client import ClientConnection

CHUNK = 64 * 1024  # sent at once

LOOK_S = 0.1  # between two looks at what a command waits for
KEY = 4  # bytes


class Console(Responder):
    """A client's session with the router itself."""

    def __init__(self, app: App, client: ClientConnection, *, may_command: bool) -> None:
        super().__init__(client)
        self._app = app
        self._may_command = may_command
        self._protocol = ConsoleProtocol(self._execute)
        self._answer: Generator[bytes | None, None, None] | None = None  # the rest of that to the current message
        self._look: asyncio.TimerHandle | None = None  # while a command waits

    @classmethod
    def open(cls, app: App, client: ClientConnection) -> None:
        """Start the console for a client that has authenticated.

        Raises:
            InvalidAuthorization: 28000, its user is none of admin.admin_users and admin.stats_users, nor is it a
                process of the router's own system user on a Unix socket, which may do everything.

        """
        user = client.info.user
        access = is_own(client) or allowed(user, app.registry.settings.admin)
        if access is None:
            raise InvalidAuthorization(
                f'user "{user}" may not use the console',
                hint="admin.admin_users and admin.stats_users in the configuration file list who may.",
            )
        client.responder = console = cls(app, client, may_command=access)
        client.key = urandom(KEY)
        console._send(_welcome(client.client_id, client.key, user))
        app.registry.logged_in(client)

    # -- bytes

    def on_message(self, code: int, body: bytes) -> None:
        """Answer one message, or start to."""
        if code == codes.TERMINATE:
            self.client.leave()
            return
        self._answer = self._protocol.answer(code, body)
        self.go_on()

    def go_on(self) -> None:
        """Continue the current answer until other clients are due or this one is too slow to take it."""
        while self._answer is not None and not self.client.unsent() and not self.client.closed:
            if self.client.poller.late():
                self.client.put_off()
                break
            out = bytearray()
            waits = False
            for piece in self._answer:
                waits = piece is None
                out += piece or b""
                if waits or len(out) >= CHUNK or self.client.poller.late():
                    break
            else:
                self._answer = None
            self._send(bytes(out))
            if waits:
                self._wait()
                break

    def _send(self, data: bytes) -> None:
        if data and not self.client.closed and self.client.send_bytes(data) < 0:
            self._answer = None  # nobody reads the rest of it

    # -- a command that waits

    def _wait(self) -> None:
        """Look again a little later; until then nothing is read from the client."""
        if not self.client.closed:
            self.client.put_aside = True
            self.client.pause()
            self._look = self.client.poller.loop.call_later(LOOK_S, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        if self.client.closed:
            return
        if has_left(self.client.fd):
            self.client.leave()
        else:
            self.client.turn()

    def cancel(self) -> None:
        """End the command that waits: 57014."""
        if self._look is None or self._answer is None or self.client.closed:
            return
        self._look.cancel()
        self._look = None
        piece = self._answer.throw(RouterError("canceling statement due to user request", sqlstate="57014"))
        self._send(piece or b"")
        self.client.turn()

    # -- commands

    def _execute(self, command: Command) -> Iterable[Row | None]:
        if command.admin:
            if not self._may_command:
                raise RouterError(f"permission denied for {command.tag}", sqlstate="42501")
            self._app.registry.log(self.client, logging.INFO, "console: %s", command.tag)
        return command.run(Context(self._app, self.client, self._app.poller.now, time.time()))


def allowed(user: str, admin: Admin) -> bool | None:
    """Return what a user may do: everything (True), only SHOW (False), or nothing (None).

    A user in neither list is refused, whatever the password.
    """
    if user in admin.admin_users:
        return True
    if user in admin.stats_users:
        return False
    return None


def has_left(fd: int) -> bool:
    """Whether the other end of a socket that is not read from now has been closed."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return bool(poll.poll(0))


def _welcome(client_id: int, key: bytes, user: str) -> bytes:
    parameters = (*PARAMETERS, ("session_authorization", user))
    return (
        messages.AUTHENTICATION_OK
        + b"".join(messages.parameter_status(name, value) for name, value in parameters)
        + messages.backend_key_data(client_id, key)
        + messages.READY_IDLE
    )
