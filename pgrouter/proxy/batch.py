"""What a client's batch needs, found from its frames before they are sent: where it may run, what it leaves behind.

A batch is routed as a whole by all of its statements, each decided by `routing.policy`: if one needs the primary, the
batch goes to the primary. Effects and touched settings add up until the end of the transaction, when
`proxy.session_sync` acts on them.
"""

from __future__ import annotations

import cython

from pgrouter.protocol.framing import frontend_kind
from pgrouter.proxy.statements import FOLLOWS, ClientStatements
from pgrouter.routing.cache import LATER, UNREAD
from pgrouter.routing.policy import PLAIN as PLAIN_SESSION
from pgrouter.routing.policy import decide
from pgrouter.routing.statement import Effect, Reason, Statement, Target, Tx
from pgrouter.routing.verdict import Verdict
from pgrouter.server.peer import Peer
from pgrouter.session.refusals import refusal_of
from pgrouter.session.settings_readback import TouchedSettings

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import BIND, COPY, DESCRIBE, FUNCTION_CALL, PARSE, QUERY
    from pgrouter.proxy.flags import (
        BEGINS,
        COMMITS,
        ENDS,
        HAS_STARTUP,
        OVER,
        PLAIN,
        READS_NOTHING,
        REPEATABLE,
        SPLIT,
        UNUSUAL,
    )
    from pgrouter.routing.flags import DRAWS, READS, STATELESS, WRITES
    from pgrouter.server.states import DISCARDS, RESETS

DATABASE = int(Effect.DATABASE)
DEALLOCATE = int(Effect.DEALLOCATE)
DEALLOCATIONS = ("DEALLOCATE", "DEALLOCATE ALL", "DISCARD ALL")
DEFERRED = (*DEALLOCATIONS, "EXECUTE")  # which may execute one of these
DISCARD = int(Effect.DISCARD)
OBJECTS = int(Effect.DDL | Effect.TEMP)  # names may refer to other objects afterwards
REPLACED = int(Effect.INSTEAD | Effect.NAMES)
SEQUENCES = int(Effect.SEQUENCES)
CODE = int(Effect.CODE)
UNSEEN = int(Effect.CODE | Effect.OTHER_STATE)
HINT = Reason.HINT
ENDINGS = (Tx.COMMIT, Tx.ROLLBACK)
BEGINNINGS = (Tx.BEGIN, Tx.BEGIN_READ_ONLY, Tx.BEGIN_PRIMARY)

# In place of a statement, where there is none
_NOTHING = Statement(Target.REPLICA, Reason.EMPTY)
_CALLED = Statement(Target.PRIMARY, Reason.FUNCTION_CALL)
_NAMELESS = Statement(Target.PRIMARY, Reason.UNKNOWN_STATEMENT)  # the server will report that it does not exist
_TOO_LONG = Statement(Target.PRIMARY, Reason.TOO_LONG)
_UNFINISHED = Statement(Target.PRIMARY, Reason.OPEN_BATCH)


def _only_begins(statement: Statement) -> bool:
    return statement.tx in BEGINNINGS and statement.target is Target.SESSION and not statement.effects


def _reads_nothing(facts) -> bool:
    return decide(_NOTHING, facts).target is Target.REPLICA


_PLAIN_READS_NOTHING = _reads_nothing(PLAIN_SESSION)


class Tally:
    """A count of batches."""

    def __init__(self) -> None:
        self.count = 0


class RouteCounts:
    """Batches by target and reason, for SHOW ROUTES."""

    def __init__(self) -> None:
        self.reads = {}
        self.writes = {}
        self.last = None  # the tally that was incremented last, with its key
        self.last_reason = ""
        self.last_reads = False

    def add(self, reason: str, reads: cython.bint, times: cython.int = 1) -> int:
        """Count a batch that was routed."""
        if reason is self.last_reason and reads == self.last_reads and self.last is not None:
            self.last.count += times
            return 0
        tallies: dict = self.reads if reads else self.writes
        tally: Tally = tallies.get(reason)
        if tally is None:
            tally = tallies[reason] = Tally()
        self.last = tally
        self.last_reason = reason
        self.last_reads = reads
        tally.count += times
        return 0

    def items(self) -> list[tuple[str, str, int]]:
        """Return (target, reason, count), the most frequent first."""
        named = (("replica", self.reads), ("primary", self.writes))
        rows = [(target, reason, tally.count) for target, tallies in named for reason, tally in tallies.items()]
        return sorted(rows, key=_by_frequency)


def _by_frequency(row: tuple[str, str, int]) -> tuple[int, str, str]:
    return -row[2], row[1], row[0]


