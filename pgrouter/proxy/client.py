"""A client connection: whole batches are routed and linked to a server, then everything is forwarded until it is free.

Not linked: frames are collected up to the end of a batch (Query, FunctionCall, Sync, Flush), the batch is routed as one
by the classes of its statements, and a server connection is taken or waited for. Linked: frames are forwarded as they
come, each entered in the server's `Outstanding`. At a sync point with nothing owed, outside a transaction and with no
session state left behind, the link ends (`on_ready`).

Everything that is not this (login, the console, what follows a lost server) is a conversation: a plain Python object
that gets the bytes instead until it is over.
"""

from __future__ import annotations

import logging
from itertools import count

import cython

from pgrouter.errors import ProtocolViolation, RouterError
from pgrouter.net.stream import Gather, Poller
from pgrouter.protocol import messages
from pgrouter.protocol.codes import (
    BIND,
    CLOSE,
    COPY_DATA,
    COPY_DONE,
    COPY_FAIL,
    DESCRIBE,
    EXECUTE,
    FAILED_TRANSACTION,
    FLUSH,
    FUNCTION_CALL,
    IDLE,
    MAX_MESSAGE,
    PARSE,
    QUERY,
    SYNC,
    TERMINATE,
)
from pgrouter.protocol.framing import COPY, ENDS_BATCH, LAST, UNKNOWN, end_of_string, frontend_kind, length_at
from pgrouter.protocol.outstanding import Outstanding
from pgrouter.protocol.requests import BIND as R_BIND
from pgrouter.protocol.requests import CLOSE as R_CLOSE
from pgrouter.protocol.requests import COPY_END as R_COPY_END
from pgrouter.protocol.requests import DESCRIBE as R_DESCRIBE
from pgrouter.protocol.requests import EXECUTE as R_EXECUTE
from pgrouter.protocol.requests import FAKE, FORWARD, SKIP
from pgrouter.protocol.requests import FUNCTION as R_FUNCTION
from pgrouter.protocol.requests import PARSE as R_PARSE
from pgrouter.protocol.requests import PARSE_NAMED as R_PARSE_NAMED
from pgrouter.protocol.requests import QUERY as R_QUERY
from pgrouter.protocol.requests import SYNC as R_SYNC
from pgrouter.routing.statement import Effect, Target, Tx
from pgrouter.server.connection import Peer, ServerConnection
from pgrouter.session.harvest import Touched
from pgrouter.session.settings import transition

log = logging.getLogger("pgrouter.client")

# An unlinked client's batch is kept whole up to this size; a larger one goes to the primary and streams.
MAX_BATCH = 1024 * 1024
# A waiting client may send so much ahead before it is no longer read from.
AHEAD = 64 * 1024

# How a client's statements are routed: by its listener or its own word
SPLIT, ONLY_PRIMARY, ONLY_REPLICA = range(3)

REPLICA = int(Target.REPLICA)
BEGIN_READ_ONLY = int(Tx.BEGIN_READ_ONLY)

_ids = count(1)


