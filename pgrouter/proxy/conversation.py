"""Conversations: what answers a client in place of a server. Python at its ease, off the data path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.errors import ProtocolViolation
from pgrouter.protocol import codes, framing
from pgrouter.routing.statement import Tx
from pgrouter.session.limbo import Limbo

if TYPE_CHECKING:
    from pgrouter.errors import RouterError
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.server.connection import ServerConnection

# A conversation understands its messages, so it keeps them whole; none of ours needs more.
MAX_MESSAGE = 1024 * 1024
_ENDINGS = {Tx.COMMIT: "COMMIT", Tx.ROLLBACK: "ROLLBACK"}
_NAMELESS = b"\0\0"  # a Query, Parse or Bind of empty strings


class Conversation:
    """Gets the client's bytes, and what the pool has to say, until it ends itself with `end`."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client

    def on_bytes(self, data: bytes) -> int:
        """Use whole messages of `data`; give how many bytes that were."""
        used = 0
        while self.client.conversation is self and not self.client.closed and len(data) - used >= 5:
            code = data[used]
            length = int.from_bytes(data[used + 1 : used + 5], "big")
            size = length + 1
            too_long = length > MAX_MESSAGE
            impossible = length < 4 or length > codes.MAX_MESSAGE or not self.knows(code)
            if impossible or (too_long and not self.on_long_message(code)):
                self.client.violation(ProtocolViolation(f"invalid frontend message type {code} or length {length}"))
                return len(data)
            here = min(size, len(data) - used)
            if too_long:
                self.client.skip(size - here)
            elif here < size:
                break
            else:
                self.on_message(code, data[used + 5 : used + size])
            used += here
        return used

    def knows(self, code: int) -> bool:
        """Whether a message of this type may come at all."""
        return framing.frontend_kind(code) != framing.UNKNOWN

    def on_message(self, code: int, body: bytes) -> None:
        """Answer one message."""
        raise NotImplementedError

    def on_long_message(self, code: int) -> bool:  # noqa: ARG002 (for those that can)
        """Answer one that is too long to be kept, by its type alone; whether that was possible."""
        return False

    def end(self) -> None:
        """Give the client back to the data path."""
        self.client.conversation = None

    def served(self, server: ServerConnection | None) -> None:
        """Get a server that was waited for."""

    def refused(self, error: RouterError) -> None:
        """Get no server."""

    def ready(self, server: ServerConnection) -> None:
        """Hear that the linked server owes nothing."""


class LimboConversation(Conversation):
    """A session without a server (see `session.limbo`), which keeps its prepared statements meanwhile."""

    def __init__(
        self, client: ClientConnection, error: RouterError | None, *, skipping: bool = False, failed: bool = False
    ) -> None:
        super().__init__(client)
        self.limbo = Limbo(error, self, skipping=skipping, failed=failed)

    def on_message(self, code: int, body: bytes) -> None:
        """Refuse, or end the lost transaction."""
        if code == codes.TERMINATE:
            self.client.leave()
            return
        answer = self.limbo.on_message(code, body)
        if answer:
            self.client.send_bytes(answer)
        if self.limbo.over:
            self.end()

    def on_long_message(self, code: int) -> bool:
        """Refuse it: nothing that long ends a transaction."""
        self.on_message(code, _NAMELESS)
        return True

    def ends(self, code: int, body: bytes) -> str:
        """Say how a Query, Parse, Bind or Describe's statement ends a transaction: COMMIT, ROLLBACK or ""."""
        statements = self.client.statements
        first, _, rest = body.partition(b"\0")
        if code == codes.BIND:
            statement = statements.class_named(rest.partition(b"\0")[0])
        elif code == codes.DESCRIBE:
            statement = statements.class_named(first[1:])
        else:
            text = first if code == codes.QUERY else rest.partition(b"\0")[0]
            statement = statements.cache.lookup(text, 0, len(text))
        return _ENDINGS.get(statement.tx, "") if statement is not None else ""

    def define(self, body: bytes) -> bool:
        """Take a Parse that is answered here; False: there is a statement of that name."""
        return self.client.statements.define(body, self.client.profile.meaning)

    def close(self, body: bytes) -> None:
        """Take a Close that is answered here."""
        self.client.statements.close(body)
