"""Read-only transactions that begin on a replica and continue on the primary, transparently for their client.

The only effects of a transaction on a replica are those of statements like BEGIN and its modes, SET and SAVEPOINT.
These are kept (`Transaction.said`); when a batch needs the primary, they are repeated there and the replica rolls
back. If the transaction has already read, it can move only if it is READ COMMITTED and has no open cursors, for which
the replica is queried; otherwise the batch is refused: another snapshot would be another transaction. A batch is
examined as a whole before the replica gets it, and waits until all requests before it have been answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgrouter.protocol import codes, messages
from pgrouter.protocol.codes import BIND, FUNCTION_CALL, PARSE, QUERY
from pgrouter.protocol.requests import QUERY as R_QUERY
from pgrouter.protocol.requests import REFUSED_QUERY as R_REFUSED_QUERY
from pgrouter.protocol.requests import SKIP
from pgrouter.proxy.retry import Retry, split
from pgrouter.routing.read_only import Needs, needs, parts_of
from pgrouter.routing.statement import Reason, Statement, Target
from pgrouter.server.states import ROUTER_ASKS
from pgrouter.session.refusals import INSTEAD, NOT_REPEATABLE, OPEN_CURSOR, SNAPSHOT

if TYPE_CHECKING:
    from pgrouter.net.send_buffer import SendBuffer
    from pgrouter.proxy.dispatcher import Dispatcher
    from pgrouter.proxy.link import Link
    from pgrouter.proxy.replica import ReplicaTransaction
    from pgrouter.proxy.statements import ClientStatements
    from pgrouter.routing.policy import Facts

FAILED = ord("E")

MAX_SAID = 64 * 1024  # bytes: no client sends more before a query

# What to do with a batch
STAYS, MOVES, ASKS, REFUSED = range(4)

# Only the server knows: a default may come from the role, and a cursor may have been closed. pg_cursors also has the
# portals of the protocol.
_QUESTION = messages.query(
    "SELECT pg_catalog.current_setting('transaction_isolation'), EXISTS (SELECT FROM pg_catalog.pg_cursors)"
)
_READS = b"SELECT"  # takes a snapshot: what PostgreSQL forbids after a first query is forbidden after the move, too
_MOVABLE = ("read committed", "read uncommitted")
_CALLED = Statement(Target.PRIMARY, Reason.FUNCTION_CALL)


class Asked(NamedTuple):
    """What a batch needs."""

    needs: Needs
    said: list[bytes]  # its statements that have to be repeated
    alone: bool  # it has one statement at most


class Transaction:
    """A transaction on a replica: the statements to repeat, and whether it can move to the primary."""

    def __init__(self, asked: Asked | None) -> None:
        self.said: list[bytes] = []
        self.before = 0  # number of statements to repeat before the current batch
        self.alone = True  # that batch has one statement at most
        self.ends = False  # and it begins with the end of the transaction
        self.snapshot = False  # something has been read
        self.movable: bool | None = None  # in spite of that; None: the replica must be queried
        self.why = NOT_REPEATABLE  # if not
        self.known = asked is not None  # the statements to repeat are known
        if asked is not None:
            self.note(asked, failed=False)

    def note(self, asked: Asked, *, failed: bool) -> None:
        """Record a batch that goes to the replica; `failed`: the transaction had failed before it."""
        self.before, self.alone = len(self.said), asked.alone
        self.ends = bool(asked.needs & Needs.ENDS)
        if asked.needs & Needs.AFRESH:
            self.snapshot = False
            self.movable = None
            if asked.needs & Needs.ENDS:
                self.said, self.before, self.known = [], 0, True
        self.said += asked.said
        if asked.needs & Needs.SNAPSHOT:
            if not self.snapshot and not failed:
                self.said.append(_READS)
            self.snapshot = True
            self.movable = None
        self.known = self.known and sum(map(len, self.said)) <= MAX_SAID

    def answered(self, status: int) -> None:
        """Called when the batch has been answered: what has failed had no effect."""
        if status == FAILED and len(self.said) > self.before:
            self.known = self.known and (self.alone or self.said[self.before :] == [_READS])
            if self.alone:
                self.said[self.before :] = [text for text in self.said[self.before :] if text is _READS]
        self.before = len(self.said)

    def course(self, asked: Asked, *, failed: bool) -> int:  # noqa: PLR0911 (a table of cases)
        """Decide what to do with the next batch."""
        if failed and asked.needs & Needs.AFRESH and not asked.needs & Needs.ENDS:
            if not self.known:
                self.said = [b"BEGIN"]
            return MOVES  # COMMIT AND CHAIN: the next transaction does not inherit the modes of a failed one
        if not asked.needs & Needs.PRIMARY:
            return STAYS
        if failed and not asked.needs & (Needs.ENDS | Needs.REPEAT):
            return STAYS  # PostgreSQL refuses it, whatever it is
        if failed and asked.needs & Needs.ENDS and not self.known:
            self.said = [b"BEGIN"]  # it ends in a rollback, whatever was in it
            return MOVES
        if not self.known:
            self.why = NOT_REPEATABLE
            return REFUSED
        if asked.needs & Needs.ENDS or not self.snapshot:
            return MOVES
        if self.movable is None and failed:
            self.why = NOT_REPEATABLE  # a failed transaction cannot be queried
            return REFUSED
        if self.movable is None:
            return ASKS
        return MOVES if self.movable else REFUSED

    def heard(self, collected: list[tuple[int, bytes]]) -> None:
        """Process the replica's answer."""
        self.movable, self.why = False, SNAPSHOT
        for code, body in collected:
            if code == codes.DATA_ROW:
                isolation, cursors, *_ = (*messages.read_data_row(body), None, None)
                self.movable = isolation in _MOVABLE and cursors == "f"
                self.why = SNAPSHOT if isolation not in _MOVABLE else OPEN_CURSOR


