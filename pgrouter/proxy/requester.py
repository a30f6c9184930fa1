"""A client's requests to its server: every whole frame is entered as outstanding, with what the server gets for it.

What the server lacks is sent first (settings, prepared statements), names of prepared statements are replaced by the
server's names for them, and if a statement is refused, the server is made to fail in its place.
"""

from __future__ import annotations

from functools import lru_cache

import cython

from pgrouter.net.send_buffer import SendBuffer
from pgrouter.protocol import messages
from pgrouter.protocol.framing import copied, frontend_kind
from pgrouter.protocol.outstanding import Outstanding
from pgrouter.proxy.batch import Batch
from pgrouter.proxy.deferred import DeferredStatements
from pgrouter.proxy.explain import explained
from pgrouter.proxy.session import Session
from pgrouter.proxy.sql_names import present, present_for_description, too_many
from pgrouter.proxy.statements import FOLLOWS
from pgrouter.routing.statement import Effect
from pgrouter.server.connection import ServerConnection
from pgrouter.session.refusals import INSTEAD, NO_SEQUENCES, TOO_MANY_NAMES
from pgrouter.session.settings import CALM, transition

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import (
        BIND,
        CLOSE,
        COPY,
        COPY_DONE,
        COPY_FAIL,
        DESCRIBE,
        EXECUTE,
        FLUSH,
        FUNCTION_CALL,
        PARSE,
        QUERY,
        SYNC,
    )
    from pgrouter.protocol.requests import COPY_END as R_COPY_END
    from pgrouter.protocol.requests import EXECUTE as R_EXECUTE
    from pgrouter.protocol.requests import FORWARD, SKIP
    from pgrouter.protocol.requests import FUNCTION as R_FUNCTION
    from pgrouter.protocol.requests import QUERY as R_QUERY
    from pgrouter.protocol.requests import REFUSED as R_REFUSED
    from pgrouter.protocol.requests import REFUSED_QUERY as R_REFUSED_QUERY
    from pgrouter.protocol.requests import SYNC as R_SYNC
    from pgrouter.proxy.flags import ASKED, FOREIGN, OPEN, OWN, TO_DISCARD, UNUSUAL
    from pgrouter.routing.flags import DRAWS
    from pgrouter.server.states import AWAITS_ANSWERS

NAMES = int(Effect.NAMES)
REPLACED = int(Effect.INSTEAD)
SEQUENCES = int(Effect.SEQUENCES)

_DISCARD_SEQUENCES = messages.query(f"{CALM}; DISCARD SEQUENCES")


