"""A client's prepared statements, across changing servers.

The client's names stand for shared statements (`session.prepared`); servers have them under names of the router's own,
and get a Parse first if they lack one that is needed. The unnamed statement is kept with its Parse message, for a
client that binds it in a later transaction on another server. Where PostgreSQL would refuse (a name that exists, one
that does not), the message is forwarded to it, so that the error and its effect are PostgreSQL's own.

Source: PgBouncer's prepare.c for the renaming; protocol chapter, "Extended Query".
"""

from __future__ import annotations

import cython

from pgrouter.net.send_buffer import SendBuffer
from pgrouter.protocol import messages
from pgrouter.protocol.framing import copied, end_of_string
from pgrouter.proxy.held import HeldStatements
from pgrouter.proxy.unnamed import UNSEEN
from pgrouter.routing.cache import UNREAD
from pgrouter.routing.statement import Effect, Tx
from pgrouter.server.connection import ServerConnection
from pgrouter.session.prepared import VARIES, SharedStatement

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import BIND, CLOSE, DESCRIBE, FAILED_TRANSACTION, PARSE, QUERY
    from pgrouter.protocol.requests import BIND as R_BIND
    from pgrouter.protocol.requests import CLOSE as R_CLOSE
    from pgrouter.protocol.requests import CLOSE_NAMED as R_CLOSE_NAMED
    from pgrouter.protocol.requests import CLOSE_UNNAMED as R_CLOSE_UNNAMED
    from pgrouter.protocol.requests import DESCRIBE as R_DESCRIBE
    from pgrouter.protocol.requests import FAKE, FORWARD, SKIP
    from pgrouter.protocol.requests import PARSE as R_PARSE
    from pgrouter.protocol.requests import PARSE_NAMED as R_PARSE_NAMED
    from pgrouter.protocol.requests import PARSE_UNNAMED as R_PARSE_UNNAMED

NAMES = int(Effect.NAMES)
# In place of a statement: the message has no influence on routing, and follows the rest of its batch
FOLLOWS = object()

STATEMENT = ord("S")  # in Describe and Close; otherwise P, a portal


