"""The link between a client and its server: every frame is forwarded as it arrives and entered as outstanding.

A link begins at the first message of a transaction (`begin`) and ends at a sync point with nothing outstanding
(`release`); `proxy.client` decides when. Meanwhile frames pass with one send per chunk; `proxy.requester` decides what
is entered for each, and what the server gets before it or in its place.
"""

from __future__ import annotations

import cython

from pgrouter.errors import ProtocolViolation, RouterError
from pgrouter.net.send_buffer import SendBuffer
from pgrouter.net.stream import Stream
from pgrouter.protocol.framing import frontend_kind, impossible
from pgrouter.proxy.batch import Batch
from pgrouter.proxy.requester import Requester
from pgrouter.proxy.session import Session
from pgrouter.proxy.statements import ClientStatements
from pgrouter.routing.cache import LATER
from pgrouter.server.connection import ServerConnection
from pgrouter.server.peer import Peer

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import (
        BIND,
        CLOSE,
        COPY,
        COPY_DATA,
        FAILED_TRANSACTION,
        FLUSH,
        FUNCTION_CALL,
        IDLE,
        IN_TRANSACTION,
        PARSE,
        QUERY,
        SYNC,
        TERMINATE,
        UNKNOWN,
    )
    from pgrouter.protocol.requests import FORWARD
    from pgrouter.protocol.requests import FUNCTION as R_FUNCTION
    from pgrouter.protocol.requests import QUERY as R_QUERY
    from pgrouter.proxy.flags import ASKED, BEGINS, ENDS, HAS_STARTUP, OPEN, REPEATABLE, SPLIT, TO_DISCARD
    from pgrouter.routing.flags import DRAWS, READS, WRITES
    from pgrouter.server.states import ON_LOSS, ON_REFUSAL, RESETS

# A batch is kept whole up to this size; a larger one goes to the primary and streams.
MAX_BATCH = 1024 * 1024
# What is kept for a retry: one batch, maybe with what came after its Flush.
MAX_AGAIN = 2 * MAX_BATCH
# A named Parse is shared between clients, so it is kept whole; nobody needs larger ones.
MAX_NAMED = 64 * 1024 * 1024
# A client that has to wait may send this much ahead before it is no longer read from.
AHEAD = 64 * 1024