class ClientConnection(Peer):
    """A client's stream with its session: settings, prepared statements, and the server it is linked to, if any."""

    def __init__(self, poller: Poller, hub, mode: cython.int) -> None:
        Peer.__init__(self, poller)
        self.hub = hub
        self.mode = mode
        self.server = None
        self.group = None  # set by login, as are cache, profile, key and info
        self.conversation = None
        self.cache = hub.statements
        self.profile = None
        self.startup_profile = None
        self.prepared = {}  # name -> SharedStatement
        self.parsed = {}  # name -> class, of the batch at hand
        self.unconfirmed = []  # names whose Parse has no answer yet, oldest first
        self.unnamed_statement = None  # class of the unnamed statement
        self.unnamed_parse = None  # its Parse message, for servers that do not have it
        self.waiting = False
        self.reads = False  # the last batch was one for a replica
        self.reason = ""  # and why
        self.touched = None  # settings that the transaction may have changed
        self.effects = 0  # what the statements since the link may leave behind
        self.pin = None  # why the server is kept past the transaction
        self.body_left = 0  # bytes of a frame that streams through
        self.examined = 0  # frames before this offset have been accounted for
        self.client_id = next(_ids)
        self.key = b""
        self.info = None
        self.since = poller.now

    # -- bytes from the client

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Route and link what is not linked, forward what is."""
        used: cython.Py_ssize_t
        while pos < end and not self.closed:
            if self.conversation is not None:
                used = self.converse(buf, pos, end)
            elif self.server is not None and self.server.collector is None:
                return self.forward(buf, pos, end)
            elif self.waiting or self.server is not None:  # or its settings are being read back
                if end - pos > AHEAD:
                    self.pause()
                return pos
            else:
                used = self.begin(buf, pos, end)
                if self.server is not None:
                    continue
            if used == pos:
                return pos
            pos = used
        return end if self.closed else pos

    def begin(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Find the end of the batch that begins at pos, and a server for it.

        Gives pos when a server was linked, is waited for, or more bytes are needed; more when it was dealt with here.
        """
        code: cython.int
        kind: cython.int
        length: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        at: cython.Py_ssize_t = pos
        needs_server: cython.bint = False
        if self.body_left:  # of a message whose server is gone
            length = min(self.body_left, end - pos)
            self.body_left -= length
            return pos + length
        self.reads = self.mode != ONLY_PRIMARY
        self.reason = ""
        if self.parsed:
            self.parsed = {}
        while True:
            if end - at < 5:
                return pos
            code = buf[at]
            length = length_at(buf, at + 1)
            kind = frontend_kind(code)
            stop = at + 1 + length
            if length < 4 or length > MAX_MESSAGE or kind == UNKNOWN:
                self.violation(_bad_frame(code, length))
                return end
            if kind == LAST:
                self.leave()
                return end
            if kind == COPY and at == pos:  # nothing is being copied: PostgreSQL ignores it too
                self.body_left = stop - pos
                return self.begin(buf, pos, end)
            if stop > end:
                if stop - pos <= MAX_BATCH:
                    self.need = stop - pos
                    return pos
                self.reads = self.mode == ONLY_REPLICA
                self.reason = "too long to keep"
                needs_server = True
                break
            if code != SYNC and code != FLUSH:
                needs_server = True
                self.examine(code, buf, at, stop)
            at = stop
            if kind == ENDS_BATCH:
                break
        if not needs_server:
            if code == SYNC:
                self.send_bytes(messages.READY_IDLE)
            return at
        self.examined = at
        self.count_route()
        self.take_server()
        return pos

    def examine(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Account for one frame: whether it may run on a replica, and what it may leave behind."""
        if code == EXECUTE or code == CLOSE:
            return 0
        if code == QUERY or code == PARSE or code == BIND or code == DESCRIBE:
            return self.account(self.statement_of(code, buf, pos, stop))
        self.reads = self.mode == ONLY_REPLICA
        self.reason = "function call"
        return 0

    def account(self, statement) -> int:
        """Account for one statement of a batch; None: unknown, the server will say so."""
        if statement is _NOTHING:
            return 0
        if statement is None:
            self.reads = self.mode == ONLY_REPLICA
            self.reason = "unknown statement"
            return 0
        if statement.target != REPLICA and statement.tx != BEGIN_READ_ONLY and self.mode == SPLIT:
            self.reads = False
            self.reason = statement.reason
        elif self.reads:
            self.reason = statement.reason
        if statement.effects:
            self.effects |= statement.effects
            if statement.settings:
                self.touch(statement.settings)
        return 0

    def touch(self, settings) -> int:
        """Note the settings that a statement may change; they are read back at the end of the transaction."""
        if self.touched is None:
            self.touched = Touched()
        self.touched.note(settings)
        return 0

    def statement_of(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t):
        """Give the class of the statement that a Query, Parse, Bind or Describe is about."""
        start: cython.Py_ssize_t = pos + 5
        finish: cython.Py_ssize_t
        if code == QUERY:
            return self.cache.lookup(buf, start, stop - 1)
        if code == DESCRIBE:
            if buf[start] != 83:  # S, a statement; a portal was bound before
                return _NOTHING
            start += 1
        else:
            finish = end_of_string(buf, start, stop)  # Parse: the name; Bind: the portal
            if finish < 0:
                return None
            if code == PARSE:
                return self.statement_parsed(buf, start, finish, stop)
            start = finish + 1
        finish = end_of_string(buf, start, stop)
        if finish == start:
            return self.unnamed_statement if self.unnamed_statement is not None else _NOTHING
        if finish < 0:
            return None
        name = bytes(buf[start:finish])
        shared = self.prepared.get(name)
        return shared.statement if shared is not None else self.parsed.get(name)

    def statement_parsed(
        self, buf, start: cython.Py_ssize_t, finish: cython.Py_ssize_t, stop: cython.Py_ssize_t
    ):
        """Give the class of a Parse whose name is buf[start:finish]; Binds behind it in its batch ask for it."""
        end: cython.Py_ssize_t = end_of_string(buf, finish + 1, stop)
        if end < 0:
            return None
        statement = self.cache.lookup(buf, finish + 1, end)
        if finish == start:
            self.unnamed_statement = statement
        else:
            self.parsed[bytes(buf[start:finish])] = statement
        return statement

    def count_route(self) -> int:
        """Count the batch under its target and reason, for SHOW ROUTES."""
        routes: dict = self.hub.routes
        key = (self.reason, self.reads)
        routes[key] = routes.get(key, 0) + 1
        return 0

    # -- links

    def take_server(self) -> int:
        """Link a server that is free, or wait for one."""
        server: ServerConnection = self.group.take(self.reads)
        if server is not None:
            self.link(server)
        else:
            self.waiting = True
            self.group.wait(self, reads=self.reads)
        return 0

    def link(self, server: ServerConnection) -> int:
        """Work with this server until the transaction ends."""
        self.server = server
        server.peer = self
        server.xacts += 1
        server.linked_at = self.poller.now
        return 0

    def unlink(self) -> int:
        """Let go of a server that is at a sync point and owes nothing."""
        server: ServerConnection = self.server
        self.server = None
        server.peer = None
        server.xact_s += self.poller.now - server.linked_at
        self.effects = 0
        self.group.give(server)
        return 0

    def on_served(self, server: ServerConnection | None) -> int:
        """A server is free for us: send it what waits."""
        if self.conversation is not None:
            self.conversation.served(server)
            return 0
        self.waiting = False
        self.link(server)
        self.resume()
        return self.process_partial()

    def on_refused(self, error: RouterError) -> int:
        """There is no server for what waits."""
        self.waiting = False
        if self.conversation is not None:
            self.conversation.refused(error)
            return 0
        self.hub.refuse(self, error)
        self.resume()
        return self.process_partial()

    def on_ready(self) -> int:
        """The server owes nothing: end the link, unless a transaction or session state holds it."""
        server: ServerConnection = self.server
        if self.conversation is not None:
            self.conversation.ready(server)
            return 0
        if server.status != IDLE:
            return 0
        if server.collector is not None:
            self.hub.harvested(self, server)
        if self.effects:
            self.hub.settle(self, server)
            if server.owed.count:
                return 0  # the settings are being read back
        if self.pin is not None:
            return 0
        self.unlink()
        if not self.closed:
            self.resume()
            if self.kept:
                self.process_partial()
        return 0

    def on_drained(self) -> int:
        """The client takes bytes again: its server may send."""
        if self.server is not None:
            self.server.resume()
        return 0

    # -- forwarding

    def forward(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Send the frames of buf[pos:end] to the linked server, entering what it will owe; gives how far it came."""
        code: cython.int
        length: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        server: ServerConnection = self.server
        out: Gather = self.poller.to_server
        out.reset(buf)
        if server.owed.count == 0:
            server.asked_at = self.poller.now
        if server.profile is not self.profile:
            self.apply_profile(out)
        if self.body_left:
            length = min(self.body_left, end - pos)
            out.add(pos, pos + length)
            self.body_left -= length
            pos += length
        while end - pos >= 5:
            code = buf[pos]
            length = length_at(buf, pos + 1)
            stop = pos + 1 + length
            if length < 4 or length > MAX_MESSAGE or frontend_kind(code) == UNKNOWN:
                self.violation(_bad_frame(code, length))
                return end
            if code == TERMINATE:
                out.flush(server)
                self.leave()
                return end
            if stop > end:
                if code == COPY_DATA or stop - pos > MAX_BATCH:
                    self.stream_body(code, buf, pos, stop, end, out)
                    pos = end
                else:
                    self.need = stop - pos
                break
            if pos >= self.examined and code != SYNC and code != FLUSH and code != COPY_DATA:
                self.examine(code, buf, pos, stop)
            self.request(code, buf, pos, stop, out)
            pos = stop
        self.examined = 0
        if out.length() and out.flush(server) == 1:
            self.pause()  # until the server has drained
        if server.owed.fakes:
            server.flush_fakes()
        return pos

    def request(
        self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: Gather
    ) -> int:
        """Enter one whole frame and add what the server gets for it."""
        server: ServerConnection = self.server
        owed: Outstanding = server.owed
        if code == QUERY:
            server.at_sync = False
            server.queries += 1
            server.unnamed = None  # a simple Query ends the unnamed statement
            owed.push(R_QUERY, FORWARD)
        elif code == SYNC:
            server.at_sync = False
            owed.push(R_SYNC, FORWARD)
        elif code == EXECUTE:
            server.queries += 1
            owed.push(R_EXECUTE, FORWARD)
        elif code == BIND:
            return self.on_bind(buf, pos, stop, out)
        elif code == PARSE:
            return self.on_parse(buf, pos, stop, out)
        elif code == DESCRIBE or code == CLOSE:
            return self.on_describe_or_close(code, buf, pos, stop, out)
        elif code == FUNCTION_CALL:
            server.at_sync = False
            owed.push(R_FUNCTION, FORWARD)
        elif code == COPY_DONE or code == COPY_FAIL:
            owed.push(R_COPY_END, FORWARD)
        out.add(pos, stop)
        return 0

    def stream_body(
        self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, end: cython.Py_ssize_t, out: Gather
    ) -> int:
        """Begin to forward a frame that is too large to be kept; what it says cannot be known.

        Raises ProtocolViolation to the client for a message that has to be understood, and is over 1 MiB.
        """
        server: ServerConnection = self.server
        if code == QUERY or code == PARSE:
            self.effects |= int(Effect.UNSEEN)
        if code == QUERY or code == FUNCTION_CALL:
            server.at_sync = False
            server.unnamed = None
            server.owed.push(R_QUERY if code == QUERY else R_FUNCTION, FORWARD)
            out.add(pos, end)
        elif code == PARSE or code == BIND:
            return self.stream_extended(code, buf, pos, stop, end, out)
        else:
            out.add(pos, end)
        self.body_left = stop - end
        return 0

    def stream_extended(
        self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, end: cython.Py_ssize_t, out: Gather
    ) -> int:
        """Begin to forward a huge Parse (named ones are kept whole, as they are shared) or Bind."""
        self.body_left = stop - end
        out.add(pos, end)
        self.server.owed.push(R_PARSE if code == PARSE else R_BIND, FORWARD)
        return 0

    def apply_profile(self, out: Gather) -> int:
        """Put the difference between the server's settings and ours in front."""
        server: ServerConnection = self.server
        sql = transition(server.profile, self.profile)
        server.profile = self.profile
        if sql:
            server.owed.push(R_QUERY, SKIP)
            server.at_sync = False
            server.unnamed = None
            out.add_bytes(messages.query(sql))
        return 0

    # -- prepared statements

    def on_parse(self, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: Gather) -> int:
        """Parse: the unnamed statement passes; a named one becomes a shared statement, parsed once per server."""
        server: ServerConnection = self.server
        finish: cython.Py_ssize_t = end_of_string(buf, pos + 5, stop)
        if finish <= pos + 5:
            self.unnamed_parse = bytes(buf[pos:stop])
            server.unnamed = self.unnamed_parse
            server.owed.push(R_PARSE, FORWARD)
            out.add(pos, stop)
            return 0
        name = bytes(buf[pos + 5 : finish])
        if name in self.prepared or server.status == FAILED_TRANSACTION:
            return self.parse_in_error(name, buf, pos, stop, out)
        shared = self.hub.shared.take(bytes(buf[finish + 1 : stop]), self.statement_of(PARSE, buf, pos, stop))
        self.prepared[name] = shared
        self.unconfirmed.append(name)
        if shared.ident in server.prepared:
            server.owed.push(R_PARSE_NAMED, FAKE, shared.ident)
            return 0
        server.prepared[shared.ident] = shared
        server.owed.push(R_PARSE_NAMED, FORWARD, shared.ident)
        out.add_bytes(shared.parse)
        return self.evict(out)

    def parse_in_error(
        self, name: bytes, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: Gather
    ) -> int:
        """Let PostgreSQL itself say 42P05 (the name exists) or 25P02: in its words, and with its effect."""
        server: ServerConnection = self.server
        if server.status != FAILED_TRANSACTION:
            wire = name + b"\0" + b"\0\0\0"
            out.add_bytes(messages.message(PARSE, wire))
            server.owed.push(R_PARSE, SKIP)
            server.dirty = True  # it now has a statement of that name
        server.owed.push(R_PARSE, FORWARD)
        out.add(pos, stop)
        return 0

    def on_bind(self, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: Gather) -> int:
        """Bind: the statement's name becomes the server's name for it."""
        server: ServerConnection = self.server
        portal_end: cython.Py_ssize_t = end_of_string(buf, pos + 5, stop)
        name_end: cython.Py_ssize_t = end_of_string(buf, portal_end + 1, stop) if portal_end >= 0 else -1
        if name_end == portal_end + 1:
            self.ensure_unnamed(out)
        elif name_end > 0:
            shared = self.prepared.get(bytes(buf[portal_end + 1 : name_end]))
            if shared is not None:
                self.ensure(shared, out)
                server.owed.push(R_BIND, FORWARD)
                length: cython.Py_ssize_t = stop - pos - 1 - (name_end - portal_end - 1) + len(shared.name)
                out.add_bytes(b"B" + length.to_bytes(4, "big"))
                out.add(pos + 5, portal_end + 1)
                out.add_bytes(shared.name)
                out.add(name_end, stop)
                return 0
        server.owed.push(R_BIND, FORWARD)
        out.add(pos, stop)
        return 0

    def on_describe_or_close(
        self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: Gather
    ) -> int:
        """Describe and Close of a statement: by the server's name for it; a Close is not needed there at all."""
        server: ServerConnection = self.server
        kind: cython.int = R_DESCRIBE if code == DESCRIBE else R_CLOSE
        name_end: cython.Py_ssize_t = end_of_string(buf, pos + 6, stop)
        if buf[pos + 5] == 83 and name_end == pos + 6 and code == DESCRIBE:
            self.ensure_unnamed(out)
        elif buf[pos + 5] == 83 and name_end > 0:
            name = bytes(buf[pos + 6 : name_end])
            shared = self.prepared.get(name)
            if shared is not None and code == CLOSE:
                del self.prepared[name]
                self.hub.shared.give(shared)
                server.owed.push(R_CLOSE, FAKE)
                return 0
            if shared is not None:
                self.ensure(shared, out)
                server.owed.push(R_DESCRIBE, FORWARD)
                out.add_bytes(messages.message(DESCRIBE, b"S" + shared.name + b"\0"))
                return 0
        server.owed.push(kind, FORWARD)
        out.add(pos, stop)
        return 0

    def ensure(self, shared, out: Gather) -> int:
        """Put a Parse in front where the server does not have the statement; make it the most recently used."""
        held: dict = self.server.prepared
        if held.pop(shared.ident, None) is None:
            self.server.owed.push(R_PARSE, SKIP, shared.ident)
            out.add_bytes(shared.parse)
            held[shared.ident] = shared
            return self.evict(out)
        held[shared.ident] = shared
        return 0

    def evict(self, out: Gather) -> int:
        """Close the least recently used statement of a server that holds too many."""
        held: dict = self.server.prepared
        if len(held) > self.group.settings.prepared_statements:
            oldest = held.pop(next(iter(held)))
            self.server.owed.push(R_CLOSE, SKIP, oldest.ident)
            out.add_bytes(oldest.close())
        return 0

    def ensure_unnamed(self, out: Gather) -> int:
        """Put our unnamed statement in front where the server has another client's, or none."""
        if self.unnamed_parse is not None and self.server.unnamed is not self.unnamed_parse:
            self.server.unnamed = self.unnamed_parse
            self.server.owed.push(R_PARSE, SKIP)
            out.add_bytes(self.unnamed_parse)
        return 0

    def on_named(self, events: list) -> int:
        """Follow what became of named statements: a Parse that failed defines nothing."""
        server: ServerConnection = self.server
        for kind, ident, done in events:
            if kind == R_PARSE_NAMED:
                name = self.unconfirmed.pop(0)
                if not done:
                    self.hub.shared.give(self.prepared.pop(name))
            if not done and ident:
                if kind == R_CLOSE:
                    server.prepared[ident] = self.hub.shared.by_ident(ident)
                else:
                    server.prepared.pop(ident, None)
        return 0

    def keep_to_primary(self) -> None:
        """Send everything to the primary, unless the listener is for replicas."""
        if self.mode == SPLIT:
            self.mode = ONLY_PRIMARY

    def forget_statements(self) -> None:
        """Let go of all prepared statements."""
        for shared in self.prepared.values():
            self.hub.shared.give(shared)
        self.prepared = {}
        self.unconfirmed = []
        self.unnamed_parse = None
        self.unnamed_statement = None

    def forget_unconfirmed(self) -> None:
        """Let go of the statements whose Parse was never answered."""
        for name in self.unconfirmed:
            self.hub.shared.give(self.prepared.pop(name))
        self.unconfirmed = []

    @property
    def streams(self) -> bool:
        """Whether a message of the client is only half sent to its server."""
        return self.body_left > 0

    # -- conversations and ends

    def converse(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Give the bytes to the conversation."""
        return pos + self.conversation.on_bytes(bytes(buf[pos:end]))

    def violation(self, error: RouterError) -> int:
        """The client does not speak the protocol: say so, and hang up."""
        self.send_bytes(messages.error_response(error))
        self.hub.log(self, logging.INFO, error.message)
        return self.leave()

    def on_server_lost(self, error: RouterError) -> int:
        """The server is gone: say what is lost, and stay where PostgreSQL's session could."""
        server: ServerConnection = self.server
        self.server = None
        if self.conversation is not None:
            self.conversation.refused(error)
            return 0
        self.hub.server_lost(self, server, error)
        if not self.closed:
            self.resume()
            if self.kept:
                self.process_partial()
        return 0

    def on_eof(self, why: str) -> int:
        """The client has gone without a word."""
        return self.leave()

    def leave(self) -> int:
        """The client goes: close, and let the server be cleaned up."""
        server: ServerConnection = self.server
        if self.closed:
            return 0
        self.close()
        self.hub.left(self, server)
        return 0

    def __repr__(self) -> str:
        return f"C-{self.client_id} {self.info or ''}"


# In place of a statement: what needs no server of its own, and follows the rest of its batch
_NOTHING = object()


def _bad_frame(code: int, length: int) -> ProtocolViolation:
    if frontend_kind(code) == UNKNOWN:
        return ProtocolViolation(f"invalid frontend message type {code}")
    return ProtocolViolation(f"invalid message length {length} in message of type {chr(code)!r}")
