"""A connection to one PostgreSQL server, and the forwarding of its answers to the client that it is linked to.

Only the header of each frame is examined: rows and copied data stream through, also in pieces, and everything from one
recv goes out with one send. `Outstanding` decides which request a message answers, and whether the client gets it. At a
sync point with nothing outstanding the peer is called (`on_ready`) and ends the link.

A server's last FATAL is not forwarded: the client's own connection lives on, and `on_server_lost` reports the loss to
it in an error of our own.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import cython

from pgrouter.errors import ServerLost
from pgrouter.net.poller import Poller
from pgrouter.net.send_buffer import SendBuffer
from pgrouter.net.stream import Stream
from pgrouter.protocol import messages
from pgrouter.protocol.framing import copied
from pgrouter.protocol.outstanding import Outstanding
from pgrouter.server.login import WHOLE, ServerLogin
from pgrouter.server.replay import ReplayBuffer
from pgrouter.server.session import ServerSession
from pgrouter.server.states import STATE_NAMES
from pgrouter.session.prepared import PREFIX
from pgrouter.session.refusals import ANSWERS
from pgrouter.session.timeouts import CANCELED

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import (
        COMMAND_COMPLETE,
        COPY_DATA,
        DATA_ROW,
        ERROR_RESPONSE,
        IDLE,
        MAX_MESSAGE,
        NO_DATA,
        NOTICE_RESPONSE,
        NOTIFICATION_RESPONSE,
        PARAMETER_DESCRIPTION,
        PARAMETER_STATUS,
        READY_FOR_QUERY,
        ROW_DESCRIPTION,
    )
    from pgrouter.protocol.requests import (
        CHECK,
        CHECK_UNNAMED,
        FAKE,
        FORWARD,
        LATER,
        PARSE_NAMED,
        QUERY,
        SKIP,
        SYNC,
    )
    from pgrouter.server.states import (
        AWAITS_ANSWERS,
        DIALLING,
        DISCARDS,
        FORWARDING,
        LOGGING_IN,
        ON_LOSS,
        RESETS,
        RESETTING,
        ROUTER_ASKS,
    )

if TYPE_CHECKING:
    from pgrouter.errors import RouterError
    from pgrouter.server.peer import Peer

_ids = count(1)

# A notice with one of these ends the server, too: another backend's crash, immediate shutdown (postgres.c quickdie())
LAST_WORDS = ("57P01", "57P02")

# Messages of an answer to the router, and bytes of one of them: it asks for settings, which may be long values of a
# client; bytes of a description (1,600 columns: 150 kB)
MOST_CAPTURED = 20_000
LONGEST_CAPTURED = 16 * 1024 * 1024
MOST_DESCRIBED = 4 * 1024 * 1024

DISCARDED = b"DISCARD ALL\0"  # its tag in CommandComplete
DEALLOCATED = b"DEALLOCATE"  # with or without ALL

# True of the server but not of the cluster: for a client of the router it is never on a standby.
HIDDEN_PARAMETERS = frozenset({"in_hot_standby"})


class ServerConnection(Stream):
    """A stream to PostgreSQL for its whole life: it connects, logs in, forwards answers, and reports how it was lost.

    Its owner is called each time: `move` when it is connected, `server_ready` when it is logged in, `server_closed`.
    """

    def __init__(self, poller: Poller, owner, login, attempt=None) -> None:
        Stream.__init__(self, poller)
        self.owner = owner  # a MemberPool
        self.login = ServerLogin(self, login, attempt)  # None once it is over
        self.state = DIALLING
        self.hello = None  # what the server reported at login
        self.last_error = None  # fields of the FATAL before the connection closed
        self.created_at = poller.now
        self.connection_id = next(_ids)
        self.outstanding = Outstanding()
        self.peer = None
        self.session = ServerSession()
        self.replay = ReplayBuffer()
        self.detached_peer = None  # the peer until a refusal in this chunk, see `Peer.on_error`
        self.status = IDLE
        self.body_left = 0  # bytes of a frame that is being streamed
        self.body_forward = False
        self.at_sync = True  # the last request was answered with ReadyForQuery
        self.executed = False  # since then something was bound or executed: a transaction may be open
        self.input_state = FORWARDING  # whether its client's next message is forwarded, see `states`
        self.fenced = False  # no transaction may start here: its member was the primary, is not now, may be again
        self.next_idle = None  # the next idle one in the stack, used before this one, see `pool.member`
        self.close_when_idle = False  # to be closed when it becomes idle
        self.cancels = 0  # cancel requests in flight: they must not hit the next client's query
        self.captured = None  # a list for (code, body) of skipped answers, if they are wanted
        self.used_at = poller.now
        self.xacts = 0
        self.queries = 0
        self.xact_s = 0.0  # time linked to clients
        self.query_s = 0.0  # time with outstanding answers
        self.linked_at = 0.0
        self.asked_at = 0.0
        self.xact_at = 0.0  # when the current transaction started

    def __repr__(self) -> str:
        return f"<S-{self.connection_id} {self.owner} {STATE_NAMES[self.state]}>"

    # -- login

    def on_connected(self) -> int:
        """Start the login."""
        self.owner.move(self, LOGGING_IN)
        login: ServerLogin = self.login
        return login.go_on(None)

    def on_secured(self) -> int:
        """Continue the login under TLS."""
        login: ServerLogin = self.login
        return login.go_on(None)

    def on_unreachable(self, why: str) -> int:
        """Called when the server cannot be reached."""
        return self.lose(ServerLost(f"could not connect to server: {why}"))

    def logged_in(self, hello) -> int:
        """Called when the login is over: the connection joins its pool."""
        self.hello = hello
        self.login = None
        self.owner.server_ready(self)
        return 0

    # -- the data path

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Process what the server sent, and forward it with one send."""
        out: SendBuffer = self.poller.to_client
        if self.login is not None:
            login: ServerLogin = self.login  # a reference of its own: it ends, and is forgotten, in this call
            return login.feed(buf, pos, end)
        out.reset(buf)
        pos = self.process_frames(buf, pos, end, out)
        if self.closed:
            pos = end
        else:
            self.end_chunk(out)
        if self.detached_peer is not None:
            peer: Peer = self.detached_peer
            self.detached_peer = None
            peer.on_let_go(self)
        return pos

    def process_frames(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, out: SendBuffer) -> cython.Py_ssize_t:
        """Walk over the frames in buf[pos:end]; return the offset of the first that needs more bytes."""
        code: cython.int
        action: cython.int
        length: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        if self.body_left:
            length = min(self.body_left, end - pos)
            if self.body_forward:
                out.add(pos, pos + length)
            self.body_left -= length
            pos += length
        if self.outstanding.fakes and self.body_left == 0:
            self.fakes(out)
        while end - pos >= 5:
            code = buf[pos]
            length = buf[pos + 1] << 24 | buf[pos + 2] << 16 | buf[pos + 3] << 8 | buf[pos + 4]  # over 2 GiB: negative
            stop = pos + 1 + length
            if length < 4 or length > MAX_MESSAGE:
                return self.break_off(out, "the server sent an impossible message length", "08P01")
            if code == DATA_ROW or code == COPY_DATA:
                action = self.outstanding.answer(code)
                if action == FORWARD:  # further messages of the same type belong to the same answer and change nothing
                    while end - stop >= 5 and buf[stop] == code:
                        length = buf[stop + 1] << 24 | buf[stop + 2] << 16 | buf[stop + 3] << 8 | buf[stop + 4]
                        if length < 4 or length > MAX_MESSAGE or stop + 1 + length > end:
                            break
                        stop += 1 + length
                elif action == SKIP and self.captured is not None:
                    if length > LONGEST_CAPTURED or len(self.captured) > MOST_CAPTURED:
                        return self.break_off(out, "the server's answer to the router is too long", "08P01")
                    if stop > end:
                        return pos
                    self.captured.append((code, copied(buf, pos + 5, stop)))
            elif stop > end and ((self.outstanding.checks and self.is_described(code)) or (length <= WHOLE and code in (
                READY_FOR_QUERY, ERROR_RESPONSE, PARAMETER_STATUS, NOTICE_RESPONSE, NOTIFICATION_RESPONSE
            ))):  # fmt: skip
                if length > MOST_DESCRIBED:
                    return self.break_off(out, "the server's description of a statement is too long", "08P01")
                return pos
            elif stop > end and code in (NOTICE_RESPONSE, NOTIFICATION_RESPONSE):
                action = self.aside(code)
            elif stop <= end:
                action = self.message(code, buf, pos, stop, out)
                if self.closed:
                    return end
                if action == FAKE:  # it has been dealt with
                    pos = stop
                    continue
            else:
                action = self.outstanding.answer(code)
            if action < 0:
                if action == LATER:
                    return pos
                return self.break_off(out, f"the server sent an unexpected message of type {chr(code)!r}", "")
            if stop > end:
                self.body_left = stop - end
                self.body_forward = action == FORWARD
                stop = end
            if action == FORWARD:
                out.add(pos, stop)
            if self.outstanding.fakes and self.body_left == 0:
                self.fakes(out)
            pos = stop
        return pos

    def message(
        self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: SendBuffer
    ) -> cython.int:
        """Account for a whole message other than a row; return what to do with it, FAKE if nothing is left to do.

        LATER: it was not processed, since other connections come first.
        """
        action: cython.int
        if code == READY_FOR_QUERY:
            if stop - pos != 6:  # the status would be read behind the message
                return self.break_off(out, "the server sent a malformed ReadyForQuery", "08P01")
            self.status = buf[pos + 5]
            action = self.outstanding.answer(code)
            if action == FORWARD and self.peer is not None and self.peer.watches & RESETS:
                out.add_bytes(self.peer.before_ready())
            if self.outstanding.count == 0:
                self.at_sync = True
                self.executed = False
                self.input_state = FORWARDING
                self.query_s += self.poller.now - self.asked_at
            elif self.status == IDLE:
                self.xact_at = self.poller.now
            return action
        if code in (NOTICE_RESPONSE, NOTIFICATION_RESPONSE, PARAMETER_STATUS):
            if self.poller.late() and not self.may_repeat():
                self.put_off()  # thousands of them may come at once, and each one is parsed
                return LATER
            action = self.aside(code)
            if code == NOTICE_RESPONSE and self.may_repeat() and self.replay.why & ON_LOSS:
                fields = messages.read_error(copied(buf, pos + 5, stop))
                if fields.get("C", "") in LAST_WORDS:
                    return self.ends(fields)
            elif code == PARAMETER_STATUS:
                body = copied(buf, pos + 5, stop)
                try:
                    name = messages.read_parameter_status(body)[0]
                except ServerLost as error:
                    return self.break_off(out, error.message, error.sqlstate)
                if action == SKIP and self.captured is not None:
                    self.captured.append((code, body))
                if name in HIDDEN_PARAMETERS:
                    self.owner.server_promoted(self)
                    action = SKIP
                elif action == FORWARD and self.peer is not None:
                    self.replay.discard()  # the client gets it, so the answer has started
                    instead = self.peer.on_parameter(body)
                    if instead is not None:
                        out.add_bytes(instead)
                        return FAKE
            elif code == NOTIFICATION_RESPONSE and self.peer is not None:
                out.add_bytes(self.peer.on_notification(copied(buf, pos, stop)))
                return FAKE
            return action
        if code == COMMAND_COMPLETE and self.peer is not None and self.peer.watches & DISCARDS:
            if copied(buf, pos + 5, stop) == DISCARDED:
                self.session.discarded = True
                self.session.dirty = (
                    self.session.dirty or self.outstanding.front() != QUERY
                )  # what comes after it is not discarded
                self.peer.on_deallocated()
            elif copied(buf, pos + 5, pos + 5 + len(DEALLOCATED)) == DEALLOCATED:
                self.peer.on_deallocated()
        elif code == ERROR_RESPONSE:
            if self.poller.late() and not self.may_repeat():
                self.put_off()
                return LATER
            return self.error(copied(buf, pos + 5, stop), out)
        elif self.outstanding.checks and self.is_described(code):
            try:
                self.session.described(code, copied(buf, pos + 5, stop))
            except ValueError:
                return self.break_off(out, "the server sent a malformed description", "08P01")
        return self.outstanding.answer(code)

    def may_repeat(self) -> cython.bint:
        """Whether the batch may be retried: then no part of this answer goes to the client before its end."""
        return self.peer is not None and self.replay.size > 0

    def is_described(self, code: cython.int) -> cython.bint:
        """Whether a message is part of a description to be kept."""
        kind: cython.int
        if code != ROW_DESCRIPTION and code != NO_DATA and code != PARAMETER_DESCRIPTION:
            return False
        kind = self.outstanding.front()
        return kind == CHECK or kind == CHECK_UNNAMED

    def error(self, body: bytes, out: SendBuffer) -> cython.int:
        """Account for an ErrorResponse; return what to do with it, FAKE if nothing is left to do."""
        action: cython.int
        refused: cython.bint
        fields = messages.read_error(body)
        if fields.get("V", fields.get("S", "")) in ("FATAL", "PANIC"):
            return self.ends(fields)
        ours: cython.int = self.outstanding.refusal()  # what failed replaces a statement that was refused
        action = self.outstanding.answer(ERROR_RESPONSE)
        refused = (
            not ours
            and action == FORWARD
            and self.peer is not None
            and self.peer.on_error(fields.get("C", ""), fields.get("R", ""))
        )
        if refused:
            out.clear()
            self.leave_peer()
        if self.outstanding.unnamed_lost:
            self.outstanding.unnamed_lost = False
            self.session.unnamed = None
        if refused:
            return SKIP
        if ours:
            if action != SKIP:
                out.add_bytes(ANSWERS[ours])
            return FAKE
        if action == FORWARD and self.peer is not None and (PREFIX in body or CANCELED in body):
            out.add_bytes(messages.message(ERROR_RESPONSE, self.peer.on_words(body)))
            return FAKE
        if action == SKIP and self.captured is not None:
            self.captured.append((ERROR_RESPONSE, body))
        elif action == SKIP:
            # A statement of ours failed, and the client's batch follows: that must not run as if it had succeeded.
            self.break_off(out, f"could not prepare the session: {fields.get('M', '')}", fields.get("C", ""))
            return FAKE
        return action

    def leave_peer(self) -> int:
        """Detach from the peer, which will retry its batch on another server."""
        self.replay.discard()
        self.xact_s += self.poller.now - self.linked_at
        self.detached_peer = self.peer
        self.peer = None
        return 0

    def ends(self, fields: dict) -> cython.int:
        """The server is about to close. The answer so far is dropped if the batch can be retried on another server."""
        self.last_error = fields
        if self.may_repeat() and self.replay.why & ON_LOSS:
            self.on_eof("")
        return FAKE

    def aside(self, code: cython.int) -> cython.int:
        """What to do with an asynchronous message: while a request of ours is the oldest one, it is ours.

        Notifications always go to the client: PostgreSQL sends them before the next ReadyForQuery, be it ours or not.
        """
        if code == NOTIFICATION_RESPONSE or self.outstanding.count == 0:
            return FORWARD
        return SKIP if self.outstanding.action() == SKIP else FORWARD

    def break_off(self, out: SendBuffer, why: str, sqlstate: str) -> int:
        """Forward what came before, and close this server connection."""
        if self.peer is not None:
            if out.length():
                self.replay.discard()
                self.peer.mid_frame = self.body_left > 0 and self.body_forward
                self.peer.stream.send_gathered(out)
        return self.lose(ServerLost(why, sqlstate=sqlstate))

    def fakes(self, out: SendBuffer) -> int:
        """Add the fake answers that are due now."""
        kind: cython.int
        while True:
            kind = self.outstanding.take_fake()
            if kind == 0:
                return 0
            out.add_bytes(messages.PARSE_COMPLETE if kind == PARSE_NAMED else messages.CLOSE_COMPLETE)

    def flush_fakes(self) -> int:
        """Send the fake answers that are due now."""
        out: SendBuffer = self.poller.to_client
        if self.outstanding.fakes and self.body_left == 0:
            out.reset(cython.NULL if cython.compiled else None)
            self.fakes(out)
            self.end_chunk(out)
        return 0

    def end_chunk(self, out: SendBuffer) -> int:
        """Send what was collected; report named statements and a sync point to the peer."""
        peer: Peer = self.peer
        if out.length():
            if peer is not None:
                if self.replay.size >= 0:
                    self.replay.discard()
                peer.mid_frame = self.body_left > 0 and self.body_forward
                if peer.stream.send_gathered(out) == 1:
                    self.pause()  # until the peer has drained
        if self.outstanding.has_events:
            self.apply_events(self.outstanding.take_events())
            if self.detached_peer is not None:
                return 0
        if self.session.evicted and self.at_sync and self.outstanding.count == 0:
            self.session.evicted = {}
        if self.at_sync and self.outstanding.count == 0:
            if peer is not None:
                peer.on_ready()
            elif self.state == RESETTING:
                self.owner.server_free(self)
        elif peer is not None and self.outstanding.count == 0:
            if self.input_state == AWAITS_ANSWERS:  # the answers that the client's next message waits for have come
                self.input_state = FORWARDING
                peer.on_waiting()
            elif not self.outstanding.skipping and not self.executed and self.status == IDLE:
                self.close_batch()
            else:
                peer.on_waiting()
        elif peer is not None and self.outstanding.copying:
            peer.on_waiting()
        return 0

    def apply_events(self, events: list) -> int:
        """Apply the fate of prepared statements: a Parse or Close that was not reached has done nothing."""
        if self.outstanding.unnamed_lost:
            self.outstanding.unnamed_lost = False
            self.session.unnamed = None
        if self.session.apply_events(events, self, self.peer):
            self.leave_peer()
        if self.peer is not None:
            self.peer.on_named(events)
        return 0

    def close_batch(self) -> int:
        """End a batch that was flushed and has only prepared something: nothing ties the client to this server.

        asyncpg prepares this way, and its next messages may be for another server. Its own Sync, if it ever comes, is
        answered by the router.
        """
        if self.status == IDLE and self.body_left == 0:
            self.input_state = ROUTER_ASKS
            self.sync()
        return 0

    def sync(self) -> int:
        """End the current batch with a Sync of our own."""
        self.outstanding.push(SYNC, SKIP)
        self.send_bytes(messages.SYNC)
        return 0

    def at_rest(self) -> cython.bint:
        """Whether it is between transactions and has no outstanding answers."""
        return self.status == IDLE and self.at_sync and self.outstanding.count == 0

    # -- our own requests

    def inject(self, sql_message: bytes) -> int:
        """Send a simple Query of our own; its answer is skipped (or captured)."""
        self.session.unnamed = None  # a simple Query ends the unnamed statement
        self.outstanding.push(QUERY, SKIP)
        self.at_sync = False
        self.send_bytes(sql_message)
        return 0

    # -- the end

    def on_drained(self) -> int:
        """The server accepts bytes again: resume reading from its client."""
        if self.peer is not None:
            self.peer.stream.resume()
        return 0

    def on_eof(self, why: str) -> int:
        """The server closed the connection."""
        fields = self.last_error
        if fields is not None:
            error = ServerLost(fields.get("M", why), sqlstate=fields.get("C", ""), detail=fields.get("D", ""))
        elif self.sealed is not None and not self.sealed.codec.established:
            error = ServerLost(f"could not establish TLS with the server: {why}")
        else:
            error = ServerLost("server closed the connection unexpectedly", detail=why)
        return self.lose(error)

    def lose(self, error: RouterError) -> int:
        """Close the connection and report this to the pool, then to the peer."""
        peer: Peer = self.peer
        if self.closed:
            return 0
        self.close()
        self.owner.server_closed(self, error)
        if peer is not None:
            self.peer = None
            peer.on_server_lost(error)
        return 0
