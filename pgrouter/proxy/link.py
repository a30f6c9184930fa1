"""The link between a client and its server: every frame forwarded as it comes, and entered in what the server owes.

A link begins at the first message of a transaction (`link`) and ends at a sync point with nothing owed (`unlink`);
`proxy.client` says when. Meanwhile frames pass with one send per chunk. What the server lacks is put in front of
them (settings, prepared statements), and names of prepared statements become the server's names for them.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import cython

from pgrouter.errors import ProtocolViolation, RouterError
from pgrouter.net.gather import Gather
from pgrouter.net.poller import Poller
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
    PARSE,
    QUERY,
    SYNC,
    TERMINATE,
)
from pgrouter.protocol.framing import COPY, UNKNOWN, copied, frontend_kind, impossible
from pgrouter.protocol.outstanding import Outstanding
from pgrouter.protocol.requests import COPY_END as R_COPY_END
from pgrouter.protocol.requests import EXECUTE as R_EXECUTE
from pgrouter.protocol.requests import FORWARD, SKIP
from pgrouter.protocol.requests import FUNCTION as R_FUNCTION
from pgrouter.protocol.requests import QUERY as R_QUERY
from pgrouter.protocol.requests import REFUSED as R_REFUSED
from pgrouter.protocol.requests import REFUSED_QUERY as R_REFUSED_QUERY
from pgrouter.protocol.requests import SYNC as R_SYNC
from pgrouter.proxy.batch import Batch
from pgrouter.proxy.explain import explained
from pgrouter.proxy.presented import present, present_for_description
from pgrouter.proxy.statements import FOLLOWS, ClientStatements
from pgrouter.routing.statement import Effect
from pgrouter.server.connection import Peer, ServerConnection
from pgrouter.session.pins import INSTEAD, NO_SEQUENCES
from pgrouter.session.settings import transition

# A batch is kept whole up to this size; a larger one goes to the primary and streams.
MAX_BATCH = 1024 * 1024
# What is kept for a second run: one batch, maybe with what came behind its Flush.
MAX_AGAIN = 2 * MAX_BATCH
# A named Parse is shared between clients, so it is kept whole; nobody needs larger ones.
MAX_NAMED = 64 * 1024 * 1024
# A client that has to wait may send so much ahead before it is no longer read from.
AHEAD = 64 * 1024

NAMES = int(Effect.NAMES)
SEQUENCES = int(Effect.SEQUENCES)

_DISCARD_SEQUENCES = messages.query("DISCARD SEQUENCES")


class Link(Peer):
    """A client's stream with what forwarding needs: its batch, statements and settings, and the server, if any."""

    def __init__(self, poller: Poller, hub) -> None:
        Peer.__init__(self, poller)
        self.hub = hub
        self.group = None  # set by login, as are profile and startup_profile
        self.statements = ClientStatements()
        self.batch = Batch(self.statements)
        self.profile = None
        self.wrote_s = -1.0  # when its last write was answered
        self.wrote = None  # the server that wrote for it last
        self.second = None  # why the batch at hand runs a second time, see `proxy.again`
        self.reading = False  # linked to a replica, while other statements may belong to the primary
        self.knows = False  # what the server remembers of sequences is nobody else's
        self.takes_over = False  # or will not be, when it has forgotten
        self.asked = False  # something was sent since the link or the last ReadyForQuery with nothing owed
        self.open_batch = False  # frames were sent since the last Sync, Query or FunctionCall
        self.body_left = 0  # bytes of a frame that streams through
        self.examined = 0  # frames before this offset have been accounted for
        self.idle_at = poller.now  # it has had no server and said nothing since
        self.terminated = False  # it said Terminate; otherwise it just vanishes

    def link(self, server: ServerConnection) -> int:
        """Work with this server until the transaction ends."""
        self.server = server
        self.reading = self.batch.reads and self.batch.mixed
        # Only what was meant for a replica, and is on one, can have left no trace there; of what only reads the same is
        # believed on the primary, when that is lost. And only once: it may be the cause.
        self.elsewhere = self.reading and self.second is None and server.owner is not self.group.writer
        self.repeats = self.elsewhere or (self.second is None and self.batch.repeats)
        # A prepared statement may turn out to have an old plan: on no server that has done anything.
        self.again = 0 if self.repeats or (self.second is None and self.statements.named) else -1
        self.knows = self.group.sequences or server.written_by is None
        others: cython.bint = server.written_by is not self or server is not self.wrote  # or ours, but older
        self.takes_over = self.knows and server.written_by is not None and others and not self.reading
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
        self.idle_at = self.poller.now
        server.xact_s += self.idle_at - server.linked_at
        self.batch.effects = 0
        if not self.reading:
            self.wrote = server
            server.written_by = self
            server.drawn = self.batch.draws
            if self.batch.writes:
                self.note_write()
        self.group.give(server)
        return 0

    def note_write(self) -> int:
        """What was written has been answered, or was done without an answer: reads from now on must see it."""
        self.wrote_s = self.poller.touch()  # not the time of this round, which may have begun before the commit
        self.group.writes.last_s = self.wrote_s
        return 0

    # -- forwarding

    def forward(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Send the frames of buf[pos:end] to the linked server, entering what it will owe; gives how far it came."""
        code: cython.int
        high: cython.uint
        length: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        start: cython.Py_ssize_t = pos
        server: ServerConnection = self.server
        out: Gather = self.poller.to_server
        out.reset(buf)
        if server.owed.count == 0:
            server.asked_at = self.poller.now
            if server.at_sync:
                self.statements.at_rest()
                if server.status == IDLE:
                    server.xact_at = server.asked_at
        if server.profile is not self.profile:
            self.apply_profile(out)
        if self.takes_over:
            self.take_over(out)
        if self.body_left:
            length = min(self.body_left, end - pos)
            out.add(pos, pos + length)
            self.body_left -= length
            pos += length
            if self.body_left == 0 and server.owed.count == 0 and server.at_sync:
                server.send_gathered(out)  # the rest of a CopyData, kept the link after its COPY had failed
                self.on_ready()
                if self.server is not server or server.held:
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
                if server.owed.count and not self.open_batch and not server.owed.copying:
                    break  # the answers come first
                server.send_gathered(out)
                self.leave()
                return end
            if stop > end and end - pos == 5:
                break  # a Parse's first byte is looked at, below
            if self.asked and not self.open_batch and server.owed.count and self.must_hold(code, buf, pos):
                if end - pos > AHEAD:
                    self.pause()
                break
            if stop > end:
                if code != COPY_DATA and stop - pos <= MAX_BATCH:
                    self.need = stop - pos
                elif self.stream_body(code, buf, pos, stop, end, out):
                    pos = end
                elif self.closed:
                    return end
                break
            if pos >= self.examined and code != SYNC and code != FLUSH and code != COPY_DATA:
                self.look_at(code, buf, pos, stop)
            self.request(code, buf, pos, stop, out)
            pos = stop
        self.examined = 0
        if server.owed.count:
            server.at_sync = False  # until ReadyForQuery: an open batch may be an open (implicit) transaction
        if out.length() and server.send_gathered(out) == 1:
            self.pause()  # until the server has drained
        if self.again >= 0:
            self.remember(buf, start, pos)
        if server.owed.fakes and (self.again < 0 or self.open_batch):
            server.flush_fakes()
        return pos

    def remember(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Keep what was sent, in case it has to be sent elsewhere; no transaction that does more than read."""
        server: ServerConnection = self.server
        size: cython.Py_ssize_t = self.again + end - start
        if (self.batch.begins and not self.batch.repeats) or self.body_left or size > MAX_AGAIN:
            self.again = -1
            return 0
        if size > server.room:
            before: bytearray = server.batch
            server.make_room(max(size, 2 * len(before)))
            server.batch[: len(before)] = before
        if cython.compiled:
            libc.memcpy(server.copy + self.again, buf + start, end - start)
        else:
            server.batch[self.again : size] = buf[start:end]
        self.again = size
        return 0

    def look_at(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Account for one frame: what it may leave behind."""
        self.batch.examine(code, buf, pos, stop)
        self.repeats = self.repeats and (self.elsewhere or self.batch.repeats)
        self.resets = self.batch.resets
        self.discards = self.batch.discards
        return 0

    def must_hold(self, code: cython.int, buf, pos: cython.Py_ssize_t) -> cython.bint:
        """Whether the batch that begins here must wait until the server has answered all before it.

        What is linked to a replica was routed there; what comes after its transaction may be a write. The same goes for
        a server that may not be written to now. And a name whose Parse may have failed can only then be parsed again.
        """
        server: ServerConnection = self.server
        batch: Batch = self.batch
        if server.owed.copying or frontend_kind(code) == COPY:
            return False  # for the COPY that runs; else the server ignores it
        if server.status == IDLE:
            if batch.has_startup and batch.touched is not None:
                return True  # RESET goes back to the startup packet's values: around it settings must be settled
            if self.resets or self.discards:
                return True
        if (self.reading or server.fenced) and (server.status == IDLE or batch.ends):
            return True
        return self.statements.may_come_back() or (code == PARSE and len(self.statements.unconfirmed) > 0)

    def request(
        self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, out: Gather
    ) -> int:
        """Enter one whole frame and add what the server gets for it."""
        server: ServerConnection = self.server
        owed: Outstanding = server.owed
        if code == BIND or code == EXECUTE or code == QUERY or code == FUNCTION_CALL:
            server.executed = True
        self.asked = True
        continues: cython.bint = self.open_batch
        if code == QUERY and continues:  # behind an error in it, nobody will hear of the Query
            self.statements.closes_unnamed = True
        if code != FLUSH and frontend_kind(code) != COPY:
            self.open_batch = code != SYNC and code != QUERY and code != FUNCTION_CALL
        ident: cython.uint = 0
        if self.batch.deallocates:
            if code == self.batch.deallocates:
                ident = self.statements.deallocate_all(server)
            if code == self.batch.deallocates or not self.open_batch:
                self.batch.deallocates = 0
        if self.batch.unusual and (code == QUERY or code == PARSE or code == BIND or code == DESCRIBE):
            if self.request_unusual(code, buf, pos, stop, out, continues):
                return 0
        if code == QUERY:
            server.queries += 1
            server.unnamed = None  # a simple Query ends the unnamed statement
            owed.push(R_QUERY, FORWARD, ident | self.statements.define_unnamed(None) << 1)
        elif code == SYNC:
            if owed.told:  # behind an error: nothing of the batch has been carried out
                server.settle(owed.take_events())
            owed.push(R_SYNC, FORWARD)
        elif code == EXECUTE:
            server.queries += 1
            owed.push(R_EXECUTE, FORWARD, ident)
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
        elif code == FLUSH and stop - pos != 5:  # no Flush at all: there will be an error
            owed.push(R_REFUSED, FORWARD)
        out.add(pos, stop)
        return 0

    def request_unusual(
        self,
        code: cython.int,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        out: Gather,
        continues: cython.bint,
    ) -> cython.bint:
        """Enter and add what the server gets in place of this message, and True; or only what must be in front of it.

        `continues`: the batch that it belongs to has begun before it.
        """
        refusal: cython.int = 0 if code == DESCRIBE else self.batch.refusal(code, buf, pos, stop)
        if refusal:
            self.refuse(code, refusal, code == PARSE and buf[pos + 5] == 0, out)
            return True
        instead = explained(self, copied(buf, pos, stop)) if code == QUERY or code == PARSE else None
        if instead is None:
            return self.request_of_session(code, buf, pos, stop, out, continues)
        self.request_instead(code, instead, out)
        return True

    def request_of_session(
        self,
        code: cython.int,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        out: Gather,
        continues: cython.bint,
    ) -> cython.bint:
        """Give the server what it must have of the session's for this message; True: it has not, and refuses."""
        statement = self.statements.class_of(code, buf, pos, stop)
        if statement is None or statement is FOLLOWS:
            return False
        effects: cython.int = statement.effects
        runs: cython.bint = code == QUERY or code == BIND
        if runs and effects & SEQUENCES and not (self.knows or self.batch.draws or self.has_drawn(self.server)):
            self.group.sequences = True
            self.refuse(code, NO_SEQUENCES, False, out)
            return True
        if effects & NAMES:
            if runs:
                present(self, statement, out, code == QUERY, continues)
            else:
                present_for_description(self, statement, out)
        return False

    def has_drawn(self, server: ServerConnection) -> cython.bint:
        """Whether we wrote last on this server, and took values from sequences there: so none are another's."""
        return server.written_by is self and server is self.wrote and server.drawn

    def refuse(self, code: cython.int, refusal: cython.int, unnamed: cython.bint, out: Gather) -> int:
        """Have the server fail where it would have got a statement that the client may not send."""
        server: ServerConnection = self.server
        if code == QUERY:
            server.queries += 1
            server.unnamed = None
            server.owed.push(R_REFUSED_QUERY, FORWARD, refusal)
            out.add_bytes(messages.query(INSTEAD[refusal]))
            return 0
        if unnamed:  # as after any Parse that has failed
            server.unnamed = None
            self.statements.forget_unnamed()
        server.owed.push(R_REFUSED, FORWARD, refusal)
        out.add_bytes(messages.message(PARSE, (b"" if unnamed else b"pgrouter") + b"\0" + INSTEAD[refusal] + b"\0\0\0"))
        return 0

    def request_instead(self, code: cython.int, message: bytes, out: Gather) -> int:
        """Enter and add a Query or Parse of ours, in place of the client's."""
        server: ServerConnection = self.server
        if code == PARSE:
            return self.statements.parse(server, message, 0, len(message), out, True)
        server.queries += 1
        server.unnamed = None
        server.owed.push(R_QUERY, FORWARD)
        out.add_bytes(message)
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
            if code == QUERY:
                server.unnamed = None
                server.owed.push(R_QUERY, FORWARD, self.statements.define_unnamed(None) << 1)
            else:
                server.owed.push(R_FUNCTION, FORWARD)
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
            self.look_at(code, buf, pos, end)  # its names are here, which is all that is asked of it
        else:
            out.add(pos, end)
        self.body_left = stop - end
        return 1

    def apply_profile(self, out: Gather) -> int:
        """Put the difference between the server's settings and ours in front."""
        server: ServerConnection = self.server
        change = _change(server.profile, self.profile)
        server.profile = self.profile
        if change:
            server.owed.push(R_QUERY, SKIP)
            server.unnamed = None
            out.add_bytes(change)
        return 0

    def take_over(self, out: Gather) -> int:
        """Have the server forget what others took from sequences: a lastval may follow."""
        server: ServerConnection = self.server
        self.takes_over = False
        server.owed.push(R_QUERY, SKIP)
        server.unnamed = None
        out.add_bytes(_DISCARD_SEQUENCES)
        return 0

    # -- ends

    @property
    def streams(self) -> bool:
        """Whether a message of the client is only half sent to its server."""
        return self.body_left > 0

    def violation(self, error: RouterError) -> int:
        """The client does not speak the protocol: say so, and hang up."""
        self.send_bytes(messages.error_response(error))
        self.hub.log(self, logging.INFO, error.message)
        return self.leave()

    def leave(self) -> int:
        """The client goes: close, and let the server be cleaned up."""
        server: ServerConnection = self.server
        if self.closed:
            return 0
        self.close()
        self.hub.left(self, server)
        return 0


@lru_cache(maxsize=1024)
def _change(old, new) -> bytes:
    """Give the Query that brings a server from one profile to another; b"" for none."""
    sql = transition(old, new)
    return messages.query(sql) if sql else b""


def _too_large(size: int) -> RouterError:
    return RouterError(
        f"a prepared statement of {size} bytes is too large", sqlstate="54000", severity="FATAL",
        detail=f"Named statements are limited to {MAX_NAMED} bytes; the unnamed statement is not.",
    )  # fmt: skip


def bad_frame(code: int, length: int) -> ProtocolViolation:
    """Say what is wrong with a frame's header."""
    if frontend_kind(code) == UNKNOWN:
        return ProtocolViolation(f"invalid frontend message type {code}")
    return ProtocolViolation(f"invalid message length {length} in message of type {chr(code)!r}")
