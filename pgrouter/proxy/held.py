"""Which of a client's prepared statements servers hold, and what they get if they lack one.

A named statement has the same parameter types and columns on every server: those with which it was described first.
A server that lacks it gets the Parse with these types, followed by a Describe whose answer goes to the router. The
first description is accepted at once; on other servers the client's message waits for the answer, one round trip the
first time, and if the answer differs (there was DDL, or names mean something else) it is refused with PostgreSQL's own
error, as PostgreSQL does when it plans a statement again. So no client ever gets rows of another type than described,
and nothing is executed whose result would be of another type.

Source: plancache.c, RevalidateCachedQuery().
"""

from __future__ import annotations

import cython

from pgrouter.net.send_buffer import SendBuffer
from pgrouter.protocol import messages
from pgrouter.proxy.names import StatementNames
from pgrouter.proxy.unnamed import UNSEEN
from pgrouter.server.connection import ServerConnection
from pgrouter.session.prepared import VARIES, SharedStatement, with_types
from pgrouter.session.refusals import INSTEAD, OLD_PLAN

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import CLOSE, DESCRIBE, PARSE
    from pgrouter.protocol.requests import CHECK, CHECK_UNNAMED, FORWARD, SKIP
    from pgrouter.protocol.requests import CLOSE as R_CLOSE
    from pgrouter.protocol.requests import PARSE as R_PARSE
    from pgrouter.protocol.requests import REFUSED as R_REFUSED
    from pgrouter.server.states import AWAITS_ANSWERS

# Who asked for a description of the unnamed statement: the router or the client
OURS, THEIRS = 1, 2
_CLOSE_UNNAMED = messages.message(CLOSE, b"S\0")
_DESCRIBE_UNNAMED = messages.message(DESCRIBE, b"S\0")
_REFUSED = messages.message(PARSE, b"pgrouter\0" + INSTEAD[OLD_PLAN] + b"\0\0\0")


