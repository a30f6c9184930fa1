"""What a server connection needs to know about the client that it serves.

The layers above implement it (`proxy.client_peer`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.net.stream import Stream

if TYPE_CHECKING:
    import cython

    from pgrouter.errors import RouterError
    from pgrouter.server.connection import ServerConnection


class Peer:
    """What a server connection serves: the stream that gets its answers, and what happens at certain answers."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.watches = 0  # what the client has sent that concerns certain answers: RESETS, DISCARDS as bits
        self.mid_frame = False  # the bytes from its server ended within a message: the next ones must be its rest

    # -- from the pool

    def on_served(self, server: ServerConnection | None) -> int:
        """After waiting, a server connection has become free for this client."""
        raise NotImplementedError

    def on_refused(self, error: RouterError) -> int:
        """Waiting for a server connection has failed."""
        raise NotImplementedError

    # -- from the linked server

    def on_ready(self) -> int:
        """The linked server has no outstanding answers and is at a sync point."""
        raise NotImplementedError

    def on_server_lost(self, error: RouterError) -> int:
        """The linked server is gone; `error` says how."""
        raise NotImplementedError

    def on_error(self, sqlstate: str, routine: str) -> cython.bint:
        """Called before an error is forwarded; True: the batch is retried on another server, `on_let_go` follows."""
        return False

    def on_let_go(self, server: ServerConnection) -> int:
        """The server is no longer linked; it may still have to answer the rest of the batch."""
        raise NotImplementedError

    def on_words(self, error: bytes) -> bytes:
        """Called with an ErrorResponse that names a shared statement; return it with the client's name for that."""
        return error

    def on_waiting(self) -> int:
        """The server waits for the client: for the data of a COPY, or for a Sync after an error."""
        return 0

    def on_named(self, events: list) -> int:
        """Called with the fate of named statements: (request, statement id, done) in order."""
        return 0

    def on_changed(self, shared: object, known: bytes) -> cython.bint:
        """The server describes a shared statement differently; True: the batch is retried on another server."""
        return False

    def on_unnamed(self, ident: object, known: bytes | None) -> cython.bint:
        """The unnamed statement was described, None: it was not; True: the batch is retried on another server."""
        return False

    def on_deallocated(self) -> int:
        """A DEALLOCATE or DISCARD ALL was executed; called only if the client watches DISCARDS."""
        return 0

    def on_parameter(self, body: bytes) -> bytes | None:
        """Called with a ParameterStatus; return what the client gets instead, None: forward it."""
        return None

    def on_notification(self, message: bytes) -> bytes:
        """Called with a NotificationResponse, a whole message; return what the client gets."""
        return message

    def before_ready(self) -> bytes:
        """Return what the client gets before a ReadyForQuery; called only if the client watches RESETS."""
        return b""
