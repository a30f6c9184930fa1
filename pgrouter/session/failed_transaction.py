"""What a session answers while it has no server: the server was lost, or none was available.

The client gets one error, in place of an outstanding answer, and the session goes on. If the server was lost inside a
transaction, the session is in a failed transaction, exactly as after any other error: whatever the client sends until
ROLLBACK or COMMIT is refused with 25P02, so that the rest of its transaction can never run by itself on another server.

A COMMIT that is answered with an error ends the transaction all the same, as in PostgreSQL (a deferred constraint that
fails): drivers expect that, and do not send a ROLLBACK after it.

What follows the end of the transaction, in the same Query or before the same Sync, must be answered by a server and is
left to one (`LEFT`). A Query that ends the transaction and goes on is left as a whole, and so is AND CHAIN: the new
transaction does not inherit the modes of one that has failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pgrouter.errors import DuplicateStatement, InFailedTransaction
from pgrouter.protocol import codes, messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgrouter.errors import RouterError

_ABORTED = InFailedTransaction("current transaction is aborted, commands ignored until end of transaction block")
_ROLLED_BACK = messages.command_complete("ROLLBACK")
_NO_PARAMETERS = messages.message(codes.PARAMETER_DESCRIPTION, b"\0\0")

_DONE = {codes.PARSE: messages.PARSE_COMPLETE, codes.BIND: messages.BIND_COMPLETE}
_EXTENDED = frozenset({codes.PARSE, codes.BIND, codes.DESCRIBE, codes.EXECUTE, codes.CLOSE})
_STATEMENT = b"S"

LEFT = None  # instead of an answer: a server must give it


class Statements(Protocol):
    """The session's prepared statements, which exist with or without a server."""

    def ends(self, code: int, body: bytes) -> str:
        """Return COMMIT or ROLLBACK if a Query, Parse, Bind or Describe begins by ending the transaction, else ""."""

    def goes_on(self, code: int, body: bytes) -> bool:
        """Whether a message that ends the transaction does more than that: another statement, or AND CHAIN."""

    def define(self, body: bytes) -> bool:
        """Apply a Parse that is answered here; False if there is a statement of that name already."""

    def close(self, body: bytes) -> None:
        """Apply a Close that is answered here."""


class FailedTransaction:
    """A session without a server, which gets the client's messages until `over`.

    `error` answers the next statement (None: it has been sent); `skipping`: nothing is answered before a Sync;
    `failed`: a transaction was lost; `ended`: the current batch has ended it and may go on.
    """

    def __init__(
        self, error: RouterError | None, statements: Statements, *, skipping: bool = False, failed: bool = False
    ) -> None:
        self.error = error
        self.skipping = skipping
        self.failed = failed
        self.ended = False
        self.over = False
        self._statements = statements
        self._portal = ""  # how the last statement bound ends the transaction

    def on_message(self, code: int, body: bytes) -> bytes | None:
        """Return the answer to one frontend message; LEFT: the session needs a server, starting with this message."""
        if self.ended and code not in (codes.CLOSE, codes.SYNC, codes.FLUSH):
            return self._leave()
        if code in (codes.QUERY, codes.FUNCTION_CALL) and not self.skipping:
            return self._simple(code, body)
        if code == codes.SYNC:
            self.skipping = False
            return self._ready()
        if self.skipping or code not in _EXTENDED:
            return b""
        if code == codes.CLOSE:
            self._statements.close(body)
            return messages.CLOSE_COMPLETE
        return self._extended(code, body)

    def _simple(self, code: int, body: bytes) -> bytes | None:
        ending = self._statements.ends(code, body) if self.failed and code == codes.QUERY else ""
        if not ending:
            return self._refusal() + self._ready()
        answer = self._end(ending)
        if answer is _ROLLED_BACK and self._statements.goes_on(code, body):
            self.failed = True
            return self._leave()
        return answer + self._ready()

    def _leave(self) -> None:
        self.over = True
        return LEFT

    def _extended(self, code: int, body: bytes) -> bytes | None:
        of_statement = code == codes.DESCRIBE and body[:1] == _STATEMENT
        ending = self._portal
        if code in (codes.PARSE, codes.BIND) or of_statement:
            ending = self._statements.ends(code, body) if self.failed else ""
            if ending and self._statements.goes_on(code, body):
                if self.error is None:
                    return self._leave()
                ending = ""
        if code == codes.BIND:
            self._portal = ending
        if not ending:
            self.skipping = True
            return self._refusal()
        if code == codes.PARSE and not self._statements.define(body):
            self.skipping = True
            return messages.error_response(DuplicateStatement(body.partition(b"\0")[0].decode(errors="replace")))
        if code == codes.DESCRIBE:
            return (_NO_PARAMETERS if of_statement else b"") + messages.NO_DATA
        if code == codes.EXECUTE:
            self._portal = ""
            answer = self._end(ending)
            self.ended = answer is _ROLLED_BACK
            self.skipping = not self.ended
            return answer
        return _DONE[code]

    def _end(self, ending: str) -> bytes:
        """End the lost transaction; a COMMIT is answered with the error if it has not been reported yet."""
        self.failed = False
        error, self.error = self.error, None
        return messages.error_response(error) if error is not None and ending == "COMMIT" else _ROLLED_BACK

    def _refusal(self) -> bytes:
        error, self.error = self.error, None
        return messages.error_response(error or _ABORTED)

    def _ready(self) -> bytes:
        self._portal = ""  # ends with the (implicit) transaction
        self.ended = False
        self.over = not self.failed and self.error is None
        return messages.READY_FAILED if self.failed else messages.READY_IDLE


def after_loss(
    owed: Sequence[tuple[int, bool]], error: RouterError, *, failed: bool, skipping: bool, over: bool = False
) -> tuple[bytes, bool, bool]:
    """Answer the requests that were outstanding when a server was lost.

    `owed` has, oldest first, for each request: whether it ends with ReadyForQuery by itself (Query, FunctionCall: 1),
    is a Sync (2) or another extended message (0), and whether the client expects an answer at all. `failed`: a
    transaction was open; `over`: and the last of these requests would have ended it. `skipping`: an error has been
    sent already and the Sync is still to come.

    Returns the bytes, whether the error has been reported, and whether the client's Sync is still to come.
    """
    out = b""
    told = False
    ready = messages.READY_FAILED if failed else messages.READY_IDLE
    for number, (kind, expected) in enumerate(owed, 1):
        if over and number == len(owed):
            ready = messages.READY_IDLE
        if not expected:
            continue
        if kind == 0:
            if not skipping:
                out += messages.error_response(error)
                told = skipping = True
            continue
        if not skipping:
            out += messages.error_response(error)
            told = True
        if kind == 2 or not skipping:
            out += ready
        if kind == 2:
            skipping = False
    return out, told, skipping
