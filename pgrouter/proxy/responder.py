"""Responders, which answer a client in place of a server. Off the data path; compiled for the sake of logins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from pgrouter.errors import ProtocolViolation
from pgrouter.protocol import codes
from pgrouter.protocol.framing import copied, frontend_kind, length_at
from pgrouter.proxy import move
from pgrouter.proxy.client import ClientConnection
from pgrouter.routing.statement import Statement, Tx
from pgrouter.session.failed_transaction import LEFT, FailedTransaction

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import MAX_MESSAGE, UNKNOWN

if TYPE_CHECKING:
    from pgrouter.errors import RouterError
    from pgrouter.server.connection import ServerConnection

# A responder parses its messages, so it keeps them whole; none needs longer ones.
LONGEST = 1024 * 1024
_ENDINGS = {Tx.COMMIT: "COMMIT", Tx.ROLLBACK: "ROLLBACK"}
_NAMELESS = b"\0\0"  # a Query, Parse or Bind of empty strings


def _chains(statement: Statement) -> bool:
    return statement.tx is Tx.INSIDE and statement.tag in ("COMMIT", "ROLLBACK")


class Responder:
    """Gets the client's bytes, and the pool's answers, until it ends itself with `end`."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.longest = LONGEST
        self.asked_at = -1.0  # since when it waits for something that the client was asked for; -1: it does not
        self.leaves = False  # it has ended, and its last message is left to the data path

    def on_bytes(self, data: bytes) -> cython.Py_ssize_t:
        """Process the whole messages in `data`; returns the number of bytes used."""
        code: cython.int
        length: cython.uint
        size: cython.Py_ssize_t
        here: cython.Py_ssize_t
        used: cython.Py_ssize_t = 0
        end: cython.Py_ssize_t = len(data)
        while self.client.responder is self and not self.client.closed and end - used >= 5:
            code = data[used]
            length = length_at(data, used + 1)
            if self.client.put_aside or self.client.unsent():  # by the previous message
                break
            too_long: cython.bint = length > self.longest
            impossible: cython.bint = length < 4 or length > MAX_MESSAGE or not self.knows(code)
            if impossible or (too_long and not self.on_long_message(code)):
                self.client.violation(ProtocolViolation(f"invalid frontend message type {code} or length {length}"))
                return end
            size = length
            size += 1
            here = min(size, end - used)
            if too_long:
                self.client.skip(size - here)
            elif here < size:
                self.client.need = size
                break
            else:
                self.on_message(code, copied(data, used + 5, used + size))
                if self.leaves:
                    break
            used += here
            if end > used and self.client.poller.late():
                self.client.put_off()
                break
        return used

    def knows(self, code: cython.int) -> cython.bint:
        """Whether a message of this type is valid here."""
        return frontend_kind(code) != UNKNOWN

    def on_message(self, code: cython.int, body: bytes) -> None:
        """Answer one message."""
        raise NotImplementedError

    def on_long_message(self, code: cython.int) -> cython.bint:
        """Answer a message that is too long to be kept, by its type alone; returns whether that was possible."""
        return False

    def go_on(self) -> None:
        """Continue what was put off, or what the client was too slow to take."""

    def secured(self) -> int:
        """Called when TLS is established."""
        return 0

    def lost(self, why: str) -> None:
        """Called when the client has disconnected."""

    def cancel(self) -> None:
        """Called when the client cancels what it waits for."""

    def end(self) -> None:
        """Return the client to the data path."""
        self.client.responder = None

    def served(self, server: ServerConnection | None) -> None:
        """Called with a server that was waited for."""

    def refused(self, error: RouterError) -> None:
        """Called when waiting for a server has failed."""

    def ready(self, server: ServerConnection) -> None:
        """Called when nothing is outstanding at the linked server."""


class FailedTransactionResponder(Responder):
    """A session without a server (see `session.failed_transaction`), which keeps its prepared statements meanwhile."""

    def __init__(
        self, client: ClientConnection, error: RouterError | None, *, skipping: bool = False, failed: bool = False
    ) -> None:
        super().__init__(client)
        self.failed_transaction = FailedTransaction(error, self, skipping=skipping, failed=failed)

    def on_message(self, code: cython.int, body: bytes) -> None:
        """Refuse the message, or end the lost transaction and leave what follows to a server."""
        if code == codes.TERMINATE:
            self.client.leave()
            return
        answer = self.failed_transaction.on_message(code, body)
        if answer is LEFT:
            self.leaves = True
            if self.failed_transaction.failed:
                self.client.link.retry = move.of_lost()
        elif answer:
            self.client.send_bytes(answer)
        if self.failed_transaction.over:
            self.end()

    def on_long_message(self, code: cython.int) -> cython.bint:
        """Refuse the message: nothing that long ends a transaction."""
        self.on_message(code, _NAMELESS)
        return True

    def ends(self, code: int, body: bytes) -> str:
        """Return COMMIT or ROLLBACK if a Query, Parse, Bind or Describe begins by ending the transaction, else ""."""
        statement = self._class_of(code, body)
        if statement is None or (statement.parts and code != codes.QUERY):  # the latter is a syntax error
            return ""
        first = statement.parts[0] if statement.parts else statement
        return first.tag if _chains(first) else _ENDINGS.get(first.tx, "")

    def goes_on(self, code: int, body: bytes) -> bool:
        """Whether a message that ends the transaction does more than that: another statement, or AND CHAIN."""
        statement = self._class_of(code, body)
        return bool(statement.parts) or _chains(statement)

    def _class_of(self, code: int, body: bytes) -> Statement | None:
        statements = self.client.session.statements
        first, _, rest = body.partition(b"\0")
        if code == codes.BIND:
            return statements.class_named(rest.partition(b"\0")[0])
        if code == codes.DESCRIBE:
            return statements.class_named(first[1:])
        text = first if code == codes.QUERY else rest.partition(b"\0")[0]
        return statements.cache.lookup_now(text, 0, len(text), statements.unusual_strings)

    def define(self, body: bytes) -> bool:
        """Apply a Parse that is answered here; False if there is a statement of that name already."""
        return self.client.session.statements.define(body, self.client.session.profile.meaning)

    def close(self, body: bytes) -> None:
        """Apply a Close that is answered here."""
        self.client.session.statements.close(body)
