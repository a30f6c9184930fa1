"""A client's requests to its server: every whole frame is entered as outstanding, with what the server gets for it.

What the server lacks is sent first (settings, prepared statements), names of prepared statements are replaced by the
server's names for them, and if a statement is refused, the server is made to fail in its place.
"""

from __future__ import annotations

from functools import lru_cache

import cython

from pgrouter.net.poller import Poller
from pgrouter.net.send_buffer import SendBuffer
from pgrouter.protocol import messages
from pgrouter.protocol.framing import copied, end_of_string, frontend_kind
from pgrouter.protocol.outstanding import Outstanding
from pgrouter.proxy.batch import DEALLOCATIONS, DEFERRED, Batch
from pgrouter.proxy.explain import explained
from pgrouter.proxy.sql_names import present, present_for_description, too_many
from pgrouter.proxy.statements import FOLLOWS, ClientStatements
from pgrouter.routing.statement import Effect
from pgrouter.server.connection import ServerConnection
from pgrouter.server.peer import Peer
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
    from pgrouter.server.states import WAITING

NAMES = int(Effect.NAMES)
REPLACED = int(Effect.INSTEAD)
SEQUENCES = int(Effect.SEQUENCES)

_DISCARD_SEQUENCES = messages.query(f"{CALM}; DISCARD SEQUENCES")


