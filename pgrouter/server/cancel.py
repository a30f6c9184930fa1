"""A CancelRequest to a server: a connection of its own that sends one message and is closed by the server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgrouter.auth.conversation import Conversation
from pgrouter.auth.encryption import PLAIN, Attempt, StartTls, encrypt
from pgrouter.auth.steps import READ_BYTE
from pgrouter.errors import RouterError
from pgrouter.net.bytes_stream import BytesStream
from pgrouter.net.sealed import secure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pgrouter.net.poller import Poller

log = logging.getLogger("pgrouter.server")


class CancelConnection(BytesStream):
    """Sends one CancelRequest; `then` is called exactly once, when the server has closed (or the request has failed).

    It is protected as `attempt` says: whoever reads its key can cancel.

    PostgreSQL closes the connection after sending the signal, so if the server connection goes to another client only
    after `then`, that client's query cannot be canceled. Source: postmaster.c processCancelRequest().
    """

    def __init__(self, poller: Poller, packet: bytes, then: Callable[[], None], attempt: Attempt = PLAIN) -> None:
        BytesStream.__init__(self, poller)
        self._conversation = Conversation(_steps(packet, attempt), 0)
        self._then = then
        self.since = poller.now

    def on_connected(self) -> int:
        """Send the request, or ask for TLS first."""
        return self._go_on(None)

    def on_bytes(self, data: bytes) -> int:
        """Read the answer to the request for TLS; ignore all other data."""
        if self._conversation.reads == READ_BYTE:
            self._go_on(data[0])
            return 1
        return len(data)

    def on_secured(self) -> int:
        """Send the request."""
        return self._go_on(None)

    def _go_on(self, answer: object) -> int:
        try:
            request = self._conversation.resume(answer)
        except RouterError as error:
            return self.on_eof(error.message)
        out = self._conversation.sends()
        if out:
            self.send_bytes(out)
        if isinstance(request, StartTls):
            secure(self, request.codec)
        return 0

    def on_eof(self, why: str) -> int:
        """The server has handled the request, or never will."""
        log.debug("cancel request: %s", why)
        self.close()
        then, self._then = self._then, None
        if then is not None:
            then()
        return 0


def _steps(packet: bytes, attempt: Attempt) -> Generator[bytes | int | StartTls, object, None]:
    yield from encrypt(attempt)
    yield packet
