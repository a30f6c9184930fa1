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

from pgrouter.errors import RouterError
from pgrouter.net.poller import Poller
from pgrouter.pool.member import MemberPool
from pgrouter.protocol import messages
from pgrouter.protocol.codes import BIND, EXECUTE, FLUSH, IDLE, MAX_SMALL_MESSAGE, PARSE, SYNC
from pgrouter.protocol.framing import COPY, ENDS_BATCH, LAST, UNKNOWN, copied, frontend_kind, impossible
from pgrouter.proxy import again
from pgrouter.proxy.batch import Batch
from pgrouter.proxy.link import AHEAD, MAX_BATCH, Link, bad_frame
from pgrouter.routing.statement import Reason
from pgrouter.server.connection import ServerConnection
from pgrouter.session.consistency import EVENTUAL, SESSION
from pgrouter.session.pins import NO_SEQUENCES, OLD_PLAN_ROUTINE, REFUSALS

log = logging.getLogger("pgrouter.client")

OWN_WRITE = Reason.OWN_WRITE

_ids = count(1)


class ClientConnection(Link):
    """A client's link with its session: who it is, its settings, and what it waits for."""

    def __init__(self, poller: Poller, hub, mode: str) -> None:
        Link.__init__(self, poller, hub)
        self.routes = hub.routes
        self.mode = mode  # of its listener: split, primary or replica
        self.conversation = None
        self.startup_profile = None
        self.waiting = False
        self.consistency = SESSION  # which writes its reads must see
        self.must_see_lsn = 0  # and up to where in the WAL
        self.stale = False  # not every replica has what the batch at hand must see
        self.told = {}  # ParameterStatus values of the session, where the startup packet had settings
        self.pin = None  # why the server is kept past the transaction
        self.pinned_at = 0.0  # and since when
        self.state = 0  # Effect flags of what it has there
        self.client_id = next(_ids)
        self.key = b""
        self.address = None  # host and port, as accept() gave them
        self.info = None
        self.since = poller.now

    # -- bytes from the client

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Route and link what is not linked, forward what is."""
        used: cython.Py_ssize_t
        while pos < end and not self.closed:
            if self.pending is not None and self.server is None:  # it does not read what we answer
                self.pause()
                return pos
            if self.body_left and self.server is None:  # of a message that nobody wants
                used = self.swallow(pos, end)
            elif self.conversation is not None:
                used = self.converse(buf, pos, end)
            elif self.server is not None and not self.server.held and not self.stopped():
                pos = self.forward(buf, pos, end)
                if self.server is not None:
                    return pos
                continue
            elif self.waiting or self.server is not None:  # or its settings are being read back, or it is fenced
                if end - pos > AHEAD:
                    self.pause()
                return pos
            else:
                used = self.begin(buf, pos, end)
                if self.server is not None or self.conversation is not None:
                    continue
            if used == pos:
                return pos
            pos = used
        return end if self.closed else pos

    def stopped(self) -> cython.bint:
        """Whether our server may begin no transaction for now, and none is open."""
        return self.server.fenced and self.body_left == 0 and self.server.at_rest()

    def begin(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Find the end of the batch that begins at pos, and a server for it.

        Gives pos when a server was linked, is waited for, or more bytes are needed; more when it was dealt with here.
        """
        code: cython.int
        kind: cython.int
        high: cython.uint
        length: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        at: cython.Py_ssize_t = pos
        needs_server: cython.bint = False
        works: cython.bint = False
        refusal: cython.int
        self.batch.begin()
        while True:
            if end - at < 5:
                return pos
            code = buf[at]
            high = buf[at + 1]  # as `length_at` does, without the call
            length = high << 24 | buf[at + 2] << 16 | buf[at + 3] << 8 | buf[at + 4]
            kind = frontend_kind(code)
            stop = at + 1 + length
            if (kind == UNKNOWN or length < 4 or length > MAX_SMALL_MESSAGE) and impossible(code, length):
                self.violation(bad_frame(code, length))
                return end
            if kind == LAST:
                self.leave()
                return end
            if kind == COPY and at == pos:  # nothing is being copied: PostgreSQL ignores it too
                self.body_left = stop - pos
                return self.swallow(pos, end)
            if stop > end:
                if stop - pos <= MAX_BATCH:
                    self.need = stop - pos
                    return pos
                self.batch.too_long()
                needs_server = True
                break
            if (code != SYNC and code != FLUSH) or length != 4:
                needs_server = True
                works = works or code == BIND or code == EXECUTE
                refusal = self.batch.examine(code, buf, at, stop)
                if refusal and at == pos:  # nothing in front of it needs a server: it is answered here
                    return self.refused(refusal, code == PARSE and buf[pos + 5] == 0, pos)
            at = stop
            if kind == ENDS_BATCH:
                break
        if not needs_server:
            self.idle_at = self.poller.now
            if code == SYNC:
                self.send_bytes(messages.READY_IDLE)
            return at
        if works and code == FLUSH:
            self.batch.unfinished()
        self.resets = self.batch.resets
        self.discards = self.batch.discards
        self.examined = at
        self.choose()
        self.take_server()
        if self.server is None:
            self.examined -= pos  # what waits comes again at offset 0
        return pos

    def refused(self, refusal: cython.int, unnamed: cython.bint, pos: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The batch at pos begins with what the client may not send: a conversation says so."""
        self.batch.answered()
        if unnamed:  # as after any Parse that has failed
            self.statements.forget_unnamed()
        self.hub.refuse(self, REFUSALS[refusal])
        return pos

    def swallow(self, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Go past what is left of the message at hand; gives how far that was."""
        length: cython.Py_ssize_t = min(self.body_left, end - pos)
        self.body_left -= length
        return pos + length

    def skip(self, size: cython.Py_ssize_t) -> int:
        """Swallow the next `size` bytes of the client."""
        self.body_left = size
        return 0

    # -- links

    def choose(self) -> int:
        """Find out whether a replica may have the batch, and count it."""
        batch: Batch = self.batch
        self.stale = False
        if self.second is not None:
            self.second.route(self)
            fresh: cython.bint = self.group.readers.any_fresh(self.must_see_s(), self.must_see_lsn)
            self.stale = batch.reads and batch.mixed and not fresh
        elif batch.reads and batch.mixed and not self.group.standby:  # where nobody writes
            wrote_s: cython.double = self.wrote_s if self.consistency == SESSION else self.must_see_s()
            if not self.group.readers.all_fresh(wrote_s, self.must_see_lsn):
                self.stale = True
                if self.group.needs_primary(wrote_s, self.must_see_lsn):
                    return self.routes.add(OWN_WRITE, False)
        return self.routes.add(batch.reason, batch.reads)

    def must_see_s(self) -> cython.double:
        """Give the moment whose writes a read must see; -1: none."""
        if self.consistency == EVENTUAL:
            return -1.0
        return self.wrote_s if self.consistency == SESSION else max(self.wrote_s, self.group.writes.last_s)

    def take_server(self) -> int:
        """Link a server that is free, or wait for one."""
        server: ServerConnection
        if self.batch.needs_own_server():
            return self.take_own()
        if self.second is not None:
            server = self.second.take(self)
        elif self.stale:
            server = self.group.take_fresh(self.must_see_s(), self.must_see_lsn)
        elif self.group.sequences and self.wrote is not None and not (self.batch.reads and self.batch.mixed):
            server = self.group.take_again(self.wrote)
        else:
            server = self.group.take(self.batch.reads)
        if server is not None:
            self.link(server)
        else:
            self.waiting = True
            self.group.wait(self, self.batch.reads and not self.stale)
        return 0

    def take_own(self) -> int:
        """Link the server that wrote for us last, or wait for it: only there currval and lastval are ours.

        The first time that one of the group asks, its last write must have taken a value: only from now on servers
        forget them when they write for another.
        """
        known: cython.bint = self.has_own(self.wrote)
        self.group.sequences = True
        if not known:
            self.hub.refuse(self, REFUSALS[NO_SEQUENCES])
            return 0
        server: ServerConnection = self.group.claim(self, self.wrote)
        if server is not None:
            self.link(server)
        else:
            self.waiting = True
        return 0

    def has_own(self, server: ServerConnection | None) -> cython.bint:
        """Whether the values of sequences that this server remembers are ours."""
        if server is None or server.closed:
            return False
        return self.has_drawn(server) or (self.group.sequences and server.written_by is self)

    def on_served(self, server: ServerConnection | None) -> int:
        """A server is free for us: send it what waits."""
        if self.conversation is not None:
            self.conversation.served(server)
            return 0
        self.waiting = False
        if self.batch.needs_own_server() and not self.has_own(server):  # somebody else has written there meanwhile
            self.group.give(server)
            return self.on_refused(REFUSALS[NO_SEQUENCES])
        if self.batch.reads and self.batch.mixed and not self.is_fresh(server):  # its member has joined meanwhile
            self.group.give(server)
            self.second = None
            self.stale = True
            self.take_server()
            if self.server is None:
                return 0
        else:
            self.link(server)
        self.resume()
        return self.process_partial()

    def is_fresh(self, server: ServerConnection) -> cython.bint:
        """Whether a server has replayed what the batch at hand must see."""
        pool: MemberPool = server.owner
        return pool.is_fresh(self.must_see_s(), self.must_see_lsn)

    def on_refused(self, error: RouterError) -> int:
        """There is no server for what waits."""
        self.waiting = False
        if self.conversation is not None:
            self.conversation.refused(error)
            return 0
        self.second = None
        self.hub.refuse(self, error)
        self.resume()
        return self.process_partial()

    def on_ready(self) -> int:
        """The server owes nothing: end the link, unless a transaction, session state or half a message holds it."""
        server: ServerConnection = self.server
        if self.conversation is not None:
            self.conversation.ready(server)
            return 0
        self.asked = False
        self.discards = False
        if self.second is not None:
            self.second.answered(self)
            self.second = None
        self.batch.answered()
        if server.status == IDLE and self.body_left == 0:
            if server.collector is not None:
                self.hub.harvested(self, server)
            if self.batch.effects:
                self.hub.settle(self, server)
                if server.owed.count:
                    return 0  # the settings are being read back
            if self.pin is None:
                self.unlink()
        if not self.closed:
            self.read_on()
            if self.kept:
                self.process_partial()
        return 0

    def on_drained(self) -> int:
        """The client takes bytes again: its server may send, or we may answer."""
        if self.server is not None:
            return self.server.resume()
        self.resume()
        return self.process_partial()

    # -- what the server has to say

    def on_error(self, sqlstate: str, routine: str) -> cython.bint:
        """Run the batch again, if a replica has refused it or a plan is too old."""
        if self.second is not None:
            self.second.failed(sqlstate)
        elif (self.again > 0 or (self.again == 0 and self.server.held)) and self.conversation is None:
            self.second = again.refused(self, self.server, sqlstate, routine)
            if self.second is not None:
                return True
        if routine == OLD_PLAN_ROUTINE:
            self.statements.outdated()
        return False

    def on_let_go(self, server: ServerConnection) -> int:
        """Begin again, without the server that has refused."""
        self.hub.let_go(self, server)
        return self.run_again()

    def on_words(self, error: bytes) -> bytes:
        """Speak of the client's prepared statements by the client's names."""
        return self.statements.in_clients_words(error)

    def on_waiting(self) -> int:
        """Let what was held back go: nothing will be answered before the server has it."""
        if self.kept:
            self.resume()
            return self.process_partial()
        return 0

    def on_named(self, events: list) -> int:
        """Follow what became of named statements."""
        return self.statements.settle(events)

    def on_changed(self, shared: object, known: bytes) -> cython.bint:
        """There was DDL: refuse what waits for the description, on a replica run it on the primary; or go a way apart."""
        self.statements.outdated()
        if self.server.held:
            self.second = again.changed(self, self.server)
            return self.second is not None
        self.server.changed = None
        self.server.dirty = True  # it holds the statement under the name by which others know something else
        self.statements.part(shared, known)
        return False

    def on_deallocated(self) -> int:
        """Forget what a DEALLOCATE has taken away."""
        if self.deallocating is not None:
            self.statements.deallocated(self.deallocating, self.server)
            self.deallocating = None
        return 0

    def on_parameter(self, body: bytes) -> bytes | None:
        """A RESET goes back to the startup packet's values, which the server does not know."""
        if self.conversation is not None or not self.startup_profile.values:
            return None
        return self.hub.parameter(self, body)

    def on_notification(self, message: bytes) -> bytes:
        """A session knows its own notifications by the pid that it got at login, which is not the server's.

        The two numbers change places: a server process that happens to have ours as its pid is somebody else.
        """
        if self.server is None:
            return message
        pid = int.from_bytes(message[5:9], "big")
        other = {self.server.hello.pid: self.client_id, self.client_id: self.server.hello.pid}.get(pid)
        return message if other is None else message[:5] + other.to_bytes(4, "big") + message[9:]

    def before_ready(self) -> bytes:
        """Tell the client of settings that its RESET has brought back to the startup packet's values."""
        return self.hub.restored(self)

    # -- conversations and ends

    def follow(self, profile, startup_profile) -> int:
        """Take these settings as the session's own, and those to which its RESET goes back."""
        self.profile = profile
        self.startup_profile = startup_profile
        self.batch.has_startup = bool(startup_profile.values)
        return 0

    def settled(self) -> None:
        """The transaction is over, or was lost: nothing of it, and of what was sent, is left to act on."""
        self.batch.answered()
        self.batch.settled()
        self.resets = False
        self.discards = False

    @property
    def prepared(self) -> dict:
        """The client's named statements."""
        return self.statements.named

    @property
    def idle(self) -> bool:
        """Whether the client is between transactions, waits for nothing and has got all its answers."""
        server: ServerConnection = self.server
        if self.pending is not None:
            return False
        if server is None:
            return not self.waiting
        return server.status == IDLE and server.at_sync and server.owed.count == 0

    def converse(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Give the bytes to the conversation."""
        self.idle_at = self.poller.now
        return pos + self.conversation.on_bytes(copied(buf, pos, end))

    def on_server_lost(self, error: RouterError) -> int:
        """The server is gone: say what is lost, and stay where PostgreSQL's session could."""
        server: ServerConnection = self.server
        self.server = None
        self.idle_at = self.poller.now
        if self.batch.writes and not self.reading:
            self.note_write()
        if self.conversation is not None and self.pin is None:
            self.conversation.refused(error)
            return 0
        if self.again > 0 and self.repeats and self.pin is None:
            self.second = again.lost(self, server, error)
            return self.run_again()
        self.second = None
        self.hub.server_lost(self, server, error)
        if not self.closed:
            self.resume()
            if self.kept:
                self.process_partial()
        return 0

    def run_again(self) -> int:
        """Begin the batch at hand again, as `second` says: nobody has heard anything of it yet."""
        self.again = -1
        self.batch.taken_back()
        self.statements.take_back()
        self.unread(self.second.batch)
        self.resume()
        return self.process_partial()

    def on_eof(self, why: str) -> int:
        """The client has gone without a word."""
        return self.leave()

    def __repr__(self) -> str:
        return f"C-{self.client_id} {self.info or ''}"