class Move(Retry):
    """The rest of a transaction, on the primary."""

    inside = True

    def __init__(self, said: list[bytes], batch: bytes = b"", *, ends: bool = False, failed: bool = False) -> None:
        super().__init__(batch, "")
        self.said = said
        self.ends = ends  # the batch begins with the end of the transaction
        self.failed_before = failed

    def route(self, dispatcher: Dispatcher) -> None:
        """Route the batch to the primary."""
        batch = dispatcher.batch
        batch.send_to(False, self.reason or batch.reason)

    def begin(self, link: Link, out: SendBuffer) -> None:
        """Repeat the statements before the batch, once."""
        server = link.server
        said, self.said = self.said, []
        for text in said:
            server.outstanding.push(R_QUERY, SKIP)
            out.add_bytes(messages.query(text))
        if said and self.failed_before:  # so that COMMIT means ROLLBACK here, too
            server.outstanding.push(R_REFUSED_QUERY, SKIP, NOT_REPEATABLE)
            out.add_bytes(messages.query(INSTEAD[NOT_REPEATABLE]))
        if said:
            server.session.unnamed = None
            link.batch.begun()


def asked_for(batch: bytes, statements: ClientStatements, facts: Facts, *, snapshot: bool, whole: bool = True) -> Asked:
    """Return what a batch needs; what is only parsed or described needs no more than a snapshot.

    Not `whole`: its last message is too long to be kept; the names of a Bind are known, a text is not.
    """
    parsed: dict[bytes, tuple[bytes, Statement | None]] = {}
    executed: list[Statement] = []
    said: list[bytes] = []
    reads = Needs.NOTHING
    code = 0
    for code, words in split(batch):
        if code == FUNCTION_CALL:
            executed.append(_CALLED)
        if code not in (QUERY, PARSE, BIND) or len(words) < 2:
            continue
        if code == BIND:
            text, statement = parsed.get(words[1]) or _known(words[1], statements)
        else:
            text = words[0] if code == QUERY else words[1]
            statement = statements.cache.lookup_now(text, 0, len(text), statements.unusual_strings)
        if statement is None:
            continue
        if code == PARSE:
            parsed[words[0]] = text, statement
            if needs([statement], facts, snapshot=True) & (Needs.SNAPSHOT | Needs.PRIMARY):
                reads = Needs.SNAPSHOT
            continue
        executed.append(statement)
        if needs([statement], facts, snapshot=snapshot) & Needs.REPEAT:
            said.append(text)
    asked = needs(executed, facts, snapshot=snapshot) | reads
    if not whole and code != BIND:
        return Asked(Needs.PRIMARY, [], alone=False)
    return Asked(asked, said, alone=sum(len(parts_of(one)) for one in executed) <= 1)


def _known(name: bytes, statements: ClientStatements) -> tuple[bytes, Statement | None]:
    statement = statements.class_named(name)
    if statement is None:
        return b"", None
    if not name:
        return statements.unnamed_parse[6:].partition(b"\0")[0], statement
    return statements.named[name].body.partition(b"\0")[0], statement


# -- called by the client connection


def begun(link: Link, batch: bytes) -> Transaction:
    """Return the transaction of a batch that begins it on a replica."""
    return Transaction(asked_for(batch, link.session.statements, link.batch.facts, snapshot=False))


def course(replica: ReplicaTransaction, batch: bytes, whole: bool) -> int:  # noqa: FBT001 (called from C)
    """Decide on the next batch of a transaction on a replica, and do all that is necessary except forwarding it."""
    transaction: Transaction = replica.record
    link = replica.link
    server = link.server
    failed = server.status == FAILED
    asked = asked_for(
        batch, link.session.statements, link.batch.facts, snapshot=transaction.snapshot, whole=whole
    )  # fmt: skip
    course = STAYS if link.session.pool.standby else transaction.course(asked, failed=failed)
    if course == STAYS:
        # As long as nothing has been read, the primary can still run what a replica refuses.
        replica.can_move = bool(asked.needs & Needs.SNAPSHOT) and transaction.known and not (
            transaction.snapshot or failed
        )  # fmt: skip
        transaction.note(asked, failed=failed)
    elif course == MOVES:
        replica.leave(Move(transaction.said, ends=bool(asked.needs & Needs.ENDS), failed=failed))
    elif course == ASKS:
        server.captured = []
        server.input_state = ROUTER_ASKS
        server.inject(_QUESTION)
    return course


def of_lost() -> Move:
    """Return a move for a Query that ends a lost, failed transaction: another one is made to fail in its place."""
    return Move([b"BEGIN"], ends=True, failed=True)


def refused(transaction: Transaction, batch: bytes) -> Move:
    """Return the move to the primary for a batch that the replica has refused, the first one that reads."""
    return Move(transaction.said[: transaction.before], batch, ends=transaction.ends)
