"""A client connection: batches are routed and linked to a server, then all is forwarded until the server is free.

Not linked: frames are collected up to the end of a batch (Query, FunctionCall, Sync, Flush), the batch is routed as a
whole by the classes of its statements, and a server connection is taken or waited for. Linked: frames are forwarded as
they arrive, each entered in the server's `Outstanding`. At a sync point with nothing outstanding, outside a transaction
and with no session state left behind, the link ends (`on_ready`).

Everything else (login, the console, a session after the loss of its server) is a responder, which gets the bytes
instead until it ends.
"""

from __future__ import annotations

import logging
from itertools import count

import cython

from pgrouter.errors import RouterError
from pgrouter.net.poller import Poller
from pgrouter.net.send_buffer import SendBuffer
from pgrouter.pool.member import MemberPool
from pgrouter.protocol import messages
from pgrouter.protocol.framing import after_frames, copied, frontend_kind, impossible, length_at
from pgrouter.proxy import move, retry
from pgrouter.proxy.batch import Batch
from pgrouter.proxy.link import AHEAD, MAX_BATCH, Link, bad_frame
from pgrouter.routing.cache import LATER
from pgrouter.routing.statement import Effect, Reason
from pgrouter.server.connection import ServerConnection
from pgrouter.session.consistency import EVENTUAL, SESSION
from pgrouter.session.refusals import NO_SEQUENCES, OLD_PLAN_ROUTINE, REFUSALS
from pgrouter.session.timeouts import CANCELED, timed_out

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import (
        BIND,
        COPY,
        ENDS_BATCH,
        EXECUTE,
        FLUSH,
        FUNCTION_CALL,
        IDLE,
        LAST,
        MAX_SMALL_MESSAGE,
        PARSE,
        QUERY,
        SYNC,
        UNKNOWN,
    )
    from pgrouter.server.states import ON_LOSS, ON_REFUSAL, WAITING

log = logging.getLogger("pgrouter.client")

CODE = int(Effect.CODE)

OWN_WRITE = Reason.OWN_WRITE

MUCH = 4096  # bytes that may hold so many messages that other clients should have a turn in between
TO_ITS_END = -1  # the rest of the batch, which was too long to be examined whole
PART = 32  # messages that are processed at once

_ids = count(1)