class ClientStatements(HeldStatements):
    """The statements of one client: by name, the unnamed one, and those whose Parse is outstanding."""

    def __init__(self) -> None:
        HeldStatements.__init__(self)
        self.parsed = {}  # name -> class, of the current batch
        self.by_own_name = False  # the statement bound next has the client's name on the server, see `proxy.sql_names`

    def enter(self, cache, shared) -> int:
        """Use what the clients of a database share; a new cache classifies again what was prepared."""
        self.shared = shared
        if cache is self.cache:
            return 0
        self.cache = cache
        self.parsed = {}
        if self.unnamed_parse is not None and self.unnamed_class is not None and self.unnamed_class is not UNSEEN:
            self.unnamed_class = self.classified(self.unnamed_parse)
        return 0

    def class_of_shared(self, shared):
        """Return the class of a prepared statement as this client sees it."""
        if shared.judge is not self.cache:
            judged = self.cache.lookup(shared.body, 0, shared.body.index(0), self.unusual_strings)
            if judged is UNREAD:
                return judged
            shared.statement = judged
            shared.judge = self.cache
        return shared.statement

    def class_named(self, name: bytes):
        """Return the class of the statement with this name, b"" for the unnamed one; None if it is unknown."""
        if not name:
            return None if self.unnamed_class is UNSEEN else self.unnamed_class
        shared: SharedStatement = self.named.get(name)
        if shared is None:
            return None
        judged = self.class_of_shared(shared)
        if judged is not UNREAD:
            return judged
        return self.cache.lookup_now(shared.body, 0, shared.body.index(0), self.unusual_strings)

    # -- messages that no server gets

    def define(self, body: bytes, meaning) -> cython.bint:
        """Apply a Parse that is answered without a server, which gets it when it is bound; False if the name exists."""
        name, _, statement = body.partition(b"\0")
        text: bytes = statement.partition(b"\0")[0]
        if name in self.named:
            return False
        if name:
            judged = self.cache.lookup_now(text, 0, len(text), self.unusual_strings)
            self.named[name] = self.shared.acquire(
                statement, judged, self.cache, object() if self.temporary else meaning
            )
        else:
            self.define_unnamed(messages.message(PARSE, body))
            self.become(self.unnamed_parse)
            self.rested()
        return True

    def close(self, body: bytes) -> int:
        """Apply a Close that is answered without a server."""
        name: bytes = body[1:].partition(b"\0")[0]
        if body[0] != STATEMENT:
            return 0
        return self.discard(name) if name else self.forget_unnamed()

    # -- which statement a message refers to

    def begin_batch(self) -> int:
        """Forget the names known only within the last batch."""
        if self.has_batch_names:
            self.has_batch_names = False
            self.parsed = {}
            self.failed = {}
        return self.at_rest()

    def prepares(self) -> cython.bint:
        """Whether the client has named statements, or will have after this batch."""
        return len(self.named) > 0 or len(self.parsed) > 0

    def class_of(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t):
        """Return the class of the statement of a Query, Parse, Bind or Describe; None if it is unknown."""
        start: cython.Py_ssize_t = pos + 5
        finish: cython.Py_ssize_t
        if code == QUERY:
            if stop <= start:
                return None  # no string in it: PostgreSQL will report that
            return self.cache.lookup(buf, start, stop - 1, self.unusual_strings)
        if code == DESCRIBE:
            if buf[start] != STATEMENT:
                return FOLLOWS
            start += 1
        else:
            finish = end_of_string(buf, start, stop)  # Parse: the name; Bind: the portal
            if finish < 0:
                return None
            if code == PARSE:
                return self.class_parsed(buf, start, finish, stop)
            start = finish + 1
        finish = end_of_string(buf, start, stop)
        if finish == start:
            if self.unnamed_class is UNSEEN:
                return None
            if self.unnamed_class is UNREAD:
                self.unnamed_class = None if self.unnamed_parse is None else self.classified(self.unnamed_parse)
            return self.unnamed_class if self.unnamed_class is not None else FOLLOWS
        if finish < 0:
            return None
        shared: SharedStatement = self.named.find(buf, start, finish)
        return self.class_of_shared(shared) if shared is not None else self.parsed.get(copied(buf, start, finish))

    def class_requested(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t):
        """Return the same for a message that is being sent, after its whole batch has been examined."""
        start: cython.Py_ssize_t = pos + 5
        finish: cython.Py_ssize_t
        if code == BIND:
            start = end_of_string(buf, start, stop) + 1
        elif code == DESCRIBE and buf[start] == STATEMENT:
            start += 1
        else:
            return self.class_of(code, buf, pos, stop)
        finish = end_of_string(buf, start, stop) if start > 0 else -1
        if finish != start:
            return self.class_of(code, buf, pos, stop)
        if self.unnamed_parse is None:
            return None if self.unnamed_class is UNSEEN else FOLLOWS
        statement = self.classified(self.unnamed_parse)
        if statement is UNREAD:
            start = self.unnamed_parse.find(0, 5) + 1
            finish = self.unnamed_parse.find(0, start)
            statement = self.cache.lookup_now(self.unnamed_parse, start, finish, self.unusual_strings)
        return statement if statement is not None else FOLLOWS

    def is_named(self, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.bint:
        """Whether the name of a Parse is in use: there will be an error, or a Close comes before it."""
        finish: cython.Py_ssize_t = end_of_string(buf, pos + 5, stop)
        return finish > pos + 5 and self.named.find(buf, pos + 5, finish) is not None

    def class_parsed(self, buf, start: cython.Py_ssize_t, finish: cython.Py_ssize_t, stop: cython.Py_ssize_t):
        """Return the class of a Parse whose name is buf[start:finish], and store it for later Binds in its batch."""
        end: cython.Py_ssize_t = end_of_string(buf, finish + 1, stop)
        if end < 0:
            return None
        statement = self.cache.lookup_again(buf, finish + 1, end, self.unusual_strings)
        if finish == start:
            self.unnamed_class = statement
        else:
            self.parsed[copied(buf, start, finish)] = statement
            self.has_batch_names = True
        return statement

    # -- what the server gets

    def parse(
        self,
        server: ServerConnection,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        out: SendBuffer,
        ours: cython.bint = False,  # noqa: FBT002  (C has no keyword arguments)
    ) -> int:
        """Forward a Parse: the unnamed statement as it is; a named one as a shared statement, parsed once per server.

        Returns 0 if it has to wait until the server has described a statement that has a description already, else 1.
        `ours`: the message is the router's own, and not in the buffer that is forwarded.
        """
        finish: cython.Py_ssize_t = end_of_string(buf, pos + 5, stop)
        if finish <= pos + 5:
            server.outstanding.push(R_PARSE_UNNAMED, FORWARD, self.define_unnamed(copied(buf, pos, stop)))
            server.session.unnamed = self.unnamed_parse
            if ours:
                out.add_bytes(self.unnamed_parse)
            else:
                out.add(pos, stop)
            return 1
        name = copied(buf, pos + 5, finish)
        statement = self.class_of(PARSE, buf, pos, stop)
        failed: cython.bint = server.status == FAILED_TRANSACTION and not _ends_transaction(statement)
        if name in self.named or failed:
            return self.parse_in_error(server, name, copied(buf, pos, stop), name in self.named, out)
        shared: SharedStatement = self.taken(server, copied(buf, finish + 1, stop), statement)
        held: cython.bint = shared.ident in server.session.prepared
        if not held and self.is_known(shared) and not server.outstanding.skipping:
            self.shared.release(shared)
            server.outstanding.push(R_CLOSE, SKIP)  # it may have another version of it
            out.add_bytes(shared.close())
            server.outstanding.push(R_PARSE, SKIP, shared.ident)
            out.add_bytes(shared.parse)
            self.check(server, shared, True, out)
            return 0
        self.named[name] = shared
        self.pending_parses.append(name)
        server.outstanding.push(R_PARSE_NAMED, FAKE if held else FORWARD, shared.ident)
        if not held:
            out.add_bytes(shared.parse)
            self.check(server, shared, False, out)
        return 1

    def taken(self, server: ServerConnection, body: bytes, statement):
        """Return the shared statement of a Parse, with the meaning that the server would give it now."""
        meaning = self.meaning(server)
        judge = None if statement is UNREAD else self.cache
        if statement is not None and (statement.effects & NAMES or statement.tag in ("FETCH", "MOVE")):
            shared: SharedStatement = self.shared.acquire(body, statement, judge, object())
            shared.description = VARIES
            return shared
        shared = self.shared.acquire(body, statement, judge, meaning)
        if server.session.changed is shared:  # for other servers it has another description
            server.session.changed = None
            self.shared.retire(shared)
            self.shared.release(shared)
            shared = self.shared.acquire(body, statement, judge, meaning)
        return shared

    def parse_in_error(
        self, server: ServerConnection, name: bytes, message: bytes, known: cython.bint, out: SendBuffer
    ) -> int:
        """Have PostgreSQL itself report 42P05 (the name exists) or 25P02: with its own message and effect."""
        server.session.dirty = True  # it may have a statement of that name afterwards
        if known:
            server.outstanding.push(R_CLOSE, SKIP)  # of an earlier such error
            out.add_bytes(messages.message(CLOSE, b"S" + name + b"\0"))
            server.outstanding.push(R_PARSE, SKIP)
            out.add_bytes(messages.message(PARSE, name + b"\0" + b"\0\0\0"))
            server.session.sql_names = frozenset(server.session.sql_names).union((name,))
        server.outstanding.push(R_PARSE, FORWARD)
        out.add_bytes(message)
        return 1

    def bind(
        self,
        server: ServerConnection,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        out: SendBuffer,
    ) -> int:
        """Forward a Bind, with the server's name of the statement.

        The frame ends at `stop`; of a huge one only what is before `end` has arrived. Returns 0 if not even its names
        have, or if it has to wait until the server has described the statement; else 1.
        """
        length: cython.Py_ssize_t
        shared: SharedStatement
        portal_end: cython.Py_ssize_t = end_of_string(buf, pos + 5, end)
        name_end: cython.Py_ssize_t = end_of_string(buf, portal_end + 1, end) if portal_end >= 0 else -1
        if name_end < 0 and end < stop:
            return 0
        if name_end == portal_end + 1:
            if not self.ensure_unnamed(server, out):
                return self.wait(server, pos, end, out)
        elif name_end > 0:
            shared = self.named.find(buf, portal_end + 1, name_end)
            if shared is not None and not self.by_own_name:
                if not self.holds(server, shared):
                    shared = self.ensure(server, copied(buf, portal_end + 1, name_end), out)
                    if shared is None:
                        return self.wait(server, pos, end, out)
                server.outstanding.push(R_BIND, FORWARD)
                length = stop - pos - 1 - (name_end - portal_end - 1) + len(shared.name)
                out.add_head(BIND, length)
                out.add(pos + 5, portal_end + 1)
                out.add_bytes(shared.name)
                out.add(name_end, end)
                return 1
            if shared is None and server.session.sql_names:
                self.close_stale(server, copied(buf, portal_end + 1, name_end), out)
        self.by_own_name = False
        server.outstanding.push(R_BIND, FORWARD)
        out.add(pos, end)
        return 1

    def close_stale(self, server: ServerConnection, name: bytes, out: SendBuffer) -> int:
        """Close what the server got under a name that its client has closed since: nobody may find it there."""
        if name in server.session.sql_names and not self.by_own_name and not server.outstanding.skipping:
            server.session.sql_names = frozenset(server.session.sql_names).difference((name,))
            server.outstanding.push(R_CLOSE, SKIP)
            out.add_bytes(messages.message(CLOSE, b"S" + name + b"\0"))
        return 0

    def wait(
        self, server: ServerConnection, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, out: SendBuffer
    ) -> cython.int:
        """Make a Bind wait for a description, or else refuse it; returns 0 or 1, as `bind` does."""
        if not self.refuse_unless_held(server, out):
            return 0
        server.outstanding.push(R_BIND, FORWARD)  # which the server ignores after the error
        out.add(pos, end)
        return 1

    def parse_unseen(self, server: ServerConnection) -> int:
        """Account for a streamed unnamed Parse that is too large to be examined, or kept for another server."""
        self.define_unnamed(None)
        self.unnamed_class = UNSEEN
        server.session.unnamed = self
        server.outstanding.push(R_PARSE, FORWARD)
        return 0

    def describe_or_close(
        self,
        server: ServerConnection,
        code: cython.int,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        out: SendBuffer,
    ) -> int:
        """Forward a Describe, with the server's name of the statement; a Close of a named statement is not sent at all.

        Returns 0 if it has to wait until the server has described the statement, else 1.
        """
        name: bytes
        name_end: cython.Py_ssize_t = end_of_string(buf, pos + 6, stop)
        if buf[pos + 5] != STATEMENT or name_end < 0:
            server.outstanding.push(R_DESCRIBE if code == DESCRIBE else R_CLOSE, FORWARD)
            out.add(pos, stop)
            return 1
        name = copied(buf, pos + 6, name_end)
        if name and name in self.named:
            if code == DESCRIBE:
                return self.describe_named(server, name, out)
            self.pending_closes.append((name, self.named.pop(name)))
            server.outstanding.push(R_CLOSE_NAMED, FAKE)
            return 1
        if name:
            if server.session.sql_names:
                self.close_stale(server, name, out)
            server.outstanding.push(R_DESCRIBE if code == DESCRIBE else R_CLOSE, FORWARD)
        elif code == DESCRIBE:
            if not self.ensure_unnamed(server, out):
                return self.refuse_unless_held(server, out)
            self.describe_unnamed(server)
        else:
            server.session.unnamed = None
            self.closes_unnamed = True
            server.outstanding.push(R_CLOSE_UNNAMED, FORWARD, self.define_unnamed(None))
        out.add(pos, stop)
        return 1

    def describe_named(self, server: ServerConnection, name: bytes, out: SendBuffer) -> int:
        """Describe a shared statement, by the server's name for it; returns 0 or 1, as `describe_or_close` does."""
        shared: SharedStatement = self.ensure(server, name, out)
        if shared is None:
            return self.refuse_unless_held(server, out)
        server.outstanding.push(R_DESCRIBE, FORWARD)
        out.add_bytes(shared.describe())
        return 1


def _ends_transaction(statement) -> bool:
    return statement is not None and statement.tx in (Tx.COMMIT, Tx.ROLLBACK)
