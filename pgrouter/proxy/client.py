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
from pgrouter.net.gather import Gather
from pgrouter.net.stream import Poller
from pgrouter.protocol import messages
from pgrouter.protocol.codes import (
    BIND,
    CLOSE,
    COPY_DATA,
    COPY_DONE,
    COPY_FAIL,
    DESCRIBE,
    EXECUTE,
    FLUSH,
    FUNCTION_CALL,
    IDLE,
    MAX_MESSAGE,
    PARSE,
    QUERY,
    SYNC,
    TERMINATE,
)
from pgrouter.protocol.framing import COPY, ENDS_BATCH, LAST, UNKNOWN, frontend_kind, length_at
from pgrouter.protocol.outstanding import Outstanding
from pgrouter.protocol.requests import COPY_END as R_COPY_END
from pgrouter.protocol.requests import EXECUTE as R_EXECUTE
from pgrouter.protocol.requests import FORWARD, SKIP
from pgrouter.protocol.requests import FUNCTION as R_FUNCTION
from pgrouter.protocol.requests import QUERY as R_QUERY
from pgrouter.protocol.requests import SYNC as R_SYNC
from pgrouter.proxy.batch import Batch
from pgrouter.proxy.statements import ClientStatements
from pgrouter.server.connection import Peer, ServerConnection
from pgrouter.session.settings import transition

log = logging.getLogger("pgrouter.client")

# An unlinked client's batch is kept whole up to this size; a larger one goes to the primary and streams.
MAX_BATCH = 1024 * 1024
# A named Parse is shared between clients, so it is kept whole; nobody needs larger ones.
MAX_NAMED = 64 * 1024 * 1024
# A waiting client may send so much ahead before it is no longer read from.
AHEAD = 64 * 1024

SPLIT, ONLY_PRIMARY = 0, 1  # of Batch.mode

_ids = count(1)


