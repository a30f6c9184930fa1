"""A connection to one PostgreSQL server, and the way of its answers back to the client that it is linked to.

What arrives is looked at frame by frame, but only at the headers: rows and copied data stream through, also in pieces,
and everything that one recv brought goes out with one send. Whose answer a message is, and whether the client may see
it, is `Outstanding`'s knowledge. At a sync point with nothing owed the peer is told (`on_ready`) and lets go.

A server's dying words (FATAL) are not forwarded: the client's own connection lives on, and `on_server_lost` tells it
what happened in words that say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from pgrouter.errors import ServerLost
from pgrouter.net.poller import Poller
from pgrouter.net.send_buffer import SendBuffer
from pgrouter.protocol import messages
from pgrouter.protocol.framing import copied
from pgrouter.protocol.outstanding import Outstanding
from pgrouter.server.outbound import WHOLE, OutboundConnection
from pgrouter.session.prepared import PREFIX, SharedStatement, description
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
        CLOSE,
        FAKE,
        FORWARD,
        LATER,
        PARSE,
        PARSE_NAMED,
        QUERY,
        SKIP,
        SYNC,
    )
    from pgrouter.server.states import ASKING, PASSES, RESETTING, WAITING

if TYPE_CHECKING:
    from pgrouter.errors import RouterError
    from pgrouter.server.peer import Peer

# A notice of these is the end of the server, too: a crash elsewhere, an immediate shutdown (postgres.c quickdie())
LAST_WORDS = ("57P01", "57P02")

ROOM = 1024  # for most batches, at each server connection

DISCARDED = b"DISCARD ALL\0"  # what CommandComplete says of it
DEALLOCATED = b"DEALLOCATE"  # with or without ALL

# The server tells the truth about itself, which is not the cluster's: a client of the router is never on a standby.
HIDDEN_PARAMETERS = frozenset({"in_hot_standby"})


class ServerConnection(OutboundConnection):
    """A stream to PostgreSQL with what it owes, what it holds (settings, prepared statements) and whom it serves."""

    def __init__(self, poller: Poller, owner, login) -> None:
        OutboundConnection.__init__(self, poller, owner, login)
        self.outstanding = Outstanding()
        self.peer = None
        self.make_room(ROOM)
        self.detached_peer = None  # who was the peer until this chunk brought a refusal, see `Peer.on_error`
        self.status = IDLE
        self.body_left = 0  # bytes of a frame that streams through
        self.body_forward = False
        self.at_sync = True  # the last request was answered with ReadyForQuery
        self.executed = False  # since then something was bound or executed: a transaction may be open
        self.held = PASSES  # or why its client's next message does not
        self.sql_names = ()  # names of the client's own under which it has got statements, see `proxy.sql_names`
        self.fenced = False  # no transaction may begin here: its member was written to and now is not, but may be again
        self.discarded = False  # a DISCARD ALL of the client was carried out
        self.next_idle = None  # the free one that was used before this one, see `pool.member`
        self.close_when_idle = False  # closed when it becomes free
        self.dirty = False  # holds session state of its last client
        self.sequence_owner = None  # the client that wrote last: currval and lastval are its own
        self.sequences_used = False  # and it has taken values from sequences
        self.cancels = 0  # cancel requests on their way: must not reach the next client's query
        self.prepared = {}  # ids of shared statements it holds, least recently used first
        self.evicted = {}  # statements whose Close may not have been answered
        self.evicts = False  # there are some
        self.parameters = None  # of the shared statement that it describes
        self.descriptions = []  # of those that it has described, oldest first
        self.changed = None  # the shared statement that it was found to describe in other words than before
        self.profile = None  # settings that differ from the server's own defaults
        self.stands_for = None  # the profile of a session that could not be restored, see `proxy.session_sync`
        self.custom = None  # names of custom settings that it has met and never forgets: there they are "" and not NULL
        self.captured = None  # list that takes (code, body) of skipped answers, for who asked
        self.unnamed = None  # the Parse message of its unnamed statement
        self.used_at = poller.now
        self.xacts = 0
        self.queries = 0
        self.xact_s = 0.0  # time linked to clients
        self.query_s = 0.0  # time with answers owed
        self.linked_at = 0.0
        self.asked_at = 0.0
        self.xact_at = 0.0  # the transaction at hand began

    def make_room(self, size: cython.Py_ssize_t) -> int:
        """Have a buffer for what the peer has sent and may have to send elsewhere; `Peer.replay_bytes` bytes of it count."""
        self.batch = bytearray(size)
        self.room = size
        if cython.compiled:
            self.copy = cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(self.batch))
        return 0

    # -- the data path

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Look at what the server sent, and pass it on with one send."""
        out: SendBuffer = self.poller.to_client
        if self.login is not None:
            return self.login_data(buf, pos, end)
        out.reset(buf)
        pos = self.look(buf, pos, end, out)
        if self.closed:
            pos = end
        else:
            self.end_chunk(out)
        if self.detached_peer is not None:
            peer: Peer = self.detached_peer
            self.detached_peer = None
            peer.on_let_go(self)
        return pos

    def look(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, out: SendBuffer) -> cython.Py_ssize_t:
        """Walk over the frames in buf[pos:end]; gives the offset of the first that must wait for more bytes."""
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
                if action == FORWARD:  # what follows of the same type belongs to the same answer and changes nothing
                    while end - stop >= 5 and buf[stop] == code:
                        length = buf[stop + 1] << 24 | buf[stop + 2] << 16 | buf[stop + 3] << 8 | buf[stop + 4]
                        if length < 4 or length > MAX_MESSAGE or stop + 1 + length > end:
                            break
                        stop += 1 + length
                elif action == SKIP and self.captured is not None:
                    if stop > end:
                        return pos
                    self.captured.append((code, copied(buf, pos + 5, stop)))
            elif stop > end and ((self.outstanding.checks and self.is_described(code)) or (length <= WHOLE and code in (
                READY_FOR_QUERY, ERROR_RESPONSE, PARAMETER_STATUS, NOTICE_RESPONSE, NOTIFICATION_RESPONSE
            ))):  # fmt: skip
                return pos
            elif stop > end and code in (NOTICE_RESPONSE, NOTIFICATION_RESPONSE):
                action = self.aside(code)
            elif stop <= end:
                action = self.message(code, buf, pos, stop, out)
                if self.closed:
                    return end
                if action == FAKE:  # done with, whatever it was
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
        """Account for a whole message that is no row; gives what to do with it, FAKE when nothing is left to do.

        LATER: others come first, and it was not touched.
        """
        action: cython.int
        if code == READY_FOR_QUERY:
            self.status = buf[pos + 5]
            action = self.outstanding.answer(code)
            if action == FORWARD and self.peer is not None and self.peer.resets:
                out.add_bytes(self.peer.before_ready())
            if self.outstanding.count == 0:
                self.at_sync = True
                self.executed = False
                self.held = PASSES
                self.query_s += self.poller.now - self.asked_at
            elif self.status == IDLE:
                self.xact_at = self.poller.now
            return action
        if code in (NOTICE_RESPONSE, NOTIFICATION_RESPONSE, PARAMETER_STATUS):
            if self.poller.late() and not self.may_repeat():
                self.put_off()  # thousands of them may come at once, and each is read
                return LATER
            action = self.aside(code)
            if code == NOTICE_RESPONSE and self.may_repeat() and self.peer.retry_on_loss:
                fields = messages.read_error(copied(buf, pos + 5, stop))
                if fields.get("C", "") in LAST_WORDS:
                    return self.ends(fields)
            elif code == PARAMETER_STATUS:
                body = copied(buf, pos + 5, stop)
                if action == SKIP and self.captured is not None:
                    self.captured.append((code, body))
                if messages.read_parameter_status(body)[0] in HIDDEN_PARAMETERS:
                    self.owner.server_promoted(self)
                    action = SKIP
                elif action == FORWARD and self.peer is not None:
                    self.peer.replay_bytes = -1  # the client is to hear of it
                    instead = self.peer.on_parameter(body)
                    if instead is not None:
                        out.add_bytes(instead)
                        return FAKE
            elif code == NOTIFICATION_RESPONSE and self.peer is not None:
                out.add_bytes(self.peer.on_notification(copied(buf, pos, stop)))
                return FAKE
            return action
        if code == COMMAND_COMPLETE and self.peer is not None and self.peer.discards:
            if copied(buf, pos + 5, stop) == DISCARDED:
                self.discarded = True
                self.dirty = self.dirty or self.outstanding.front() != QUERY  # what may come behind it is not discarded
                self.peer.on_deallocated()
            elif copied(buf, pos + 5, pos + 5 + len(DEALLOCATED)) == DEALLOCATED:
                self.peer.on_deallocated()
        elif code == ERROR_RESPONSE:
            if self.poller.late() and not self.may_repeat():
                self.put_off()
                return LATER
            return self.error(copied(buf, pos + 5, stop), out)
        elif self.outstanding.checks and self.is_described(code):
            self.described(code, copied(buf, pos + 5, stop))
        return self.outstanding.answer(code)

    def may_repeat(self) -> cython.bint:
        """Whether the batch may run a second time: then nothing of this answer goes to the client before its end."""
        return self.peer is not None and self.peer.replay_bytes > 0

    def is_described(self, code: cython.int) -> cython.bint:
        """Whether a message describes what has to be kept."""
        kind: cython.int
        if code != ROW_DESCRIPTION and code != NO_DATA and code != PARAMETER_DESCRIPTION:
            return False
        kind = self.outstanding.front()
        return kind == CHECK or kind == CHECK_UNNAMED

    def described(self, code: cython.int, body: bytes) -> int:
        """Keep what the server says of a shared statement that it has parsed."""
        if code == PARAMETER_DESCRIPTION:
            self.parameters = body
        else:
            self.descriptions.append(description(self.parameters, body if code == ROW_DESCRIPTION else None))
        return 0

    def error(self, body: bytes, out: SendBuffer) -> cython.int:
        """Account for an ErrorResponse; gives what to do with it, FAKE when nothing is left to do."""
        action: cython.int
        refused: cython.bint
        fields = messages.read_error(body)
        if fields.get("V", fields.get("S", "")) in ("FATAL", "PANIC"):
            return self.ends(fields)
        ours: cython.int = self.outstanding.refusal()  # what failed stands for a statement that was refused
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
            self.unnamed = None
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
            # A statement of ours failed, with the client's batch behind it: never let that run as if it had not.
            self.break_off(out, f"could not prepare the session: {fields.get('M', '')}", fields.get("C", ""))
            return FAKE
        return action

    def leave_peer(self) -> int:
        """Work for the peer no longer, since it will run its batch elsewhere."""
        self.make_room(ROOM)
        self.xact_s += self.poller.now - self.linked_at
        self.detached_peer = self.peer
        self.peer.server = None
        self.peer = None
        return 0

    def ends(self, fields: dict) -> cython.int:
        """Hear the server's last words. What came just before them is void if the batch can be run elsewhere."""
        self.last_error = fields
        if self.peer is not None and self.peer.replay_bytes > 0 and self.peer.retry_on_loss:
            self.on_eof("")
        return FAKE

    def aside(self, code: cython.int) -> cython.int:
        """What to do with a message that comes at any time and answers nothing: what is behind our own request is ours.

        Notifications are the client's always: PostgreSQL sends them in front of whichever ReadyForQuery comes next.
        """
        if code == NOTIFICATION_RESPONSE or self.outstanding.count == 0:
            return FORWARD
        return SKIP if self.outstanding.action() == SKIP else FORWARD

    def break_off(self, out: SendBuffer, why: str, sqlstate: str) -> int:
        """Give the client what came before, and have no more to do with this server."""
        if self.peer is not None:
            if out.length():
                self.peer.replay_bytes = -1
                self.peer.mid_frame = self.body_left > 0 and self.body_forward
                self.peer.send_gathered(out)
        return self.lose(ServerLost(why, sqlstate=sqlstate))

    def fakes(self, out: SendBuffer) -> int:
        """Forge the answers that are due now."""
        kind: cython.int
        while True:
            kind = self.outstanding.take_fake()
            if kind == 0:
                return 0
            out.add_bytes(messages.PARSE_COMPLETE if kind == PARSE_NAMED else messages.CLOSE_COMPLETE)

    def flush_fakes(self) -> int:
        """Send the forged answers that nothing stands in front of."""
        out: SendBuffer = self.poller.to_client
        if self.outstanding.fakes and self.body_left == 0:
            out.reset(cython.NULL if cython.compiled else None)
            self.fakes(out)
            self.end_chunk(out)
        return 0

    def end_chunk(self, out: SendBuffer) -> int:
        """Send what was collected; tell the peer of named statements and of a sync point."""
        peer: Peer = self.peer
        if out.length():
            if peer is not None:
                if peer.replay_bytes > ROOM:
                    self.make_room(ROOM)
                peer.replay_bytes = -1
                peer.mid_frame = self.body_left > 0 and self.body_forward
                if peer.send_gathered(out) == 1:
                    self.pause()  # until the peer has drained
        if self.outstanding.has_events:
            self.apply_events(self.outstanding.take_events())
            if self.detached_peer is not None:
                return 0
        if self.evicts and self.at_sync and self.outstanding.count == 0:
            self.evicted = {}
            self.evicts = False
        if self.at_sync and self.outstanding.count == 0:
            if peer is not None:
                peer.on_ready()
            elif self.state == RESETTING:
                self.owner.server_free(self)
        elif peer is not None and self.outstanding.count == 0:
            if self.held == WAITING:  # it has told what the client's next message waits for
                self.held = PASSES
                peer.on_waiting()
            elif not self.outstanding.skipping and not self.executed and self.status == IDLE:
                self.close_batch()
            else:
                peer.on_waiting()
        elif peer is not None and self.outstanding.copying:
            peer.on_waiting()
        return 0

    def apply_events(self, events: list) -> int:
        """Follow what became of prepared statements: a Parse or Close that was not reached has done nothing."""
        if self.outstanding.unnamed_lost:
            self.outstanding.unnamed_lost = False
            self.unnamed = None
        for kind, ident, done in events:
            if kind == CHECK_UNNAMED:
                self.checked_unnamed(ident, done)
            elif not done and ident:
                if kind == CLOSE:
                    self.prepared[ident] = self.evicted[ident]
                elif kind in (PARSE, PARSE_NAMED):
                    self.prepared.pop(ident, None)
                elif kind == CHECK:
                    self.checked(ident, False)
            elif kind == CHECK:
                self.checked(ident, True)
        if self.peer is not None:
            self.peer.on_named(events)
        return 0

    def checked_unnamed(self, ident: cython.uint, done: cython.bint) -> int:
        """The client's unnamed statement was described, or not, for its sake or for ours."""
        known: bytes = self.descriptions.pop(0) if done else None
        if self.peer is not None and self.peer.on_unnamed(ident, known):
            self.leave_peer()
        return 0

    def checked(self, ident: cython.uint, done: cython.bint) -> int:
        """A shared statement was described, or not; one that is another now than elsewhere is not held as this one."""
        shared: SharedStatement = self.prepared.get(ident, self.evicted.get(ident))
        known: bytes = self.descriptions.pop(0) if done else None
        if shared is None:
            return 0
        if shared.first is self:
            shared.first = None
        if shared.description is None:
            shared.description = known
        if known is None or known != shared.description:
            self.prepared.pop(ident, None)
        if known is not None and known != shared.description and self.peer is not None:
            self.changed = shared
            if self.peer.on_changed(shared, known):
                self.changed = None
                self.leave_peer()
        return 0

    def close_batch(self) -> int:
        """End a batch that was flushed and has only prepared something: nothing of it is bound to this server.

        asyncpg prepares so, and what it sends next may be for another server. Its own Sync, if it ever comes, is
        answered by the router.
        """
        if self.status == IDLE and self.body_left == 0:
            self.held = ASKING
            self.sync()
        return 0

    def sync(self) -> int:
        """End the batch at hand with a Sync of our own."""
        self.outstanding.push(SYNC, SKIP)
        self.send_bytes(messages.SYNC)
        return 0

    def at_rest(self) -> cython.bint:
        """Whether it is between transactions and owes nothing."""
        return self.status == IDLE and self.at_sync and self.outstanding.count == 0

    # -- our own requests

    def meet(self, custom) -> int:
        """Have custom settings of these names from now on."""
        if custom:
            self.custom = custom if self.custom is None else self.custom | custom
        return 0

    def inject(self, sql_message: bytes) -> int:
        """Send a simple Query of our own; its answer is skipped (or collected)."""
        self.unnamed = None  # a simple Query ends the unnamed statement
        self.outstanding.push(QUERY, SKIP)
        self.at_sync = False
        self.send_bytes(sql_message)
        return 0

    # -- the end

    def on_drained(self) -> int:
        """The server takes bytes again: its client may send."""
        if self.peer is not None:
            self.peer.resume()
        return 0

    def lose(self, error: RouterError) -> int:
        """Close the connection and tell the pool, then the peer."""
        peer: Peer = self.peer
        if self.closed:
            return 0
        OutboundConnection.lose(self, error)
        if peer is not None:
            self.peer = None
            peer.on_server_lost(error)
        return 0
