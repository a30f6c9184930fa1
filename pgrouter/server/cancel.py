"""A CancelRequest to a server: a connection of its own that sends one message and is closed by the server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgrouter.net.bytes_stream import BytesStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.net.poller import Poller

log = logging.getLogger("pgrouter.server")


class CancelConnection(BytesStream):
    """Sends one CancelRequest; `then` is called exactly once, when the server has closed (or the request has failed).

    PostgreSQL closes the connection after sending the signal, so if the server connection goes to another client only
    after `then`, that client's query cannot be canceled. Source: postmaster.c processCancelRequest().
    """

    def __init__(self, poller: Poller, packet: bytes, then: Callable[[], None]) -> None:
        BytesStream.__init__(self, poller)
        self._packet = packet
        self._then = then
        self.since = poller.now

    def on_connected(self) -> int:
        """Send the request."""
        packet, self._packet = self._packet, b""
        if packet:
            self.send_bytes(packet)
        return 0

    def on_bytes(self, data: bytes) -> int:
        """Ignore all data."""
        return len(data)

    def on_eof(self, why: str) -> int:
        """The server has handled the request, or never will."""
        log.debug("cancel request: %s", why)
        self.close()
        then, self._then = self._then, None
        if then is not None:
            then()
        return 0