class ClientConnection(Peer):
    """A client's stream with its session: settings, prepared statements, and the server it is linked to, if any."""

    def __init__(self, poller: Poller, hub, mode: cython.int) -> None:
        Peer.__init__(self, poller)
        self.hub = hub
        self.server = None
        self.group = None  # set by login, as are cache, profile, key and info
        self.conversation = None
        self.statements = ClientStatements(hub.statements, hub.shared)
        self.batch = Batch(self.statements, mode)
        self.profile = None
        self.startup_profile = None
        self.waiting = False
        self.told = {}  # ParameterStatus values of the session, where the startup packet had settings
        self.pin = None  # why the server is kept past the transaction
        self.asked = False  # something was sent since the link or the last ReadyForQuery with nothing owed
        self.open_batch = False  # frames were sent since the last Sync, Query or FunctionCall
        self.body_left = 0  # bytes of a frame that streams through
        self.examined = 0  # frames before this offset have been accounted for
        self.client_id = next(_ids)
        self.key = b""
        self.address = None  # host and port, as accept() gave them
        self.info = None
        self.terminated = False  # it said Terminate; otherwise it just vanishes
        self.since = poller.now

    # -- bytes from the client

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Route and link what is not linked, forward what is."""
        used: cython.Py_ssize_t
        while pos < end and not self.closed:
            if self.conversation is not None:
                used = self.converse(buf, pos, end)
            elif self.server is not None and not self.server.held:
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
        self.batch.begin()
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
                self.batch.to_primary("too long to keep")
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
        if self.server is None:
            self.examined -= pos  # what waits comes again at offset 0
        return pos

    def examine(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Account for one frame: whether it may run on a replica, and what it may leave behind."""
        if code == FUNCTION_CALL or frontend_kind(code) == COPY:
            return self.batch.to_primary("function call")
        self.batch.examine(code, buf, pos, stop)
        self.resets = self.batch.resets
        return 0

    def count_route(self) -> int:
        """Count the batch under its target and reason, for SHOW ROUTES."""
        routes: dict = self.hub.routes
        key = (self.batch.reason, self.batch.reads)
        routes[key] = routes.get(key, 0) + 1
        return 0

    # -- links

    def take_server(self) -> int:
        """Link a server that is free, or wait for one."""
        server: ServerConnection = self.group.take(self.batch.reads)
        if server is not None:
            self.link(server)
        else:
            self.waiting = True
            self.group.wait(self, reads=self.batch.reads)
        return 0

    def link(self, server: ServerConnection) -> int:
        """Work with this server until the transaction ends."""
        self.server = server
        self.open_batch = False
        self.asked = False
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
        self.batch.effects = 0
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
        self.asked = False
        if server.status == IDLE:
            if server.collector is not None:
                self.hub.harvested(self, server)
            if self.batch.effects:
                self.hub.settle(self, server)
                if server.owed.count:
                    return 0  # the settings are being read back
            if self.pin is None:
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
                server.send_gathered(out)
                self.terminated = True
                self.leave()
                return end
            if stop > end:
                if code != COPY_DATA and stop - pos <= MAX_BATCH:
                    self.need = stop - pos
                elif self.stream_body(code, buf, pos, stop, end, out):
                    pos = end
                elif self.closed:
                    return end
                break
            if self.asked and not self.open_batch and server.owed.count and self.must_hold(code, buf, pos):
                if end - pos > AHEAD:
                    self.pause()
                break
            if pos >= self.examined and code != SYNC and code != FLUSH and code != COPY_DATA:
                self.examine(code, buf, pos, stop)
            self.request(code, buf, pos, stop, out)
            pos = stop
        self.examined = 0
        if server.owed.count:
            server.at_sync = False  # until ReadyForQuery: an open batch may be an open (implicit) transaction
        if out.length() and server.send_gathered(out) == 1:
            self.pause()  # until the server has drained
        if server.owed.fakes:
            server.flush_fakes()
        return pos

    def must_hold(self, code: cython.int, buf, pos: cython.Py_ssize_t) -> cython.bint:
        """Whether the batch that begins here must wait until the server has answered all before it.

        What is linked to a replica was routed there; what follows may be a write, or the replica's transaction may have
        begun with what it has not answered yet. And a name whose Parse may have failed can only then be parsed again.
        """
        server: ServerConnection = self.server
        if self.batch.has_startup and self.batch.touched is not None and server.status == IDLE:
            return True  # RESET goes back to the startup packet's values: around it settings must be settled
        if self.resets and server.status == IDLE:
            return True
        if self.batch.reads and self.batch.mode == SPLIT and server.status == IDLE and not server.owed.copying:
            return frontend_kind(code) != COPY
        return code == PARSE and buf[pos + 5] != 0 and len(self.statements.unconfirmed) > 0

    def request(
        self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: Gather
    ) -> int:
        """Enter one whole frame and add what the server gets for it."""
        server: ServerConnection = self.server
        owed: Outstanding = server.owed
        if code == BIND or code == EXECUTE or code == QUERY or code == FUNCTION_CALL:
            server.executed = True
        self.asked = True
        self.open_batch = code != SYNC and code != QUERY and code != FUNCTION_CALL
        if self.batch.deallocates and (code == QUERY or code == EXECUTE):
            self.batch.deallocates = False
            self.statements.deallocate_all(server)
        if code == QUERY:
            server.queries += 1
            server.unnamed = None  # a simple Query ends the unnamed statement
            owed.push(R_QUERY, FORWARD)
        elif code == SYNC:
            owed.push(R_SYNC, FORWARD)
        elif code == EXECUTE:
            server.queries += 1
            owed.push(R_EXECUTE, FORWARD)
        elif code == BIND:
            return self.statements.bind(server, buf, pos, stop, stop, out)
        elif code == PARSE:
            return self.statements.parse(server, buf, pos, stop, out)
        elif code == DESCRIBE or code == CLOSE:
            return self.statements.describe_or_close(server, code, buf, pos, stop, out)
        elif code == FUNCTION_CALL:
            owed.push(R_FUNCTION, FORWARD)
        elif code == COPY_DONE or code == COPY_FAIL:
            owed.push(R_COPY_END, FORWARD)
        out.add(pos, stop)
        return 0

    def stream_body(
        self,
        code: cython.int,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        out: Gather,
    ) -> int:
        """Begin to forward a frame that is too large to be kept (it ends at `stop`, of which `end` is here).

        What a huge Query says cannot be known: its session keeps its server. A named Parse is kept whole, as it is
        shared; a Bind begins when its names are here. Gives 0 when more bytes must come first.
        """
        server: ServerConnection = self.server
        server.executed = True
        if code == QUERY or code == FUNCTION_CALL:
            server.unnamed = None
            server.owed.push(R_QUERY if code == QUERY else R_FUNCTION, FORWARD)
            self.batch.unseen()
            out.add(pos, end)
        elif code == PARSE:
            if buf[pos + 5] != 0:
                if stop - pos > MAX_NAMED:
                    self.violation(_too_large(stop - pos))
                self.need = stop - pos
                return 0
            self.batch.unseen()
            self.statements.parse_unseen(server)
            out.add(pos, end)
        elif code == BIND:
            if not self.statements.bind(server, buf, pos, stop, end, out):
                return 0
        else:
            out.add(pos, end)
        self.body_left = stop - end
        return 1

    def apply_profile(self, out: Gather) -> int:
        """Put the difference between the server's settings and ours in front."""
        server: ServerConnection = self.server
        sql = transition(server.profile, self.profile)
        server.profile = self.profile
        if sql:
            server.owed.push(R_QUERY, SKIP)
            server.unnamed = None
            out.add_bytes(messages.query(sql))
        return 0

    def on_named(self, events: list) -> int:
        """Follow what became of named statements."""
        return self.statements.settle(events)

    def on_parameter(self, body: bytes) -> bytes | None:
        """A RESET goes back to the startup packet's values, which the server does not know."""
        if self.conversation is not None or not self.startup_profile.values:
            return None
        return self.hub.parameter(self, body)

    def before_ready(self) -> bytes:
        """Tell the client of settings that its RESET has brought back to the startup packet's values."""
        return self.hub.restored(self)

    # -- conversations and ends

    def keep_to_primary(self) -> None:
        """Send everything to the primary, unless the listener is for replicas."""
        if self.batch.mode == SPLIT:
            self.batch.mode = ONLY_PRIMARY

    def follow(self, profile, startup_profile) -> None:
        """Take these settings as the session's own, and those to which its RESET goes back."""
        self.profile = profile
        self.startup_profile = startup_profile
        self.batch.has_startup = bool(startup_profile.values)

    def settled(self) -> None:
        """The transaction is over, or was lost: nothing of it is left to act on."""
        self.batch.settled()
        self.resets = False

    @property
    def prepared(self) -> dict:
        """The client's named statements."""
        return self.statements.named

    @property
    def idle(self) -> bool:
        """Whether the client is between transactions and waits for nothing."""
        server: ServerConnection = self.server
        if server is None:
            return not self.waiting
        return server.status == IDLE and server.at_sync and server.owed.count == 0

    @property
    def streams(self) -> bool:
        """Whether a message of the client is only half sent to its server."""
        return self.body_left > 0

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


def _too_large(size: int) -> RouterError:
    return RouterError(
        f"a prepared statement of {size} bytes is too large", sqlstate="54000", severity="FATAL",
        detail=f"Named statements are limited to {MAX_NAMED} bytes; the unnamed statement is not.",
    )  # fmt: skip


def _bad_frame(code: int, length: int) -> ProtocolViolation:
    if frontend_kind(code) == UNKNOWN:
        return ProtocolViolation(f"invalid frontend message type {code}")
    return ProtocolViolation(f"invalid message length {length} in message of type {chr(code)!r}")