class ClientConnection(Link):
    """A client's link and its session: who the client is, its settings, and what it waits for."""

    def __init__(self, poller: Poller, registry, mode: str) -> None:
        Link.__init__(self, poller, registry)
        self.routes = registry.routes
        self.mode = mode  # of its listener: split, primary or replica
        self.responder = None
        self.startup_profile = None
        self.waiting = False
        self.scanned = 0  # bytes already examined of a batch that is not complete or not classified yet
        self.judge = None  # the cache that has classified them
        self.works = False  # and whether the batch executes something
        self.parted = False  # what `on_data` gets is a part of what was received
        self.consistency = SESSION  # whose writes its reads must see
        self.must_see_lsn = 0  # and the WAL up to here
        self.stale = False  # not every replica has replayed what the current batch must see
        self.reported = {}  # ParameterStatus values of the session, kept if the startup packet had settings
        self.pin = None  # why the server is kept past the transaction
        self.pinned_at = 0.0  # and since when
        self.leftovers = 0  # Effect flags of the state it has there
        self.transaction = None  # its transaction on a replica, see `proxy.move`
        self.can_move = False  # if the replica refuses the batch, the primary can run it
        self.stays = 0  # bytes of the current batch that go to the replica without further checks; TO_ITS_END
        self.client_id = next(_ids)
        self.key = b""
        self.address = None  # host and port, from accept()
        self.info = None
        self.since = poller.now

    # -- bytes from the client

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Forward the bytes if linked; route and link the batch if not."""
        used: cython.Py_ssize_t
        if end - pos > MUCH and not self.parted and self.responder is None:
            return self.in_parts(buf, pos, end)
        while pos < end and not self.closed:
            if self.pending is not None and self.server is None:  # it does not read our answers
                self.pause()
                return pos
            if self.body_left and self.server is None:  # the rest of a message that is discarded
                used = self.swallow(pos, end)
            elif self.responder is not None:
                used = self.converse(buf, pos, end)
                if used == pos and self.responder is None:  # what the responder left is processed here
                    continue
            elif self.server is not None and not self.server.held and not self.stopped():
                if self.transaction is not None and self.may_move():
                    used = self.go_on(buf, pos, end)
                    if self.server is None:
                        pos = used
                        continue
                else:
                    self.scanned = 0
                    if self.parted:  # maybe a whole long batch that has just been linked
                        pos = self.forward(buf, pos, self.part(buf, pos, pos, end))
                    else:
                        pos = self.forward(buf, pos, end)
                    if self.server is not None:
                        return pos
                    continue
            elif self.waiting or self.server is not None:  # settings are being read back, or the server is fenced
                if end - pos > AHEAD:
                    self.pause()
                return pos
            else:
                used = self.begin(buf, pos, end)
                if self.server is not None or self.responder is not None:
                    continue
            if used == pos:
                return pos
            pos = used
        return end if self.closed else pos

    def in_parts(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Process what may be thousands of messages in parts; when this round's time is used up, the rest has to wait.

        A batch may span parts, and so may bytes that are not used yet because they wait for something.
        """
        part: cython.Py_ssize_t = pos
        self.parted = True
        while pos < end and not self.closed:
            part = self.part(buf, pos, part, end)
            before: cython.Py_ssize_t = pos
            pos = self.on_data(buf, pos, part)
            if self.put_aside:
                break
            if before < pos < part and self.server is not None:
                part = pos
            elif part == end:
                break
            elif self.waiting or (pos == before and self.server is not None and not self.scanned):
                if end - pos > AHEAD:
                    self.pause()
                break
            if self.poller.late():
                self.put_off()
                break
        self.parted = False
        return pos

    def part(self, buf, pos: cython.Py_ssize_t, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return where the next part of what begins at pos ends, if it has been examined up to `start`."""
        if start <= pos:
            start = pos + min(self.body_left, end - pos)
        return after_frames(buf, start, end, PART)

    def stopped(self) -> cython.bint:
        """Whether the linked server may not begin a transaction for now, and none is open."""
        return self.server.fenced and self.body_left == 0 and self.server.at_rest()

    def begin(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Find the end of the batch that begins at pos, and a server for it.

        Returns pos if a server was linked or is waited for, or if more bytes are needed; more if it was answered here.
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
        if self.scanned == 0:
            self.batch.begin()
        else:
            if self.judge is self.statements.cache:
                at += self.scanned
                needs_server = True
                works = self.works
            else:
                self.batch.begin()
            self.scanned = 0
        while True:
            if end - at < 5:
                return self.go_on_later(pos, at, works)
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
            if kind == COPY and at == pos:  # outside COPY: PostgreSQL ignores it too
                self.body_left = stop - pos
                return self.swallow(pos, end)
            if stop > end:
                if stop - pos <= MAX_BATCH:
                    self.need = stop - pos
                    return self.go_on_later(pos, at, works)
                self.batch.too_long()
                needs_server = True
                break
            if (code != SYNC and code != FLUSH) or length != 4:
                needs_server = True
                works = works or code == BIND or code == EXECUTE
                refusal = self.batch.examine(code, buf, at, stop)
                if refusal:
                    if refusal == LATER:
                        self.hold()
                        return self.go_on_later(pos, at, works)
                    if at == pos:  # nothing before it needs a server: it is answered here
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
        if self.batch.begins and self.batch.reads and self.batch.split_mode:
            self.transaction = move.begun(self, copied(buf, pos, at))
        self.take_server()
        if self.server is None:
            self.examined -= pos  # what waits will be at offset 0
        return pos

    def go_on_later(self, pos: cython.Py_ssize_t, at: cython.Py_ssize_t, works: cython.bint) -> cython.Py_ssize_t:
        """Store that the batch at pos was examined up to `at`: no frame is examined twice, however small the pieces."""
        self.scanned = at - pos
        self.works = works
        self.judge = self.statements.cache
        return pos

    def refused(self, refusal: cython.int, unnamed: cython.bint, pos: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Refuse the batch at pos, which begins with what the client may not send: a responder answers it."""
        self.batch.answered()
        if unnamed:  # as after any failed Parse
            self.statements.forget_unnamed()
        self.registry.refuse(self, REFUSALS[refusal])
        return pos

    def swallow(self, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Skip the rest of the current message; returns the new position."""
        length: cython.Py_ssize_t = min(self.body_left, end - pos)
        self.body_left -= length
        return pos + length

    def skip(self, size: cython.Py_ssize_t) -> int:
        """Discard the next `size` bytes from the client."""
        self.body_left = size
        return 0

    # -- links

    def choose(self) -> int:
        """Decide whether a replica may get the batch, and count it."""
        batch: Batch = self.batch
        self.stale = False
        if self.retry is not None:
            self.retry.route(self)
            fresh: cython.bint = self.group.readers.any_fresh(self.must_see_s(), self.must_see_lsn)
            self.stale = batch.reads and batch.split_mode and not fresh
        elif batch.reads and batch.split_mode and not self.group.standby:  # a standby cluster has no writes
            wrote_s: cython.double = self.wrote_s if self.consistency == SESSION else self.must_see_s()
            if not self.group.readers.all_fresh(wrote_s, self.must_see_lsn):
                self.stale = True
                if self.group.needs_primary(wrote_s, self.must_see_lsn):
                    return self.routes.add(OWN_WRITE, False)
        return self.routes.add(batch.reason, batch.reads)

    def must_see_s(self) -> cython.double:
        """Return the time up to which a read must see writes; -1: none."""
        if self.consistency == EVENTUAL:
            return -1.0
        return self.wrote_s if self.consistency == SESSION else max(self.wrote_s, self.group.writes.last_s)

    def take_server(self) -> int:
        """Link a free server, or wait for one."""
        server: ServerConnection
        if self.batch.needs_own_server():
            if self.retry is None or not self.retry.inside or self.has_own(self.last_write_server):
                return self.take_own()
            self.group.sequences = True  # its transaction goes on there: the server reports that it has no values
        if self.retry is not None:
            server = self.retry.take(self)
        elif self.stale:
            server = self.group.take_fresh(self.must_see_s(), self.must_see_lsn)
        elif self.group.sequences and self.last_write_server is not None and not self.may_read_anywhere():
            server = self.group.take_again(self.last_write_server)
        else:
            server = self.group.take(self.batch.reads)
        if server is None:
            self.waiting = True
            self.group.wait(self, self.batch.reads and not self.stale)
            return 0
        if server.session.custom is not None:
            server = self.unacquainted(server)
        if server is not None:
            self.link(server)
        else:
            self.waiting = True
        return 0

    def may_read_anywhere(self) -> cython.bint:
        """Whether a replica may get the current batch."""
        return self.batch.reads and self.batch.split_mode

    def unacquainted(self, server: ServerConnection) -> ServerConnection | None:
        """Return a server that has met no custom settings but ours: others would read as '' and not NULL; None: wait.

        If the batch sets all of these, any server will do.
        """
        strange = server.session.custom - self.profile.custom
        touched = self.batch.touched
        if not strange or self.pin is not None or (touched is not None and touched.covers(strange)):
            return server
        return self.group.exchange(server, self.profile.custom, self, self.batch.reads)

    def take_own(self) -> int:
        """Link the server that we wrote to last, or wait for it: only there currval and lastval are ours.

        When a client of the pool asks for the first time, its last write must have taken a value: servers discard them
        before they write for another client only from then on.
        """
        known: cython.bint = self.has_own(self.last_write_server)
        self.group.sequences = True
        if not known:
            self.registry.refuse(self, REFUSALS[NO_SEQUENCES])
            return 0
        server: ServerConnection = self.group.claim(self, self.last_write_server)
        if server is not None:
            self.link(server)
        else:
            self.waiting = True
        return 0

    def has_own(self, server: ServerConnection | None) -> cython.bint:
        """Whether the sequence values that this server remembers are ours."""
        if server is None or server.closed:
            return False
        return self.has_drawn(server) or (self.group.sequences and server.session.sequence_owner is self)

    def on_served(self, server: ServerConnection | None) -> int:
        """Called when a server is free for us: send it what waits."""
        if self.responder is not None:
            self.responder.served(server)
            return 0
        self.waiting = False
        if self.batch.needs_own_server() and not self.has_own(server):  # another client has written there meanwhile
            if self.retry is None or not self.retry.inside:
                self.group.give(server)
                return self.on_refused(REFUSALS[NO_SEQUENCES])
        if self.batch.reads and self.batch.split_mode and not self.is_fresh(server):  # its member was added meanwhile
            self.group.give(server)
            self.retry = None
            self.stale = True
            self.take_server()
            if self.server is None:
                return 0
        else:
            if server.session.custom is not None:
                server = self.unacquainted(server)
                if server is None:
                    self.waiting = True
                    return 0
            self.link(server)
        self.resume()
        return self.process_partial()

    def is_fresh(self, server: ServerConnection) -> cython.bint:
        """Whether a server has replayed what the current batch must see."""
        pool: MemberPool = server.owner
        return pool.is_fresh(self.must_see_s(), self.must_see_lsn)

    def on_refused(self, error: RouterError) -> int:
        """Called when there is no server for what waits."""
        self.waiting = False
        if self.responder is not None:
            self.responder.refused(error)
            return 0
        self.registry.refuse(self, error)
        self.retry = None
        self.resume()
        return self.process_partial()

    def on_ready(self) -> int:
        """Called when nothing is outstanding: end the link unless a transaction, a pin or half a message holds it."""
        server: ServerConnection = self.server
        if self.responder is not None:
            self.responder.ready(server)
            return 0
        if server.captured is not None and server.status == IDLE:
            self.registry.sync.heard(self, server)
            return 0
        self.asked = False
        self.discards = False
        if self.retry is not None:
            self.retry.answered(self)
            self.retry = None
        self.batch.answered()
        if server.status != IDLE:
            if self.on_replica and server.owner is not self.group.writer:
                move.answered(self, server)
        elif self.body_left == 0:
            self.transaction = None
            if self.batch.effects:
                self.registry.sync.sync_session(self, server)
                if server.outstanding.count:
                    return 0  # session state is being read back
            if self.pin is None:
                self.unlink()
            if self.group.draining:
                return self.registry.dismiss(self)
        return self.proceed()

    def end_link(self) -> int:
        """Release the server once nothing more is asked of it, unless a transaction or session state holds it."""
        if self.pin is None and self.server.status == IDLE and self.body_left == 0:
            self.unlink()
        return 0

    def take_up(self) -> int:
        """Process what the client has sent meanwhile."""
        return self.proceed()

    def proceed(self) -> int:
        """Do what `take_up` does, without a virtual call."""
        if not self.closed:
            self.read_on()
            if self.buffered:
                self.process_partial()
        return 0

    def on_drained(self) -> int:
        """Called when the client takes bytes again: its server may send, or we may answer."""
        if self.server is not None:
            return self.server.resume()
        return 0 if self.put_aside else self.turn()

    def turn(self) -> int:
        """Continue what was put off; what a responder has begun comes first."""
        self.put_aside = False
        if self.responder is not None:
            self.responder.go_on()
        if self.put_aside or self.closed:
            return 0
        self.resume()
        return self.process_partial()

    # -- events from the server

    def on_error(self, sqlstate: str, routine: str) -> cython.bint:
        """Retry the batch if a replica has refused it or a plan is too old."""
        if self.retry is not None:
            self.retry.failed(sqlstate)
        elif self.responder is None and (
            self.server.replay.size > 0 or (self.server.replay.size == 0 and self.server.held == WAITING)
        ):
            self.retry = retry.refused(self, self.server, sqlstate, routine)
            if self.retry is not None:
                return True
        if routine == OLD_PLAN_ROUTINE:
            self.statements.outdated()
        return False

    def on_let_go(self, server: ServerConnection) -> int:
        """Retry, without the server that has refused."""
        self.registry.let_go(self, server)
        return self.run_again()

    def on_words(self, error: bytes) -> bytes:
        """Return the error with the reason for a cancel, and with the client's names of its prepared statements."""
        if CANCELED in error and self.client_id in self.registry.timed_out:
            return messages.error_response(timed_out(self.group.settings.query_timeout_s))[5:]
        return self.statements.in_clients_words(error)

    def on_waiting(self) -> int:
        """Resume forwarding: the server cannot answer until it gets this."""
        if self.buffered:
            if self.server is not None and self.server.session.changed is not None:
                retry.renew_changed(self, bytes(self.partial[:MAX_BATCH]))
            self.resume()
            return self.process_partial()
        return 0

    def on_named(self, events: list) -> int:
        """Apply the results of Parse and Close of prepared statements."""
        return self.statements.on_parse_results(events)

    def on_changed(self, shared: object, known: bytes) -> cython.bint:
        """Handle a new description, after DDL: refuse what waits for it, run it on the primary, or stop sharing."""
        self.statements.outdated()
        if self.server.held == WAITING:
            self.retry = retry.changed(self, self.server)
            return self.retry is not None
        self.server.session.changed = None
        self.statements.part(shared, known)
        return False

    def on_unnamed(self, ident: object, known: bytes | None) -> cython.bint:
        """Store the description that the client gets; a different one is handled as for a named statement."""
        if self.statements.heard_unnamed(self.server, ident, known):
            self.statements.outdated()
            self.retry = retry.changed(self, self.server)
            return self.retry is not None
        return False

    def on_deallocated(self) -> int:
        """Forget what a DEALLOCATE or DISCARD ALL has deallocated."""
        if self.deallocating is not None:
            self.statements.deallocated(self.deallocating, self.server)
            self.deallocating = None
        return 0

    def on_parameter(self, body: bytes) -> bytes | None:
        """Return what the client gets for a ParameterStatus: the server does not know the startup values for RESET."""
        if self.responder is not None:
            return None
        if self.batch.touched is None and not self.discards:  # so code has set it, whatever the catalog says
            self.batch.effects |= CODE
        return self.registry.parameter(self, body) if self.startup_profile.values else None

    def on_notification(self, message: bytes) -> bytes:
        """Replace the server's pid with the one that the client got at login, which marks its own notifications.

        The two numbers are swapped: a server process whose pid happens to be the client's number is another session.
        """
        if self.server is None:
            return message
        pid = int.from_bytes(message[5:9], "big")
        other = {self.server.hello.pid: self.client_id, self.client_id: self.server.hello.pid}.get(pid)
        return message if other is None else message[:5] + other.to_bytes(4, "big") + message[9:]

    def before_ready(self) -> bytes:
        """Report settings that RESET has restored to the startup packet's values."""
        return self.registry.restored(self)

    # -- responders and ends

    def follow(self, profile, startup_profile) -> int:
        """Set the session's settings, and those that its RESET restores."""
        self.profile = profile
        self.startup_profile = startup_profile
        self.batch.has_startup = bool(startup_profile.values)
        return 0

    def settled(self) -> None:
        """Called when the transaction is over or lost: nothing of it, or of what was sent, is left to act on."""
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
        """Whether the client is between transactions, waits for nothing and has received all its answers."""
        server: ServerConnection = self.server
        if self.pending is not None:
            return False
        if server is None:
            return not self.waiting
        return server.status == IDLE and server.at_sync and server.outstanding.count == 0

    def converse(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Pass the bytes to the responder."""
        self.idle_at = self.poller.now
        return pos + self.responder.on_bytes(copied(buf, pos, end))

    def on_server_lost(self, error: RouterError) -> int:
        """Called when the server is gone: report what is lost; the session goes on if PostgreSQL's would."""
        server: ServerConnection = self.server
        self.server = None
        self.stays = 0
        self.idle_at = self.poller.now
        if self.batch.writes and not self.on_replica:
            self.note_write()
        if self.responder is not None and self.pin is None:
            self.responder.refused(error)
            return 0
        if self.pin is None and self.registry.sync.is_unsent(server):
            self.batch.taken_back()
            return self.take_up()
        if self.registry.sync.is_precaution(server):
            self.pin = None
            self.batch.settled()
            return self.take_up()
        if server.replay.size > 0 and server.replay.why & ON_LOSS and self.pin is None:
            self.retry = retry.lost(self, server, error)
            return self.run_again()
        self.retry = None
        self.registry.server_lost(self, server, error)
        if not self.closed:
            self.resume()
            if self.buffered:
                self.process_partial()
        return 0

    # -- transactions on a replica

    def may_move(self) -> cython.bint:
        """Whether a transaction is open on a replica, which the next batch may have to leave."""
        return self.server.status != IDLE and self.server.owner is not self.group.writer

    def go_on(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Forward the next batch of a transaction on a replica, if it may stay there; returns the new position.

        If there is no server afterwards, the transaction moves, and the batch begins again.
        """
        server: ServerConnection = self.server
        if self.stays > 0:
            return self.stay(buf, pos, end, self.stays)
        if self.stays < 0:
            return self.stay_to_its_end(buf, pos, end)
        if self.body_left:
            return self.forward(buf, pos, min(end, pos + self.body_left))
        if server.outstanding.copying:
            self.scanned = 0
            return self.forward(buf, pos, end)
        at: cython.Py_ssize_t = self.end_of_batch(buf, pos, end)
        if at == pos:
            return pos
        last: cython.Py_ssize_t = pos + self.scanned  # its last message, or an incomplete one
        self.scanned = 0
        if server.outstanding.skipping or at < 0:
            return self.forward(buf, pos, end if at < 0 else min(at, end))
        if server.outstanding.count:  # whether it may stay depends on the outstanding requests
            if end - pos > AHEAD:
                self.pause()
            return pos
        self.can_move = False
        server.replay.discard()
        size: cython.Py_ssize_t = at - pos
        whole: cython.bint = at <= end
        if not whole:
            at = end
            if end - last < 5 or frontend_kind(buf[last]) != ENDS_BATCH:
                size = TO_ITS_END
                if last > pos and not self.is_long(buf, last, end):
                    at, whole = last, True
        course: cython.int = move.course(self, copied(buf, pos, at), whole)
        if course == move.REFUSED:
            return self.refuse_batch(buf, pos, at)
        if course != move.STAYS:
            return pos
        if self.can_move:
            server.replay.begin(ON_REFUSAL)
        return self.stay(buf, pos, at, size)

    def is_long(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
        """Whether the incomplete message at pos is a Bind, whose beginning is enough, or is long itself."""
        return end - pos >= 5 and (buf[pos] == BIND or length_at(buf, pos + 1) > AHEAD)

    def stay(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, size: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Forward what may go to the replica, `size` bytes or TO_ITS_END: what has to wait is not checked again."""
        stop: cython.Py_ssize_t = end if size < 0 else min(end, pos + size)
        used: cython.Py_ssize_t = self.forward(buf, pos, stop)
        if self.server is None or self.transaction is None:
            self.stays = 0
        else:
            self.stays = size if size < 0 else size - (used - pos)
        return used

    def stay_to_its_end(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Forward more of a batch that was too long to be examined whole."""
        code: cython.int
        length: cython.Py_ssize_t
        at: cython.Py_ssize_t = pos + self.body_left
        while end - at >= 5:
            code = buf[at]
            length = length_at(buf, at + 1)
            if impossible(code, length):
                break  # `forward` reports it
            at += 1 + length
            if frontend_kind(code) == ENDS_BATCH:
                return self.stay(buf, pos, end, at - pos)
        return self.stay(buf, pos, end, TO_ITS_END)

    def end_of_batch(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return the end of the batch at pos: after `end` if it is too long to be kept, pos if more bytes are needed.

        -1: it begins with Terminate, COPY data or no message. The last message examined begins at pos + scanned.
        """
        code: cython.int
        kind: cython.int
        length: cython.Py_ssize_t
        at: cython.Py_ssize_t = pos
        if self.judge is None:
            at += self.scanned
        self.judge = None  # nothing is classified here
        while end - at >= 5:
            self.scanned = at - pos
            code = buf[at]
            length = length_at(buf, at + 1)
            kind = frontend_kind(code)
            if kind == LAST or kind == COPY or impossible(code, length):
                return at if at > pos else -1
            at += 1 + length
            if at > end:
                if at - pos > MAX_BATCH:
                    return at
                self.need = at - pos
                return pos
            if kind == ENDS_BATCH:
                return at
        self.scanned = at - pos
        return pos if end - pos <= MAX_BATCH else end + 1

    def refuse_batch(self, buf, pos: cython.Py_ssize_t, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Make the server fail in place of this batch."""
        code: cython.int = buf[pos]
        whole: cython.bint = code == QUERY or code == FUNCTION_CALL
        out: SendBuffer = self.poller.to_server
        out.reset(buf)
        self.refuse(QUERY if whole else PARSE, self.transaction.why, False, out)
        self.asked = True
        self.server.at_sync = False
        self.server.send_gathered(out)
        return at if whole else self.forward(buf, pos, at)

    def move(self, second) -> int:
        """Release the replica: the transaction begins again as `second` describes."""
        server: ServerConnection = self.server
        server.xact_s += self.poller.now - server.linked_at
        server.peer = None
        self.server = None
        self.transaction = None
        self.stays = 0
        self.retry = second
        self.batch.moved()
        self.registry.let_go(self, server)
        return 0

    def moved(self, batch: bytes):
        """Return the move for a batch refused by a replica inside a transaction; None if it cannot move."""
        return move.refused(self, batch) if self.can_move else None

    def run_again(self) -> int:
        """Start the current batch again, as `retry` describes: none of its answers has been passed on."""
        self.transaction = None
        self.can_move = False
        self.stays = 0
        if self.retry.inside:
            self.batch.moved()
        else:
            self.batch.taken_back()
        self.statements.take_back()
        self.unread(self.retry.batch)
        self.resume()
        return self.process_partial()

    def on_eof(self, why: str) -> int:
        """Called when the client has disconnected without Terminate."""
        return self.leave()

    def __repr__(self) -> str:
        return f"C-{self.client_id} {self.info or ''}"
