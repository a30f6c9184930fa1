"""Read-only transactions that begin on a replica and go on at the primary, unseen by their client.

A transaction on a replica can have left nothing behind but what its client has said: BEGIN and its modes, SET,
SAVEPOINT. That is kept (`Transaction.said`), and when a batch needs the primary it is said again there and the replica
rolls back. Where the transaction has read, that holds for READ COMMITTED without open cursors alone, which the replica
is asked for; otherwise the batch is refused: another snapshot would be another transaction. A batch is looked at as a
whole before the replica gets it, and waits until what is in front of it has been answered.
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
from pgrouter.server.states import ASKING
from pgrouter.session.refusals import INSTEAD, NOT_REPEATABLE, OPEN_CURSOR, SNAPSHOT

if TYPE_CHECKING:
    from pgrouter.net.send_buffer import SendBuffer
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.proxy.statements import ClientStatements
    from pgrouter.routing.policy import Facts
    from pgrouter.server.connection import ServerConnection

FAILED = ord("E")

MAX_SAID = 64 * 1024  # bytes: nobody says more in front of a query

# What to do with a batch
STAYS, MOVES, ASKS, REFUSED = range(4)

# Only the server knows: a default may come from the role, and a cursor may be closed again. `visible` portals are those
# of the protocol, too.
_QUESTION = messages.query(
    "SELECT pg_catalog.current_setting('transaction_isolation'), EXISTS (SELECT FROM pg_catalog.pg_cursors)"
)
_READS = b"SELECT"  # takes a snapshot: what PostgreSQL forbids behind the first query it forbids where that is repeated
_MOVABLE = ("read committed", "read uncommitted")
_CALLED = Statement(Target.PRIMARY, Reason.FUNCTION_CALL)


class Asked(NamedTuple):
    """What a batch asks for."""

    needs: Needs
    said: list[bytes]  # what of it is to be said again
    alone: bool  # it has one statement at most


class Transaction:
    """A transaction on a replica: what was said in it, and whether it can be had elsewhere."""

    def __init__(self, asked: Asked | None) -> None:
        self.said: list[bytes] = []
        self.before = 0  # how much was said before the batch at hand
        self.alone = True  # that batch has one statement at most
        self.ends = False  # and begins with the end of the transaction
        self.snapshot = False  # something was read
        self.movable: bool | None = None  # although; None: the replica must be asked
        self.why = NOT_REPEATABLE  # else
        self.known = asked is not None  # what was said is known
        if asked is not None:
            self.note(asked, failed=False)

    def note(self, asked: Asked, *, failed: bool) -> None:
        """Follow a batch that goes to the replica; `failed`: the transaction has, before."""
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
        """The batch has been answered: what has failed was not done."""
        if status == FAILED and len(self.said) > self.before:
            self.known = self.known and (self.alone or self.said[self.before :] == [_READS])
            if self.alone:
                self.said[self.before :] = [text for text in self.said[self.before :] if text is _READS]
        self.before = len(self.said)

    def course(self, asked: Asked, *, failed: bool) -> int:  # noqa: PLR0911 (a table of cases)
        """Say what to do with the next batch."""
        if failed and asked.needs & Needs.AFRESH and not asked.needs & Needs.ENDS:
            if not self.known:
                self.said = [b"BEGIN"]
            return MOVES  # COMMIT AND CHAIN: the next one has no modes of a transaction that has failed
        if not asked.needs & Needs.PRIMARY:
            return STAYS
        if failed and not asked.needs & (Needs.ENDS | Needs.REPEAT):
            return STAYS  # it is refused, whatever it is
        if failed and asked.needs & Needs.ENDS and not self.known:
            self.said = [b"BEGIN"]  # it ends in a rollback, whatever was said
            return MOVES
        if not self.known:
            self.why = NOT_REPEATABLE
            return REFUSED
        if asked.needs & Needs.ENDS or not self.snapshot:
            return MOVES
        if self.movable is None and failed:
            self.why = NOT_REPEATABLE  # nobody can be asked
            return REFUSED
        if self.movable is None:
            return ASKS
        return MOVES if self.movable else REFUSED

    def heard(self, collected: list[tuple[int, bytes]]) -> None:
        """Take the replica's answer."""
        self.movable, self.why = False, SNAPSHOT
        for code, body in collected:
            if code == codes.DATA_ROW:
                isolation, cursors = messages.read_data_row(body)
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

    def route(self, client: ClientConnection) -> None:
        """Only the primary can have it."""
        client.batch.reads = False
        if self.reason:
            client.batch.reason = self.reason

    def begin(self, client: ClientConnection, out: SendBuffer) -> None:
        """Put what was said in front of the batch, once."""
        server = client.server
        said, self.said = self.said, []
        for text in said:
            server.outstanding.push(R_QUERY, SKIP)
            out.add_bytes(messages.query(text))
        if said and self.failed_before:  # so that a COMMIT means ROLLBACK here, too
            server.outstanding.push(R_REFUSED_QUERY, SKIP, NOT_REPEATABLE)
            out.add_bytes(messages.query(INSTEAD[NOT_REPEATABLE]))
        if said:
            server.unnamed = None
            client.batch.begun()


def asked_for(batch: bytes, statements: ClientStatements, facts: Facts, *, snapshot: bool, whole: bool = True) -> Asked:
    """Say what a batch asks for; what is only parsed or described asks for no more than a snapshot.

    Not `whole`: its last message is too long to be kept; of a Bind the names are there, of a text nobody knows.
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


def begun(client: ClientConnection, batch: bytes) -> Transaction:
    """A batch that begins a transaction goes to a replica."""
    return Transaction(asked_for(batch, client.statements, client.batch.facts, snapshot=False))


def course(client: ClientConnection, batch: bytes, whole: bool) -> int:  # noqa: FBT001 (called from C)
    """Decide about the next batch of a transaction on a replica, and do what is to be done but for forwarding it."""
    transaction: Transaction = client.transaction
    server = client.server
    failed = server.status == FAILED
    asked = asked_for(batch, client.statements, client.batch.facts, snapshot=transaction.snapshot, whole=whole)
    course = STAYS if client.group.standby else transaction.course(asked, failed=failed)
    if course == STAYS:
        # As long as nothing was read, what only a replica refuses can still be had from the primary.
        client.can_move = bool(asked.needs & Needs.SNAPSHOT) and transaction.known and not (
            transaction.snapshot or failed
        )  # fmt: skip
        transaction.note(asked, failed=failed)
    elif course == MOVES:
        client.move(Move(transaction.said, ends=bool(asked.needs & Needs.ENDS), failed=failed))
    elif course == ASKS:
        server.captured = []
        server.held = ASKING
        server.inject(_QUESTION)
    return course


def answered(client: ClientConnection, server: ServerConnection) -> None:
    """The server has answered, and a transaction is open."""
    transaction: Transaction | None = client.transaction
    if transaction is None:  # it began where nobody kept what was said
        client.transaction = Transaction(None)
    elif server.captured is not None:
        collected, server.captured = server.captured, None
        transaction.heard(collected)
    else:
        transaction.answered(server.status)


def of_lost() -> Move:
    """Begin a Query with the end of a transaction that was lost with its server, and has failed: another one fails."""
    return Move([b"BEGIN"], ends=True, failed=True)


def refused(client: ClientConnection, batch: bytes) -> Move:
    """Go on at the primary with a batch that the replica has refused, the first one that reads."""
    transaction: Transaction = client.transaction
    return Move(transaction.said[: transaction.before], batch, ends=transaction.ends)