class Requester:
    """What a client's requests need: its session and batch, and what its server has been sent."""

    def __init__(self, registry, session: Session, batch: Batch) -> None:
        self.registry = registry
        self.session = session
        self.batch = batch
        self.statements = session.statements
        self.deferred = DeferredStatements(batch)
        self.sent = 0  # since the link, see `proxy.flags`
        self.sequences = FOREIGN  # whose values the server remembers, see `proxy.flags`

    def begin(self, server: ServerConnection, on_replica: cython.bint) -> int:
        """Called at the beginning of a link."""
        owner = server.session.sequence_owner
        self.sent = 0
        if owner is None:
            self.sequences = OWN
        elif not self.session.pool.sequences:
            self.sequences = FOREIGN
        elif on_replica or (owner is self.session and server is self.session.last_write_server):  # not an older one
            self.sequences = OWN
        else:
            self.sequences = TO_DISCARD
        return 0

    def request(
        self,
        server: ServerConnection,
        code: cython.int,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        out: SendBuffer,
    ) -> int:
        """Enter one whole frame as outstanding and add what the server gets for it: 1.

        0: it has to wait for the answer to what the server gets first, and comes again; 2: what follows it has to wait.
        """
        outstanding: Outstanding = server.outstanding
        if code == BIND or code == EXECUTE or code == FUNCTION_CALL:
            server.executed = True
        continues: cython.bint = self.sent & OPEN
        if code == QUERY and continues:  # after an error in the batch, the Query is ignored
            self.statements.closes_unnamed = True
        waits: cython.bint = False
        if self.batch.defers and (code == QUERY or code == BIND or code == EXECUTE):
            waits = self.deferred.follow(code, buf, pos, stop)
        if self.batch.sent & UNUSUAL and (code == QUERY or code == PARSE or code == BIND or code == DESCRIBE):
            if self.request_unusual(server, code, buf, pos, stop, out, continues):
                if not server.input_state:
                    self.sent = (self.sent & ~OPEN) | (OPEN if code != QUERY else 0)
                return not server.input_state
        if code == SYNC or code == QUERY or code == FUNCTION_CALL:
            self.sent &= ~OPEN
        elif code != FLUSH and frontend_kind(code) != COPY:
            self.sent |= OPEN
        if code == QUERY:
            server.queries += 1
            server.executed = True
            server.session.unnamed = None  # a simple Query ends the unnamed statement
            outstanding.push(R_QUERY, FORWARD, self.statements.define_unnamed(None))
        elif code == SYNC:
            if outstanding.has_events:  # after an error: nothing of the batch has been executed
                server.apply_events(outstanding.take_events())
            outstanding.push(R_SYNC, FORWARD)
        elif code == EXECUTE:
            server.queries += 1
            outstanding.push(R_EXECUTE, FORWARD)
        elif code == BIND:
            return self.statements.bind(server, buf, pos, stop, stop, out)
        elif code == PARSE:
            return self.statements.parse(server, buf, pos, stop, out)
        elif code == DESCRIBE or code == CLOSE:
            return self.statements.describe_or_close(server, code, buf, pos, stop, out)
        elif code == FUNCTION_CALL:
            outstanding.push(R_FUNCTION, FORWARD)
        elif code == COPY_DONE or code == COPY_FAIL:
            outstanding.push(R_COPY_END, FORWARD)
        elif code == FLUSH and stop - pos != 5:  # invalid: there will be an error
            outstanding.push(R_REFUSED, FORWARD)
        out.add(pos, stop)
        if waits and not outstanding.skipping:
            if code == EXECUTE:
                out.add_bytes(messages.FLUSH)
            server.input_state = AWAITS_ANSWERS
            return 2
        return 1

    def request_unusual(
        self,
        server: ServerConnection,
        code: cython.int,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        out: SendBuffer,
        continues: cython.bint,
    ) -> cython.bint:
        """Enter and add what the server gets in place of this message, and return True; or only what must precede it.

        `continues`: the batch that it belongs to has begun before it.
        """
        refusal: cython.int = 0 if code == DESCRIBE else self.batch.refusal(code, buf, pos, stop)
        if refusal:
            self.refuse(server, code, refusal, code == PARSE and buf[pos + 5] == 0, out)
            return True
        statement = self.statements.class_requested(code, buf, pos, stop)
        if statement is None or statement is FOLLOWS:
            return False
        effects: cython.int = statement.effects
        if effects & REPLACED and (code == QUERY or code == PARSE):
            instead = explained(self, server, copied(buf, pos, stop))
            if instead is not None:
                self.request_instead(server, code, instead, out)
                return True
        return self.request_of_session(server, code, statement, effects, out, continues)

    def request_of_session(
        self,
        server: ServerConnection,
        code: cython.int,
        statement,
        effects: cython.int,
        out: SendBuffer,
        continues: cython.bint,
    ) -> cython.bint:
        """Send the server what this message needs of the session; True if the message was refused or has to wait."""
        runs: cython.bint = code == QUERY or code == BIND
        known: cython.bint = (
            self.sequences != FOREIGN or self.batch.decided & DRAWS != 0 or self.session.has_drawn(server)
        )
        if runs and effects & SEQUENCES and not known:
            self.session.pool.sequences = True
            self.refuse(server, code, NO_SEQUENCES, False, out)
            return True
        if effects & NAMES:
            outstanding: Outstanding = server.outstanding
            # The outstanding requests may fail, and the Query be ignored.
            if code == QUERY and self.sent & ASKED and outstanding.count > outstanding.fakes:
                if continues:
                    out.add_bytes(messages.FLUSH)
                server.input_state = AWAITS_ANSWERS
                return True
            if runs and too_many(statement, self.statements.named):
                self.refuse(server, code, TOO_MANY_NAMES, False, out)
                return True
            if runs:
                present(self.statements, server, statement, out, code == QUERY)
            else:
                present_for_description(self.statements, server, statement, out)
        return False

    def refuse(
        self,
        server: ServerConnection,
        code: cython.int,
        refusal: cython.int,
        unnamed: cython.bint,
        out: SendBuffer,
    ) -> int:
        """Make the server fail in place of a statement that is refused."""
        if code == QUERY:
            server.queries += 1
            server.session.unnamed = None
            server.outstanding.push(R_REFUSED_QUERY, FORWARD, refusal)
            out.add_bytes(messages.query(INSTEAD[refusal]))
            return 0
        if unnamed:  # as after any failed Parse
            server.session.unnamed = None
            self.statements.forget_unnamed()
        server.outstanding.push(R_REFUSED, FORWARD, refusal)
        out.add_bytes(messages.message(PARSE, (b"" if unnamed else b"pgrouter") + b"\0" + INSTEAD[refusal] + b"\0\0\0"))
        return 0

    def request_instead(self, server: ServerConnection, code: cython.int, message: bytes, out: SendBuffer) -> int:
        """Enter and add a Query or Parse of the router's own, in place of the client's."""
        if code == PARSE:
            return self.statements.parse(server, message, 0, len(message), out, True)
        server.queries += 1
        server.session.unnamed = None
        server.outstanding.push(R_QUERY, FORWARD)
        out.add_bytes(message)
        return 0

    def apply_profile(self, server: ServerConnection, out: SendBuffer) -> cython.bint:
        """Send the difference between the server's settings and the session's first; False if it may be refused."""
        wanted = self.session.profile
        if server.session.stands_for is wanted:
            return True
        if not (server.session.profile.certain and wanted.certain):
            return False
        change = _change(server.session.profile, wanted)
        server.session.profile = wanted
        server.session.meet(wanted.custom)
        if change:
            server.outstanding.push(R_QUERY, SKIP)
            server.session.unnamed = None
            out.add_bytes(change)
        return True

    def discard_sequences(self, server: ServerConnection, out: SendBuffer) -> int:
        """Make the server discard the sequence values of other clients: a lastval may follow."""
        self.sequences = OWN
        server.outstanding.push(R_QUERY, SKIP)
        server.session.unnamed = None
        out.add_bytes(_DISCARD_SEQUENCES)
        return 0


@lru_cache(maxsize=1024)
def _change(old, new) -> bytes:
    """Return the Query that brings a server from one profile to another; b"" for none."""
    sql = transition(old, new)
    return messages.query(sql) if sql else b""
