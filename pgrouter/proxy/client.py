"""A client connection: where its bytes go, by its state.

Not linked: frames are collected up to the end of a batch (Query, FunctionCall, Sync, Flush), the batch is routed as a
whole by the classes of its statements, and a server connection is taken or waited for. Linked: frames are forwarded as
they arrive, each entered in the server's `Outstanding`. At a sync point with nothing outstanding, outside a transaction
and with no session state left behind, the link ends (`answered`).

Everything else (login, the console, a session after the loss of its server) is a responder, which gets the bytes
instead until it ends. What servers and pools report comes by `proxy.client_peer`.
"""

from __future__ import annotations

import logging
from itertools import count

import cython

from pgrouter.errors import RouterError
from pgrouter.net.poller import Poller
from pgrouter.net.stream import Stream
from pgrouter.protocol import messages
from pgrouter.protocol.framing import after_frames, copied
from pgrouter.proxy import move
from pgrouter.proxy.dispatcher import Dispatcher
from pgrouter.proxy.error_counts import BY_ROUTER
from pgrouter.proxy.link import AHEAD, Link, bad_frame
from pgrouter.proxy.replica import ReplicaTransaction
from pgrouter.proxy.scanner import BatchScanner
from pgrouter.proxy.session import Session
from pgrouter.routing.statement import Effect
from pgrouter.server.connection import ServerConnection
from pgrouter.session.refusals import NO_SEQUENCES, REFUSALS

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import IDLE as NO_TRANSACTION
    from pgrouter.protocol.codes import PARSE, SYNC
    from pgrouter.proxy.client_states import BLOCKED, CONGESTED, IDLE, LINKED, RESPONDING, SKIPPING, WAITING
    from pgrouter.proxy.flags import ASKED, BEGINS
    from pgrouter.proxy.outcomes import EMPTY, MORE, READY, REFUSED, STRAY_COPY, TERMINATED, UNCLASSIFIED
    from pgrouter.server.states import DISCARDS

SEQUENCES = int(Effect.SEQUENCES)
MUCH = 4096  # bytes that may hold so many messages that other clients should have a turn in between
PART = 32  # messages that are processed at once

_ids = count(1)