class Batch:
    """The facts of the current batch, and of the transaction that it belongs to.

    `decided` and `reason` are of this batch; `sent` is what is not answered yet; `effects`, `touched`, `defers` and
    `peer.watches` add up until the end of the transaction; `traits`, `facts` and `forbidden` are the session's.
    """

    def __init__(self, statements: ClientStatements, peer: Peer) -> None:
        self.statements = statements
        self.peer = peer
        self.decided = REPEATABLE  # see `proxy.flags`, as the two others
        self.reason = ""  # why it may, or may not, go to a replica
        self.sent = 0
        self.effects = 0  # what the statements since the link may leave behind
        self.touched = None  # settings that the transaction may have changed; None: none
        self.defers = False  # a DEALLOCATE or SET is in it or bound to a portal, and takes effect when it is executed
        self.traits = 0
        self.forbidden = 0  # what the pool forbids, as bits: see `session.refusals`
        self.last = None  # the statement that was examined last, and its verdict
        self.verdict = None
        self.close_unused_databases = None  # called before a statement that needs a database without sessions
        self.follow(PLAIN_SESSION)

    # -- the session

    def follow(self, facts) -> int:
        """Route by these facts about the session from now on."""
        plain: cython.bint = facts is PLAIN_SESSION or facts == PLAIN_SESSION
        nothing: cython.bint = _PLAIN_READS_NOTHING if plain else _reads_nothing(facts)
        self.facts = facts
        self.traits &= HAS_STARTUP
        self.traits |= (PLAIN if plain else 0) | (READS_NOTHING if nothing else 0)
        if facts.mode == "split":
            self.traits |= SPLIT
        return 0

    def begin_session(self, has_startup: cython.bint) -> int:
        """Called at login; `has_startup`: the startup packet had settings, which RESET restores."""
        self.traits = (self.traits & ~HAS_STARTUP) | (HAS_STARTUP if has_startup else 0)
        return 0

    def forbid(self, what: cython.int) -> int:
        """Set what is refused from now on."""
        self.forbidden = what
        return 0

    # -- the decision

    @property
    def reads(self) -> bool:
        """Whether the batch may go to a replica."""
        return bool(self.decided & READS)

    @property
    def repeatable(self) -> bool:
        """Whether its statements only read or begin a transaction, wherever it runs."""
        return bool(self.decided & REPEATABLE)

    def send_to(self, reads: cython.bint, reason: str) -> int:
        """Change the decision."""
        self.decided = (self.decided & ~READS) | (READS if reads else 0)
        self.reason = reason
        return 0

    def may_use_replica(self) -> cython.bint:
        """Whether a replica may get it, and the next one another server."""
        return self.decided & READS != 0 and self.traits & SPLIT != 0

    def needs_own_server(self) -> cython.bint:
        """Whether it asks for sequence values that only the last server written to by the session can know."""
        return self.effects & SEQUENCES != 0

    # -- its life

    def begin(self) -> int:
        """Start to examine a batch that is to be routed."""
        self.decided = REPEATABLE | (READS if self.traits & READS_NOTHING else 0)
        self.reason = ""
        return self.statements.begin_batch()

    def too_long(self) -> int:
        """Route a batch that is too long to be kept: what it does is unknown."""
        return self.route(_TOO_LONG)

    def unfinished(self) -> int:
        """Route a batch that executes something and may go on to write after its Flush, in the same transaction."""
        return self.route(_UNFINISHED)

    def unseen(self) -> int:
        """Account for a streamed statement that is too large to be examined: the session keeps its server."""
        self.effects |= UNSEEN
        self.decided = (self.decided | WRITES) & ~REPEATABLE
        return 0

    def answered(self) -> int:
        """Called when everything sent has been answered."""
        self.sent = 0
        self.peer.watches &= ~DISCARDS
        return 0

    def measured(self, took_s: cython.double, on_replica: cython.bint) -> cython.bint:
        """Count what has been answered for the last statement of it; whether it was slow."""
        verdict: Verdict = self.verdict
        return verdict is not None and verdict.usage is not None and verdict.usage.add(took_s, on_replica)

    def settled(self) -> int:
        """Called when the transaction is over or lost: nothing of it is left to act on."""
        self.effects = 0
        self.touched = None
        self.statements.unsettled = False
        self.peer.watches = 0
        return 0

    def taken_back(self) -> int:
        """Called when nothing of the transaction was executed: it will be examined again."""
        self.defers = False
        self.answered()
        return self.settled()

    def begun(self) -> int:
        """Called when the transaction is begun again, ahead of the batch."""
        self.sent |= BEGINS
        return 0

    def moved(self) -> int:
        """Called when the batch will be examined again in the same transaction, whose effects remain."""
        return self.answered()

    # -- its messages

    def examine(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Account for one whole frame; returns the number of its refusal, 0 if it may be sent.

        LATER: it is not classified yet, and nothing has been accounted for; see `StatementCache`.
        """
        refusal: cython.int = 0
        if code == QUERY or code == PARSE or code == BIND or code == DESCRIBE:
            statement = self.statements.class_of(code, buf, pos, stop)
            if statement is None:
                return self.route(_NAMELESS)
            if statement is not FOLLOWS:
                if statement is UNREAD:
                    return LATER
                self.route(statement)
                if code == PARSE and buf[pos + 5] != 0 and self.statements.is_named(buf, pos, stop):
                    return self.ambiguous()
                if not self.decided & STATELESS:
                    refusal = self.examine_effects(code, statement)
        elif code == FUNCTION_CALL:
            self.effects |= CODE  # of a function that is known by its OID only
            return self.route(_CALLED)
        elif frontend_kind(code) == COPY:
            return self.route(_CALLED)
        return refusal

    def ambiguous(self) -> int:
        """Account for a Parse of a name in use: the meaning of later Binds is known only when they are sent."""
        self.effects |= CODE | DEALLOCATE
        self.sent |= UNUSUAL
        self.defers = True
        return self.route(_CALLED)

    def examine_effects(self, code: cython.int, statement) -> int:
        """Account for a statement that leaves something behind."""
        refusal: cython.int = refusal_of(statement, self.forbidden) if self.forbidden else 0
        if refusal or statement.effects & (REPLACED | SEQUENCES):
            self.sent |= UNUSUAL
        if refusal == 0 and (code == BIND or code == QUERY):  # only what is bound can be executed
            self.note(statement)
            if statement.tag in DEFERRED or (code == BIND and statement.settings):
                self.defers = True
            if code == QUERY and statement.settings:
                self.touch(statement.settings)
        return refusal

    def refusal(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Return the number of the refusal of one whole Query, Parse or Bind; 0: it may be sent."""
        if not self.forbidden:
            return 0
        statement = self.statements.class_requested(code, buf, pos, stop)
        return 0 if statement is None or statement is FOLLOWS else refusal_of(statement, self.forbidden)

    def route(self, statement) -> int:
        """Route the batch by one more statement of it."""
        if statement is not self.last:  # reading an attribute of a Statement goes through Python
            self.last = statement
            self.verdict = statement.verdict
        verdict: Verdict = self.verdict
        flags: cython.int = verdict.flags
        reads: cython.bint = flags & READS
        reason: str = verdict.reason
        decided: cython.int = (self.decided & ~STATELESS) | (flags & (STATELESS | WRITES | DRAWS))
        if reason is HINT:
            decided &= ~REPEATABLE  # only the author of a hint knows what the statement does
        elif decided & REPEATABLE and not reads and (flags & STATELESS or not _only_begins(statement)):
            decided &= ~REPEATABLE
        if not self.traits & PLAIN:
            target, reason = decide(statement, self.facts)
            reads = target is Target.REPLICA
        if decided & READS or not reads:
            decided = decided | READS if reads else decided & ~READS
            self.reason = reason
        self.decided = decided
        return 0

    def goes_on(self) -> cython.bint:
        """Whether the last statement examined is executed in a failed transaction, or a later part of it may be."""
        return self.last.tx != Tx.NONE or bool(self.last.parts)

    def note(self, statement) -> int:
        """Record what a statement may leave behind, and that it begins or ends a transaction."""
        effects: cython.int = statement.effects & ~REPLACED
        if self.decided & DRAWS:
            effects &= ~SEQUENCES  # this server has the values: they were taken since the link
        if statement.tag == "DEALLOCATE" and statement.prepared.encode() in self.statements.named:
            effects &= ~DEALLOCATE  # the server gets the statement first, see `proxy.sql_names`
        self.effects |= effects
        if statement.tx in ENDINGS:
            self.sent |= ENDS | OVER
        elif statement.tx in BEGINNINGS:
            self.sent = (self.sent | BEGINS) & ~OVER
        if statement.tx is Tx.COMMIT or statement.tag == "COMMIT":  # also one AND CHAIN
            self.sent |= COMMITS
        if statement.effects & OBJECTS:
            self.statements.unsettled = True
            if statement.effects & DATABASE and self.close_unused_databases is not None:
                self.close_unused_databases()
        if statement.effects & DISCARD:
            self.peer.watches |= DISCARDS | (RESETS if self.traits & HAS_STARTUP else 0)
        return 0

    def touch(self, settings) -> int:
        """Record the settings that a statement may change; they are read back at the end of the transaction."""
        if self.touched is None:
            self.touched = TouchedSettings()
            self.statements.unsettled = True
        self.touched.note(settings)
        if self.traits & HAS_STARTUP and self.touched.has_resets():
            self.peer.watches |= RESETS
        return 0
