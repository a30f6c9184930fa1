"""A read-only transaction on a replica: each batch is examined whole before the replica gets it.

`proxy.move` decides whether a batch stays there, or the transaction moves to the primary, transparently for its client.
"""

from __future__ import annotations

import cython

from pgrouter.net.send_buffer import SendBuffer
from pgrouter.protocol.framing import copied, frontend_kind, impossible, length_at
from pgrouter.proxy import move
from pgrouter.proxy.link import AHEAD, MAX_BATCH, Link
from pgrouter.server.connection import ServerConnection

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import BIND, COPY, ENDS_BATCH, FUNCTION_CALL, IDLE, LAST, PARSE, QUERY
    from pgrouter.proxy.flags import ASKED
    from pgrouter.server.states import ON_REFUSAL

TO_ITS_END = -1  # the rest of the batch, which was too long to be examined whole


class ReplicaTransaction:
    """The transaction: its record, and how far the current batch has been examined."""

    def __init__(self, link: Link, record: move.Transaction) -> None:
        self.link = link
        self.record = record
        self.scanned = 0  # bytes of the current batch already examined
        self.stays = 0  # bytes of it that go to the replica without further checks; TO_ITS_END
        self.can_move = False  # if the replica refuses the batch, the primary can run it

    def is_open(self) -> cython.bint:
        """Whether it is open on a replica, which the next batch may have to leave."""
        server: ServerConnection = self.link.server
        return server.status != IDLE and server.owner is not self.link.session.pool.writer

    def go_on(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Forward the next batch of a transaction on a replica, if it may stay there; returns the new position.

        If there is no server afterwards, the transaction moves, and the batch begins again.
        """
        link: Link = self.link
        server: ServerConnection = link.server
        if self.stays > 0:
            return self.stay(buf, pos, end, self.stays)
        if self.stays < 0:
            return self.stay_to_its_end(buf, pos, end)
        if link.body_left:
            return link.forward(buf, pos, min(end, pos + link.body_left))
        if server.outstanding.copying:
            self.scanned = 0
            return link.forward(buf, pos, end)
        at: cython.Py_ssize_t = self.end_of_batch(buf, pos, end)
        if at == pos:
            return pos
        last: cython.Py_ssize_t = pos + self.scanned  # its last message, or an incomplete one
        self.scanned = 0
        if server.outstanding.skipping or at < 0:
            return link.forward(buf, pos, end if at < 0 else min(at, end))
        if server.outstanding.count:  # whether it may stay depends on the outstanding requests
            if end - pos > AHEAD:
                link.client.pause()
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
        used: cython.Py_ssize_t = self.link.forward(buf, pos, stop)
        if self.link.server is None or cython.cast(object, self.link.client).replica is not self:
            self.stays = 0
        else:
            self.stays = size if size < 0 else size - (used - pos)
        return used

    def stay_to_its_end(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Forward more of a batch that was too long to be examined whole."""
        code: cython.int
        length: cython.Py_ssize_t
        at: cython.Py_ssize_t = pos + self.link.body_left
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
        at: cython.Py_ssize_t = pos + self.scanned
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
                self.link.client.need = at - pos
                return pos
            if kind == ENDS_BATCH:
                return at
        self.scanned = at - pos
        return pos if end - pos <= MAX_BATCH else end + 1

    def refuse_batch(self, buf, pos: cython.Py_ssize_t, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Make the server fail in place of this batch."""
        code: cython.int = buf[pos]
        whole: cython.bint = code == QUERY or code == FUNCTION_CALL
        server: ServerConnection = self.link.server
        out: SendBuffer = self.link.client.poller.to_server
        out.reset(buf)
        self.link.requester.refuse(server, QUERY if whole else PARSE, self.record.why, False, out)
        self.link.requester.sent |= ASKED
        server.at_sync = False
        server.send_gathered(out)
        return at if whole else self.link.forward(buf, pos, at)

    def leave(self, retry) -> int:
        """Release the replica: the transaction begins again as `retry` describes."""
        link: Link = self.link
        server = link.detach()
        cython.cast(object, link.client).replica = None
        link.retry = retry
        link.batch.moved()
        link.registry.let_go(link.client, server)
        return 0

    def refused(self, batch: bytes) -> move.Move | None:
        """Return the move for a batch that the replica has refused; None: the transaction cannot move."""
        return move.refused(self.record, batch) if self.can_move else None

    def answered(self, server: ServerConnection) -> int:
        """Called when the server has answered and the transaction is open."""
        if server.captured is not None:
            collected, server.captured = server.captured, None
            self.record.heard(collected)
        else:
            self.record.answered(server.status)
        return 0
