"""What a client's batch asks for, read from its frames before they are sent: where it may run, what it leaves behind.

A batch is routed as one by all statements in it: one that is no read makes it a batch for the primary. Effects and the
settings that were touched add up until the end of the transaction, when the hub acts on them.
"""

from __future__ import annotations

import cython

from pgrouter.protocol.codes import BIND, DESCRIBE, PARSE, QUERY
from pgrouter.proxy.statements import FOLLOWS, ClientStatements
from pgrouter.routing.statement import Effect, Target, Tx
from pgrouter.session.harvest import Touched

# How a client's statements are routed: by its listener, or by session pooling
SPLIT, ONLY_PRIMARY, ONLY_REPLICA = range(3)

REPLICA = int(Target.REPLICA)
BEGIN_READ_ONLY = int(Tx.BEGIN_READ_ONLY)
DISCARD = int(Effect.DISCARD)
UNSEEN = int(Effect.UNSEEN | Effect.OTHER_STATE)


class Batch:
    """The facts of the batch at hand, and of the transaction that it belongs to."""

    def __init__(self, statements: ClientStatements, mode: cython.int) -> None:
        self.statements = statements
        self.mode = mode
        self.has_startup = False  # the startup packet had settings, to which RESET goes back
        self.reads = False  # it is one for a replica
        self.reason = ""  # and why
        self.deallocates = False  # it contains DEALLOCATE ALL
        self.effects = 0  # what the statements since the link may leave behind
        self.touched = None  # settings that the transaction may have changed
        self.resets = False  # a RESET or DISCARD ALL is on its way, and the startup packet had settings

    def begin(self) -> int:
        """Begin to read a batch that is to be routed."""
        self.reads = self.mode != ONLY_PRIMARY
        self.reason = ""
        return self.statements.begin_batch()

    def to_primary(self, reason: str) -> int:
        """Nobody can say what it does."""
        self.reads = self.mode == ONLY_REPLICA
        self.reason = reason
        return 0

    def unseen(self) -> int:
        """A statement streams through that is too large to be looked at: the session keeps its server."""
        self.effects |= UNSEEN
        return 0

    def settled(self) -> int:
        """The transaction is over, or was lost."""
        self.effects = 0
        self.touched = None
        self.resets = False
        return 0

    def examine(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Account for one whole frame."""
        if code == QUERY or code == PARSE or code == BIND or code == DESCRIBE:
            statement = self.statements.class_of(code, buf, pos, stop)
            if statement is None:
                return self.to_primary("unknown statement")  # the server will say so
            if statement is not FOLLOWS:
                self.account(statement)
        return 0

    def account(self, statement) -> int:
        """Account for one statement."""
        if self.mode == SPLIT and statement.target != REPLICA and statement.tx != BEGIN_READ_ONLY:
            self.reads = False
            self.reason = statement.reason
        elif self.reads:
            self.reason = statement.reason
        if statement.effects:
            self.effects |= statement.effects
            if statement.settings:
                self.touch(statement.settings)
            if statement.effects & DISCARD:
                self.resets = self.has_startup
            if statement.tag == "DEALLOCATE ALL":
                self.deallocates = True
        return 0

    def touch(self, settings) -> int:
        """Note the settings that a statement may change; they are read back at the end of the transaction."""
        if self.touched is None:
            self.touched = Touched()
        self.touched.note(settings)
        if self.has_startup and self.touched.has_resets():
            self.resets = True
        return 0