class ClientConnection(Stream):
    """A client's stream: who the client is, and the parts that handle its bytes."""

    def __init__(self, poller: Poller, registry, mode: str) -> None:
        Stream.__init__(self, poller)
        self.registry = registry
        self.mode = mode  # of its listener: split, primary or replica
        self.session = Session()
        self.peer = registry.peer_of(self)
        self.link = Link(self, self.peer, registry, self.session)
        self.scanner = BatchScanner(self.link.batch)
        self.dispatcher = Dispatcher(self.link, registry.routes)
        self.replica = None  # the transaction on a replica, if one is open
        self.responder = None
        self.waiting = False  # a batch waits for a server
        self.client_id = next(_ids)
        self.key = b""
        self.address = None  # host and port, from accept()
        self.info = None
        self.since = poller.now

    def __repr__(self) -> str:
        return f"C-{self.client_id} {self.info or ''}"

    @property
    def state(self) -> int:
        """Where the next bytes go, see `proxy.client_states`."""
        return self.where()

    def where(self) -> cython.int:
        """Return the state. Without locals, as in all that each batch passes: each would cost a reference."""
        if self.link.server is None:
            if self.pending is not None:
                return CONGESTED
            if self.link.body_left:
                return SKIPPING
            if self.responder is not None:
                return RESPONDING
            return WAITING if self.waiting else IDLE
        if self.responder is not None:
            return RESPONDING
        if self.link.server.input_state or (
            self.link.server.fenced and self.link.body_left == 0 and self.link.server.at_rest()
        ):
            return BLOCKED
        return LINKED

    @property
    def idle(self) -> bool:
        """Whether the client is between transactions, waits for nothing and has received all its answers."""
        server: ServerConnection = self.link.server
        if self.pending is not None:
            return False
        if server is None:
            return not self.waiting
        return server.status == NO_TRANSACTION and server.at_sync and server.outstanding.count == 0

    # -- bytes from the client

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Forward the bytes if linked; route and link the batch if not."""
        if end - pos > MUCH and self.responder is None:
            return self.in_parts(buf, pos, end)
        return self.process(buf, pos, end, False)

    def process(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, parted: cython.bint) -> cython.Py_ssize_t:
        """Process bytes by the client's state; `parted`: more has been received. Returns how far it got."""
        used: cython.Py_ssize_t
        state: cython.int
        replica: ReplicaTransaction
        while pos < end and not self.closed:
            state = self.where()
            if state == LINKED:
                if self.replica is not None and self.replica.is_open():
                    replica = self.replica  # a reference of its own: it may end, and be forgotten, in this call
                    used = replica.go_on(buf, pos, end)
                    if self.link.server is None:
                        pos = used
                        continue
                else:
                    # parted: it may be a whole long batch that has just been linked
                    pos = self.link.forward(buf, pos, self.part(buf, pos, pos, end) if parted else end)
                    if self.link.server is not None:
                        return pos
                    continue
            elif state == IDLE:
                used = self.begin(buf, pos, end)
                if self.link.server is not None or self.responder is not None:
                    continue
            elif state == RESPONDING:
                self.link.idle_at = self.poller.now
                used = pos + self.responder.on_bytes(copied(buf, pos, end))
                if used == pos and self.responder is None:  # what the responder left is processed here
                    continue
            elif state == SKIPPING:
                used = self.swallow(pos, end)
            else:
                if state == CONGESTED or end - pos > AHEAD:
                    self.pause()
                return pos
            if used == pos:
                return pos
            pos = used
        return end if self.closed else pos

    def in_parts(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Process what may be thousands of messages in parts; when this round's time is used up, the rest has to wait.

        A batch may span parts, and so may bytes that are not used yet because they wait for something.
        """
        part: cython.Py_ssize_t = pos
        before: cython.Py_ssize_t
        while pos < end and not self.closed:
            part = self.part(buf, pos, part, end)
            before = pos
            pos = self.process(buf, pos, part, True)
            if self.put_aside:
                break
            if before < pos < part and self.link.server is not None:
                part = pos
            elif part == end:
                break
            elif self.waiting or (pos == before and self.link.server is not None and not self.wants_more()):
                if end - pos > AHEAD:
                    self.pause()
                break
            if self.poller.late():
                self.put_off()
                break
        return pos

    def part(self, buf, pos: cython.Py_ssize_t, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return where the next part of what begins at pos ends, if it has been examined up to `start`."""
        if start <= pos:
            start = pos + min(self.link.body_left, end - pos)
        return after_frames(buf, start, end, PART)

    def wants_more(self) -> cython.bint:
        """Whether a part of a batch has been examined, and the rest is to come."""
        return self.scanner.scanned != 0 or (self.replica is not None and self.replica.scanned != 0)

    def begin(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Find the end of the batch that begins at pos, and a server for it.

        Returns pos if a server was linked or is waited for, or if more bytes are needed; more if it was answered here.
        """
        outcome: cython.int = self.scanner.scan(buf, pos, end)
        if outcome == READY:
            self.dispatch(buf, pos, self.scanner.at)
            return pos
        return self.unready(outcome, buf, pos, end)

    def unready(self, outcome: cython.int, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Do what the scanner has found instead of a batch that needs a server; returns the new position."""
        scanner: BatchScanner = self.scanner
        if outcome == MORE:
            self.need = scanner.need
        elif outcome == EMPTY:
            self.link.idle_at = self.poller.now
            if scanner.code == SYNC:
                self.send_bytes(messages.READY_IDLE)
            return scanner.at
        elif outcome == UNCLASSIFIED:
            self.link.hold()
        elif outcome == REFUSED:
            return self.refuse(scanner.refusal, scanner.code == PARSE and buf[pos + 5] == 0, pos)
        elif outcome == STRAY_COPY:
            self.link.body_left = scanner.at - pos
            return self.swallow(pos, end)
        elif outcome == TERMINATED:
            self.leave()
            return end
        else:
            self.violation(bad_frame(scanner.code, scanner.at - pos - 1))
            return end
        return pos

    def dispatch(self, buf, pos: cython.Py_ssize_t, at: cython.Py_ssize_t) -> int:
        """Find a server for the batch buf[pos:at]."""
        self.dispatcher.choose()
        if self.link.batch.sent & BEGINS and self.link.batch.may_use_replica():
            self.replica = ReplicaTransaction(self.link, move.begun(self.link, copied(buf, pos, at)))
        self.link.examined = at
        if self.link.batch.effects & SEQUENCES and self.dispatcher.lacks_own_server():
            self.session.pool.sequences = True
            self.registry.refuse(self, REFUSALS[NO_SEQUENCES])
        else:
            server: ServerConnection = self.dispatcher.take()
            if server is not None:
                return self.link.begin(server)
            self.waiting = True
        self.link.examined -= pos  # what waits will be at offset 0
        return 0

    def refuse(self, refusal: cython.int, unnamed: cython.bint, pos: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Refuse the batch at pos, which begins with what the client may not send: a responder answers it."""
        self.link.batch.answered()
        if unnamed:  # as after any failed Parse
            self.session.statements.forget_unnamed()
        self.registry.refuse(self, REFUSALS[refusal])
        return pos

    def swallow(self, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Skip the rest of the current message; returns the new position."""
        length: cython.Py_ssize_t = min(self.link.body_left, end - pos)
        self.link.body_left -= length
        return pos + length

    def skip(self, size: cython.Py_ssize_t) -> int:
        """Discard the next `size` bytes from the client."""
        self.link.body_left = size
        return 0

    # -- what leaves a state

    def answered(self) -> int:
        """Called when nothing is outstanding: end the link unless a transaction, a pin or half a message holds it."""
        self.link.requester.sent &= ~ASKED
        if self.link.retry is not None:
            self.link.retry.answered(self)
            self.link.retry = None
        self.link.batch.sent = 0
        self.peer.watches &= ~DISCARDS
        if self.link.server.status != NO_TRANSACTION:
            self.inside_transaction(self.link.server)
        elif self.link.body_left == 0:
            self.replica = None
            if self.link.batch.effects:
                self.registry.sync.sync_session(self, self.link.server)
                if self.link.server.outstanding.count:
                    return 0  # session state is being read back
            if self.session.pin is None:
                self.link.release()
            if self.session.pool.draining:
                return self.registry.dismiss(self)
        if not self.closed:  # as `proceed`, without the call
            self.read_on()
            if self.buffered:
                self.process_partial()
        return 0

    def inside_transaction(self, server: ServerConnection) -> int:
        """Called when a batch has been answered, and a transaction is open."""
        if self.link.on_replica and server.owner is not self.session.pool.writer:
            if self.replica is None:  # it began without a record of its statements
                self.replica = ReplicaTransaction(self.link, move.Transaction(None))
            else:
                self.replica.answered(server)
        return 0

    def end_link(self) -> int:
        """Release the server once nothing more is asked of it, unless a transaction or session state holds it."""
        link: Link = self.link
        if self.session.pin is None and link.server.status == NO_TRANSACTION and link.body_left == 0:
            link.release()
        return 0

    def proceed(self) -> int:
        """Process what the client has sent meanwhile."""
        if not self.closed:
            self.read_on()
            if self.buffered:
                self.process_partial()
        return 0

    def run_again(self) -> int:
        """Start the current batch again, as `link.retry` describes: none of its answers has been passed on."""
        link: Link = self.link
        self.replica = None
        if link.retry.inside:
            link.batch.moved()
        else:
            link.batch.taken_back()
        self.session.statements.take_back()
        self.unread(link.retry.batch)
        self.resume()
        return self.process_partial()

    def on_drained(self) -> int:
        """Called when the client takes bytes again: its server may send, or we may answer."""
        if self.link.server is not None:
            return self.link.server.resume()
        return 0 if self.put_aside else self.turn()

    def turn(self) -> int:
        """Continue what was put off; what a responder has begun comes first. A closed client is dismantled."""
        self.put_aside = False
        if self.closed:
            return self.dismantle()
        if self.responder is not None:
            self.responder.go_on()
        if self.put_aside or self.closed:
            return 0
        self.resume()
        return self.process_partial()

    # -- the session

    def follow(self, profile, startup_profile) -> int:
        """Set the session's settings, and those that its RESET restores."""
        self.session.profile = profile
        self.session.startup_profile = startup_profile
        return self.link.batch.begin_session(bool(startup_profile.values))

    def settled(self) -> int:
        """Called when the transaction is over or lost: nothing of it, or of what was sent, is left to act on."""
        self.link.batch.answered()
        return self.link.batch.settled()

    # -- ends

    def send_bytes(self, data: bytes) -> int:
        """Send bytes of our own, but never inside a message: a client that has got a part of one is disconnected."""
        if self.closed:
            return -1
        if self.peer.mid_frame:
            self.leave()
            return -1
        return Stream.send_bytes(self, data)

    def violation(self, error: RouterError) -> int:
        """Send an error to the client, and close the connection."""
        self.send_bytes(messages.error_response(error))
        self.registry.errors.add(BY_ROUTER, error.sqlstate)
        self.registry.log(self, logging.INFO, "%s", error.message)
        return self.leave()

    def leave(self) -> int:
        """Called when the client leaves: close, and have the server cleaned up."""
        if self.closed:
            return 0
        self.close()
        self.registry.left(self, self.link.server)
        self.poller.put_off(self)  # for `dismantle`, when nothing uses its parts any more
        return 0

    def dismantle(self) -> int:
        """Forget the parts, which refer to each other: so they are freed now, and not by the cycle collector.

        Called in the round after the end, and when nothing can call a part any more: None has no fields in C.
        """
        self.responder = None
        self.replica = None
        self.dispatcher = None
        self.scanner = None
        self.link = None
        self.peer = None
        return 0

    def on_secured(self) -> int:
        """Called when TLS is established, which only a login begins."""
        return self.responder.secured() if self.responder is not None else 0

    def on_eof(self, why: str) -> int:
        """Called when the client has disconnected without Terminate."""
        if self.responder is not None:
            self.responder.lost(why)
        return self.leave()