class Requester(Peer):
    """A client's stream, with what its requests need: batch, statements and settings."""

    def __init__(self, poller: Poller) -> None:
        Peer.__init__(self, poller)
        self.group = None  # the pool; set by login, as are profile and startup_profile
        self.statements = ClientStatements()
        self.batch = Batch(self.statements)
        self.profile = None
        self.last_write_server = None  # the server that it wrote to last
        self.owns_sequences = False  # the sequence values that the server remembers are of no other client
        self.must_discard_sequences = False  # or will be of none once they have been discarded
        self.asked = False  # it has sent a request since the link or the last ReadyForQuery with nothing outstanding
        self.portals = {}  # those that a DEALLOCATE, DISCARD ALL or SET is bound to
        self.deallocating = None  # a DEALLOCATE or DISCARD ALL that is outstanding
        self.open_batch = False  # frames were sent since the last Sync, Query or FunctionCall

    def request(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: SendBuffer) -> int:
        """Enter one whole frame as outstanding and add what the server gets for it: 1.

        0: it has to wait for the answer to what the server gets first, and comes again; 2: what follows it has to wait.
        """
        server: ServerConnection = self.server
        outstanding: Outstanding = server.outstanding
        if code == BIND or code == EXECUTE or code == FUNCTION_CALL:
            server.executed = True
        continues: cython.bint = self.open_batch
        if code == QUERY and continues:  # after an error in the batch, the Query is ignored
            self.statements.closes_unnamed = True
        waits: cython.bint = False
        if self.batch.defers and (code == QUERY or code == BIND or code == EXECUTE):
            waits = self.deferred(code, buf, pos, stop)
        if self.batch.unusual and (code == QUERY or code == PARSE or code == BIND or code == DESCRIBE):
            if self.request_unusual(code, buf, pos, stop, out, continues):
                if not server.held:
                    self.open_batch = code != QUERY
                return not server.held
        if code != FLUSH and frontend_kind(code) != COPY:
            self.open_batch = code != SYNC and code != QUERY and code != FUNCTION_CALL
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
            server.held = WAITING
            return 2
        return 1

    def deferred(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.bint:
        """Apply a DEALLOCATE, DISCARD ALL or SET when it is executed: a portal may never be, or in another order.

        Returns whether what follows must wait: a DEALLOCATE or DISCARD ALL must be answered before names are known.
        """
        statement = self.statements.class_requested(code, buf, pos, stop) if code != EXECUTE else None
        portal = b"" if code == QUERY else copied(buf, pos + 5, max(pos + 5, end_of_string(buf, pos + 5, stop)))
        if code == EXECUTE:
            statement = self.portals.get(portal)
        elif statement is FOLLOWS:
            statement = None
        if code == BIND:
            if statement is not None and (statement.tag in DEFERRED or statement.settings):
                self.portals[portal] = statement
            else:
                self.portals.pop(portal, None)
            return False
        if code == EXECUTE and statement is not None and statement.settings:
            self.batch.touch(statement.settings)
            self.resets = self.batch.resets
        if statement is not None and statement.tag == "EXECUTE":
            statement = self.statements.class_named(statement.cause.encode()) if statement.cause else None
        if statement is None or statement.tag not in DEALLOCATIONS:
            return False
        self.deallocating = statement
        self.discards = True  # the server's answer to it has to be examined
        if statement.tag == "DISCARD ALL" and self.batch.touched is not None:
            self.batch.touched.discard()
        return True

    def forget_portals(self, server: ServerConnection) -> int:
        """Forget the portals of a transaction that is over, also a DEALLOCATE that was bound and not executed."""
        self.batch.defers = False
        self.portals = {}
        self.deallocating = None
        if server.session.sql_names:  # the statements that it got to deallocate are still there
            server.session.dirty = True
        return 0

    def request_unusual(
        self,
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
            self.refuse(code, refusal, code == PARSE and buf[pos + 5] == 0, out)
            return True
        statement = self.statements.class_requested(code, buf, pos, stop)
        if statement is None or statement is FOLLOWS:
            return False
        effects: cython.int = statement.effects
        if effects & REPLACED and (code == QUERY or code == PARSE):
            instead = explained(self, copied(buf, pos, stop))
            if instead is not None:
                self.request_instead(code, instead, out)
                return True
        return self.request_of_session(code, statement, effects, out, continues)

    def request_of_session(
        self, code: cython.int, statement, effects: cython.int, out: SendBuffer, continues: cython.bint
    ) -> cython.bint:
        """Send the server what this message needs of the session; True if the message was refused or has to wait."""
        runs: cython.bint = code == QUERY or code == BIND
        known: cython.bint = self.owns_sequences or self.batch.draws or self.has_drawn(self.server)
        if runs and effects & SEQUENCES and not known:
            self.group.sequences = True
            self.refuse(code, NO_SEQUENCES, False, out)
            return True
        if effects & NAMES:
            outstanding: Outstanding = self.server.outstanding
            # The outstanding requests may fail, and the Query be ignored.
            if code == QUERY and self.asked and outstanding.count > outstanding.fakes:
                if continues:
                    out.add_bytes(messages.FLUSH)
                self.server.held = WAITING
                return True
            if runs and too_many(statement, self.statements.named):
                self.refuse(code, TOO_MANY_NAMES, False, out)
                return True
            if runs:
                present(self, statement, out, code == QUERY)
            else:
                present_for_description(self, statement, out)
        return False

    def has_drawn(self, server: ServerConnection) -> cython.bint:
        """Whether we were the last to write to this server and took sequence values: none are another client's."""
        return (
            server.session.sequence_owner is self and server is self.last_write_server and server.session.sequences_used
        )

    def refuse(self, code: cython.int, refusal: cython.int, unnamed: cython.bint, out: SendBuffer) -> int:
        """Make the server fail in place of a statement that is refused."""
        server: ServerConnection = self.server
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

    def request_instead(self, code: cython.int, message: bytes, out: SendBuffer) -> int:
        """Enter and add a Query or Parse of the router's own, in place of the client's."""
        server: ServerConnection = self.server
        if code == PARSE:
            return self.statements.parse(server, message, 0, len(message), out, True)
        server.queries += 1
        server.session.unnamed = None
        server.outstanding.push(R_QUERY, FORWARD)
        out.add_bytes(message)
        return 0

    def apply_profile(self, out: SendBuffer) -> cython.bint:
        """Send the difference between the server's settings and the session's first; False if it may be refused."""
        server: ServerConnection = self.server
        if server.session.stands_for is self.profile:
            return True
        if not (server.session.profile.certain and self.profile.certain):
            return False
        change = _change(server.session.profile, self.profile)
        server.session.profile = self.profile
        server.session.meet(self.profile.custom)
        if change:
            server.outstanding.push(R_QUERY, SKIP)
            server.session.unnamed = None
            out.add_bytes(change)
        return True

    def take_over(self, out: SendBuffer) -> int:
        """Make the server discard the sequence values of other clients: a lastval may follow."""
        server: ServerConnection = self.server
        self.must_discard_sequences = False
        server.outstanding.push(R_QUERY, SKIP)
        server.session.unnamed = None
        out.add_bytes(_DISCARD_SEQUENCES)
        return 0


@lru_cache(maxsize=1024)
def _change(old, new) -> bytes:
    """Return the Query that brings a server from one profile to another; b"" for none."""
    sql = transition(old, new)
    return messages.query(sql) if sql else b""