class Link:
    """A client's link to its server, if it has one; made once for each client."""

    def __init__(self, client: Stream, peer: Peer, registry, session: Session) -> None:
        self.client = client
        self.peer = peer
        self.registry = registry
        self.session = session
        self.batch = Batch(session.statements, peer)
        self.requester = Requester(registry, session, self.batch)
        self.server = None
        self.retry = None  # the retry of the current batch, see `proxy.retry`
        self.on_replica = False  # linked to a replica, while other statements may have to go to the primary
        self.body_left = 0  # bytes still to come of a streamed frame
        self.examined = 0  # frames before this offset have been accounted for
        self.idle_at = client.poller.now  # it has had no server and sent nothing since
        self.terminated = False  # the client has sent Terminate

    def begin(self, server: ServerConnection) -> int:
        """Link this server until the transaction ends."""
        self.server = server
        primary: cython.bint = server.owner is self.session.pool.writer
        self.on_replica = self.batch.decided & READS and self.batch.traits & SPLIT and not (
            primary and self.batch.sent & BEGINS  # later it may do more than read
        )  # fmt: skip
        # Only a batch routed to a replica, and running on one, cannot have changed anything; a batch that only reads is
        # assumed not to have on the primary either, if that is lost. One retry only: the batch may be the cause.
        if self.retry is None:
            if self.on_replica and not primary:
                server.replay.begin(ON_LOSS | ON_REFUSAL)
            elif self.batch.decided & REPEATABLE:
                server.replay.begin(ON_LOSS)
            elif self.session.statements.prepares():
                server.replay.begin(0)  # a plan may turn out to be too old, before anything has been executed
            else:
                server.replay.discard()
        else:
            server.replay.discard()
        self.requester.begin(server, self.on_replica)
        server.peer = self.peer
        if server.session.stands_for is not None:
            server.session.stands_for = None
        server.xacts += 1
        server.linked_at = self.client.poller.now
        return 0

    def release(self) -> int:
        """Release a server that is at a sync point with nothing outstanding."""
        server: ServerConnection = self.server
        self.server = None
        server.peer = None
        self.idle_at = self.client.poller.now
        server.xact_s += self.idle_at - server.linked_at
        self.batch.effects = 0
        if self.batch.defers:
            self.requester.deferred.forget(server)
        if not self.on_replica:
            self.session.last_write_server = server
            server.session.sequence_owner = self.session
            server.session.sequences_used = self.batch.decided & DRAWS
            if self.batch.decided & WRITES:
                self.note_write()
        self.session.pool.release(server)
        return 0

    def note_write(self) -> int:
        """Record a write that was answered, or that may be committed without an answer: later reads must see it."""
        return self.session.note_write(self.client.poller.update_clock())

    def detach(self) -> ServerConnection:
        """Let go of the server without releasing it: it may still have to answer. Returns it."""
        server: ServerConnection = self.server
        self.server = None
        server.peer = None
        server.xact_s += self.client.poller.now - server.linked_at
        return server

    @property
    def streams(self) -> bool:
        """Whether a message of the client has been sent to its server only in part."""
        return self.body_left > 0

    # -- forwarding

    def forward(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Send the frames of buf[pos:end] to the linked server, entered as outstanding; returns the new position."""
        code: cython.int
        high: cython.uint
        length: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        done: cython.int
        start: cython.Py_ssize_t = pos
        server: ServerConnection = self.server
        requester: Requester = self.requester
        out: SendBuffer = self.client.poller.to_server
        out.reset(buf)
        if server.outstanding.count == 0:
            server.asked_at = self.client.poller.now
            if server.at_sync:
                self.session.statements.at_rest()
                if server.status == IDLE:
                    server.xact_at = server.asked_at
        if server.session.profile is not self.session.profile and not requester.apply_profile(server, out):
            self.examined = max(0, self.examined - pos)  # what waits will be at offset 0
            self.registry.sync.apply(self.client, server)
            return pos
        if requester.sequences == TO_DISCARD:
            requester.discard_sequences(server, out)
        if self.retry is not None:
            self.retry.begin(self, out)
        if self.peer.watches & RESETS and not requester.sent & OPEN and (
            server.status == IN_TRANSACTION or self.retry is not None
        ):  # fmt: skip
            self.registry.sync.return_to_startup(self.client, server, out)
        if self.body_left:
            length = min(self.body_left, end - pos)
            out.add(pos, pos + length)
            self.body_left -= length
            pos += length
            if self.body_left == 0 and server.outstanding.count == 0 and server.at_sync:
                server.send_gathered(out)  # the rest of a CopyData, which held the link after its COPY had failed
                self.peer.on_ready()
                if self.server is not server or server.input_state:
                    return pos
                out.reset(buf)
        while end - pos >= 5:
            code = buf[pos]
            high = buf[pos + 1]  # as `length_at` does, without the call
            length = high << 24 | buf[pos + 2] << 16 | buf[pos + 3] << 8 | buf[pos + 4]
            stop = pos + 1 + length
            if impossible(code, length):
                self.violation(bad_frame(code, length))
                return end
            if code == TERMINATE:
                self.terminated = True
                if server.outstanding.count and not requester.sent & OPEN and not server.outstanding.copying:
                    break  # the answers come first
                server.send_gathered(out)
                server.at_sync = server.at_sync and server.outstanding.count == 0
                self.close_client()
                return end
            if stop > end and end - pos == 5:
                break  # `must_hold` needs the first byte of a Parse
            if requester.sent == ASKED and server.outstanding.count and self.must_hold(code, buf, pos):
                if end - pos > AHEAD:
                    self.client.pause()
                break
            if stop > end:
                if code != COPY_DATA and stop - pos <= MAX_BATCH:
                    self.client.need = stop - pos
                elif self.stream_body(code, buf, pos, stop, end, out):
                    pos = end
                elif self.client.closed:
                    return end
                break
            if pos >= self.examined and code != SYNC and code != FLUSH and code != COPY_DATA:
                if self.look_at(code, buf, pos, stop):
                    self.hold()
                    break
            done = requester.request(server, code, buf, pos, stop, out)
            if done:
                pos = stop
                requester.sent |= ASKED
            if done != 1:  # the server has to answer something first
                break
        self.examined = self.examined - pos if self.examined > pos else 0
        if server.outstanding.count:
            server.at_sync = False  # until ReadyForQuery: an open batch may be an open (implicit) transaction
        if out.length() and server.send_gathered(out) == 1:
            self.client.pause()  # until the server has drained
        if server.replay.size >= 0:
            self.remember(buf, start, pos)
        if server.outstanding.fakes and (server.replay.size < 0 or requester.sent & OPEN):
            server.flush_fakes()
        return pos

    def remember(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Keep what was sent, in case another server has to get it; not if the transaction may do more than read."""
        server: ServerConnection = self.server
        size: cython.Py_ssize_t = server.replay.size + end - start
        if self.body_left or size > MAX_AGAIN or (
            self.batch.sent & BEGINS and not self.batch.decided & REPEATABLE
        ):  # fmt: skip
            return server.replay.discard()
        return server.replay.record(buf, start, end)

    def violation(self, error: RouterError) -> int:
        """Send an error to the client, and close its connection."""
        return cython.cast(object, self.client).violation(error)

    def close_client(self) -> int:
        """Close the client's connection, which it has ended itself."""
        return cython.cast(object, self.client).leave()

    def look_at(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Account for what one frame may leave behind. Returns LATER if its class is not known yet, else 0."""
        effects: cython.int = self.batch.effects
        if self.batch.examine(code, buf, pos, stop) == LATER:
            return LATER
        if self.server.status == FAILED_TRANSACTION and not self.server.executed and not self.batch.goes_on():
            self.batch.effects = effects  # it will be refused, whatever it does
        if self.server.replay.why == ON_LOSS and not self.batch.decided & REPEATABLE:
            self.server.replay.why = 0
        return 0

    def hold(self) -> int:
        """Wait for the class of the current statement: for a round that has time, or for the reader process."""
        client: Stream = self.client
        if not client.put_aside:
            text: bytes = self.session.statements.cache.wanted
            if text is None:
                return client.put_off()
            client.put_aside = True
            client.pause()
            self.registry.databases.reader.read(self.session.statements.cache, bytes(text), client)
        return 0

    def must_hold(self, code: cython.int, buf, pos: cython.Py_ssize_t) -> cython.bint:
        """Whether the batch that begins here must wait until the server has answered all before it.

        A replica was chosen for the current transaction only; the next one may write. The same goes for a server that
        must not be written to now. Only the answers show what a name stands for that was parsed or closed before, and
        whether a transaction has failed where the router answers a Parse or Close by itself.
        """
        server: ServerConnection = self.server
        batch: Batch = self.batch
        statements: ClientStatements = self.session.statements
        watches: cython.int = self.peer.watches
        if server.outstanding.copying or frontend_kind(code) == COPY:
            return False  # for the running COPY; otherwise the server ignores it
        if server.status == IDLE:
            if batch.traits & HAS_STARTUP and batch.touched is not None:
                return True  # RESET restores the startup packet's values: settings must be settled around it
            if watches:
                return True
        elif watches & RESETS:
            return True  # the values that it restores are sent after it
        if (self.on_replica or server.fenced) and (server.status == IDLE or batch.sent & ENDS):
            return True
        if statements.may_come_back() or (code != QUERY and len(statements.pending_parses) > 0):
            return True
        return (code == CLOSE or (code == PARSE and buf[pos + 5] != 0)) and (
            server.status != IDLE or batch.sent & BEGINS
        )

    def stream_body(
        self,
        code: cython.int,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        out: SendBuffer,
    ) -> int:
        """Start to forward a frame that is too large to be kept (it ends at `stop`, and has arrived up to `end`).

        What a huge Query does is unknown: its session keeps its server. A named Parse is kept whole, as it is shared;
        a Bind is started when its names have arrived. Returns 0 if more bytes must arrive first.
        """
        server: ServerConnection = self.server
        statements: ClientStatements = self.session.statements
        server.executed = True
        self.requester.sent |= ASKED
        if code == QUERY or code == FUNCTION_CALL:
            if code == QUERY:
                server.session.unnamed = None
                server.outstanding.push(R_QUERY, FORWARD, statements.define_unnamed(None))
            else:
                server.outstanding.push(R_FUNCTION, FORWARD)
            self.batch.unseen()
            out.add(pos, end)
        elif code == PARSE:
            if buf[pos + 5] != 0:
                if stop - pos > MAX_NAMED:
                    self.violation(_too_large(stop - pos))
                self.client.need = stop - pos
                return 0
            self.batch.unseen()
            statements.parse_unseen(server)
            out.add(pos, end)
        elif code == BIND:
            if not statements.bind(server, buf, pos, stop, end, out):
                return 0
            self.look_at(code, buf, pos, end)  # its names have arrived, and no more is needed
            if self.batch.defers:
                self.requester.deferred.follow(code, buf, pos, end)
        else:
            out.add(pos, end)
        self.body_left = stop - end
        return 1


def _too_large(size: int) -> RouterError:
    return RouterError(
        f"a prepared statement of {size} bytes is too large", sqlstate="54000", severity="FATAL",
        detail=f"Named statements are limited to {MAX_NAMED} bytes; the unnamed statement is not.",
    )  # fmt: skip


def bad_frame(code: int, length: int) -> ProtocolViolation:
    """Return the error for an invalid frame header."""
    if frontend_kind(code) == UNKNOWN:
        return ProtocolViolation(f"invalid frontend message type {code}")
    return ProtocolViolation(f"invalid message length {length} in message of type {chr(code)!r}")
