"""What a server connection needs to know of whom it works for.

The floors above fill it in (`proxy.link`, `proxy.client`); the two know each other, so each declares itself to Cython
before it looks at the other (the .pxd files).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.net.poller import Poller
from pgrouter.net.stream import Stream

if TYPE_CHECKING:
    from pgrouter.errors import RouterError
    from pgrouter.server.connection import ServerConnection


class Peer(Stream):
    """Whoever a server connection works for: a client connection, as far as the floors below it need to know."""

    def __init__(self, poller: Poller) -> None:
        Stream.__init__(self, poller)
        self.server = None
        self.resets = False  # it has sent a RESET: `before_ready` has something to say
        self.discards = False  # it has sent a DISCARD ALL: `ServerConnection.discarded` will say whether that was done
        self.replay_bytes = -1  # bytes in `server.batch` that may be run again; -1: none, or the answer has begun
        self.retry_on_refusal = False  # because it is a replica that has them: also when it refuses
        self.retry_on_loss = False  # because they only read: when the server is lost, on whatever other there is
        self.mid_frame = False  # what its server has sent ended within a message: what comes next must be its rest

    def send_bytes(self, data: bytes) -> int:
        """Send bytes of our own; never into a message: who has got a part of one can hear nothing else, and is left."""
        if self.mid_frame:
            self.close_cut()
            return -1
        return Stream.send_bytes(self, data)

    def close_cut(self) -> int:
        """End the connection within a message, without a word."""
        raise NotImplementedError

    def on_served(self, server: ServerConnection | None) -> int:
        """A server connection has become free for us, after waiting."""
        raise NotImplementedError

    def on_refused(self, error: RouterError) -> int:
        """Waiting for a server has ended without one."""
        raise NotImplementedError

    def on_ready(self) -> int:
        """The linked server owes nothing and is at a sync point."""
        raise NotImplementedError

    def on_server_lost(self, error: RouterError) -> int:
        """The linked server is gone; `error` says how."""
        raise NotImplementedError

    def on_error(self, sqlstate: str, routine: str) -> cython.bint:
        """Hear of an error before it is passed on; True: the batch is run elsewhere, and `on_let_go` follows."""
        return False

    def on_let_go(self, server: ServerConnection) -> int:
        """The server is linked no longer; it may still have to answer the rest of the batch."""
        raise NotImplementedError

    def on_words(self, error: bytes) -> bytes:
        """See an ErrorResponse that speaks of a shared statement; give it with the client's name for that."""
        return error

    def on_waiting(self) -> int:
        """The server waits for the client: for the data of a COPY, or for a Sync, behind an error."""
        return 0

    def on_named(self, events: list) -> int:
        """Hear what became of named statements: (request, statement id, done) in order."""
        return 0

    def on_changed(self, shared: object, known: bytes) -> cython.bint:
        """Hear that the server describes a shared statement in other words; True: the batch is run elsewhere."""
        return False

    def on_unnamed(self, ident: object, known: bytes | None) -> cython.bint:
        """Hear how the unnamed statement was described, None: it was not; True: the batch is run elsewhere."""
        return False

    def on_deallocated(self) -> int:
        """Hear that a DEALLOCATE or DISCARD ALL was carried out; told when `discards` says so."""
        return 0

    def on_parameter(self, body: bytes) -> bytes | None:
        """See a ParameterStatus; give what the client gets instead, None: it may have it."""
        return None

    def on_notification(self, message: bytes) -> bytes:
        """See a NotificationResponse, a whole message; give what the client gets."""
        return message

    def before_ready(self) -> bytes:
        """Give what the client gets in front of a ReadyForQuery; asked when `resets` says so."""
        return b""