class HeldStatements(StatementNames):
    """A client's statements, over servers that may hold them."""

    def __init__(self) -> None:
        StatementNames.__init__(self)
        self.limit = 0  # of statements that a server keeps; set by the registry
        self.unsettled = False  # the transaction may have changed settings or objects that a text's meaning depends on
        self.temporary = False  # the session has temporary objects, which texts of other sessions do not refer to

    def holds(self, server: ServerConnection, shared: SharedStatement) -> cython.bint:
        """Whether the server has the statement, and so few that the order of use need not be maintained."""
        held: dict = server.session.prepared
        return len(held) <= self.limit >> 1 and shared.ident in held

    def ensure(self, server: ServerConnection, name: bytes, out: SendBuffer):
        """Send a Parse first if the server does not have the statement; make it the most recently used.

        Returns the statement; another one if parsing it again under the current settings gives it another meaning.
        None: the current message has to wait (`server.input_state`) or else to be refused.
        """
        held: dict = server.session.prepared
        shared: SharedStatement = self.named[name]
        if self.holds(server, shared):
            return shared
        if server.session.changed is shared:
            server.session.changed = None
            return None
        server.session.changed = None
        if shared.ident not in held:
            meaning = self.meaning(server)
            if shared.meaning != meaning and shared.description != VARIES:
                shared = self.meant(server, name, shared, meaning, out)
                if shared is None:
                    return None
        if held.pop(shared.ident, None) is not None:
            held[shared.ident] = shared
            return shared
        server.outstanding.push(R_CLOSE, SKIP)  # it may have another version of it
        out.add_bytes(shared.close())
        server.outstanding.push(R_PARSE, SKIP, shared.ident)
        out.add_bytes(shared.parse_again())
        return shared if self.check(server, shared, self.is_known(shared), out) else None

    def meant(self, server: ServerConnection, name: bytes, shared: SharedStatement, meaning, out: SendBuffer):
        """Return what a statement is under the current settings; None: the server is asked to describe it first.

        It is shared if its description is the same for clients that parse it now; otherwise only this client has it.
        """
        known: bytes = shared.description
        other: SharedStatement
        if known is None or isinstance(meaning, tuple):
            other = self.shared.acquire(shared.body, shared.statement, shared.judge, meaning)
            if known is not None and other.description is None:
                self.shared.release(other)
                server.outstanding.push(R_CLOSE, SKIP)
                out.add_bytes(other.close())
                server.outstanding.push(R_PARSE, SKIP, other.ident)
                out.add_bytes(other.parse)
                return other if self.check(server, other, True, out) else None
            if known is None or known == other.description:
                self.shared.release(shared)
                self.named[name] = other
                return other
            self.shared.release(other)
        other = self.shared.alone(shared, meaning, known)
        self.shared.release(shared)
        self.named[name] = other
        return other

    def is_known(self, shared: SharedStatement) -> cython.bint:
        """Whether a server has described a statement, or is about to: descriptions of others are compared with that."""
        first: ServerConnection = shared.first
        return bool(shared.description) or (shared.description is None and first is not None and not first.closed)

    def check(
        self, server: ServerConnection, shared: SharedStatement, waits: cython.bint, out: SendBuffer
    ) -> cython.bint:
        """Make the server describe what it has just got to parse; True: the current message need not wait."""
        server.session.prepared[shared.ident] = shared
        if shared.description != VARIES:
            if not self.is_known(shared):
                shared.first = server
            server.outstanding.push_check(CHECK, SKIP, shared.ident)
            out.add_bytes(shared.describe())
        self.evict(server, out)
        if not waits or server.outstanding.skipping:  # after an error it is ignored
            return True
        out.add_bytes(messages.FLUSH)
        server.input_state = AWAITS_ANSWERS
        return False

    def refuse_unless_held(self, server: ServerConnection, out: SendBuffer) -> cython.bint:
        """Make the server fail in place of the current message, as PostgreSQL does if a plan has another result type.

        False: it has not described the statement yet.
        """
        if server.input_state == AWAITS_ANSWERS:
            return False
        server.outstanding.push(R_REFUSED, FORWARD, OLD_PLAN)
        out.add_bytes(_REFUSED)
        return True

    def renew(self, name: bytes) -> int:
        """Prepare a statement again that servers have an old plan for: it gets a new name on servers."""
        shared = self.named.get(name)
        if shared is not None:
            self.shared.retire(shared)
            self.named[name] = self.shared.acquire(shared.body, shared.statement, shared.judge, shared.meaning)
            self.shared.release(shared)
        return 0

    def outdated(self) -> int:
        """Stop sharing what has been prepared so far with clients that prepare it from now on: a plan was too old."""
        if self.shared is not None:
            self.shared.renew()
        return 0

    def part(self, shared: SharedStatement, known: bytes) -> int:
        """Replace a shared statement, which has another description for others now, with one of this client alone."""
        for name, stood in list(self.named.items()):
            if stood is shared:
                self.named[name] = self.shared.alone(shared, shared.meaning, known)
                self.shared.release(shared)
        return 0

    def meaning(self, server: ServerConnection):
        """Return what decides the meaning of a text that this server parses now; if unknown, it equals nothing else."""
        return object() if self.unsettled or self.temporary else server.session.profile.meaning

    def evict(self, server: ServerConnection, out: SendBuffer) -> int:
        """Close the least recently used statement if the server holds too many."""
        held: dict = server.session.prepared
        if len(held) > max(1, self.limit):  # the last one is about to be bound
            oldest = held.pop(next(iter(held)))
            server.session.evicted[oldest.ident] = oldest
            server.outstanding.push(R_CLOSE, SKIP, oldest.ident)
            out.add_bytes(oldest.close())
        return 0

    # -- the unnamed statement

    def ensure_unnamed(self, server: ServerConnection, out: SendBuffer) -> cython.bint:
        """Send the client's unnamed statement first if the server has another client's, or none.

        False: the current message has to wait (`server.input_state`) or else to be refused, as with a named one.
        """
        mine = self if self.unnamed_class is UNSEEN else self.unnamed_parse
        if mine is not None and server.session.unnamed is mine:
            return True
        if self.changed:
            self.changed = False
            return False
        waits: cython.bint = mine is not self and self.is_described() and not server.outstanding.skipping
        if waits:
            server.outstanding.push(R_PARSE, SKIP)
            out.add_bytes(with_types(self.unnamed_parse, self.description))
            server.outstanding.push_check(CHECK_UNNAMED, SKIP, OURS)
            out.add_bytes(_DESCRIBE_UNNAMED)
            out.add_bytes(messages.FLUSH)
            server.input_state = AWAITS_ANSWERS
        elif self.unnamed_parse is not None:
            server.outstanding.push(R_PARSE, SKIP)
            out.add_bytes(self.unnamed_parse)
        else:  # PostgreSQL has to report that there is none, instead of running another client's
            server.outstanding.push(R_CLOSE, SKIP)
            out.add_bytes(_CLOSE_UNNAMED)
            mine = None
        server.session.unnamed = mine
        return not waits

    def describe_unnamed(self, server: ServerConnection) -> int:
        """Track a description that the client asks for and may remember."""
        self.describing.append(self.unnamed_parse)
        return server.outstanding.push_check(CHECK_UNNAMED, FORWARD, THEIRS)

    def heard_unnamed(self, server: ServerConnection, ident: cython.int, known: bytes) -> cython.bint:
        """Process a description, None after an error; returns whether it differs from the one that the client knows."""
        if ident == THEIRS:
            parse: bytes = self.describing.pop(0)
            if known is not None:
                self.described = parse
                self.description = known
            return False
        if known is not None and known == self.description:
            return False
        server.session.unnamed = None
        self.changed = known is not None
        return self.changed
