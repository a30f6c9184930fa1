"""A client's prepared statements, over servers that come and go.

The client's names stand for shared statements (`session.prepared`); the server at hand has them under names of ours,
and gets a Parse put in front of whatever needs one that it does not hold. The unnamed statement is kept with its Parse
message, for the client that binds it in a later transaction on another server. Where PostgreSQL would refuse (a name
that exists, one that does not), PostgreSQL is asked, so that the words and their effect are its own.

Source: PgBouncer's prepare.c for the renaming; protocol chapter, "Extended Query".
"""

from __future__ import annotations

import cython

from pgrouter.net.gather import Gather
from pgrouter.protocol import messages
from pgrouter.protocol.codes import CLOSE, DESCRIBE, FAILED_TRANSACTION, PARSE, QUERY
from pgrouter.protocol.framing import end_of_string
from pgrouter.protocol.requests import BIND as R_BIND
from pgrouter.protocol.requests import CLOSE as R_CLOSE
from pgrouter.protocol.requests import CLOSE_NAMED as R_CLOSE_NAMED
from pgrouter.protocol.requests import DESCRIBE as R_DESCRIBE
from pgrouter.protocol.requests import FAKE, FORWARD, SKIP
from pgrouter.protocol.requests import PARSE as R_PARSE
from pgrouter.protocol.requests import PARSE_NAMED as R_PARSE_NAMED
from pgrouter.routing.statement import Tx
from pgrouter.server.connection import ServerConnection

# In place of a statement: what needs no server of its own, and follows the rest of its batch
FOLLOWS = object()
# In place of the unnamed statement's class: it was too large to be looked at
UNSEEN = object()

_CLOSE_UNNAMED = messages.message(CLOSE, b"S\0")

STATEMENT = ord("S")  # in Describe and Close; otherwise P, a portal


class ClientStatements:
    """The statements of one client: by name, the unnamed one, and those whose Parse has not been answered."""

    def __init__(self) -> None:
        self.cache = None  # of the client's database, as is `shared`; set by `enter`
        self.shared = None
        self.unusual_strings = False  # see StatementCache.lookup
        self.named = {}  # name -> SharedStatement
        self.parsed = {}  # name -> class, of the batch at hand
        self.unconfirmed = []  # names whose Parse has no answer yet, oldest first
        self.closing = []  # (name, statement) whose Close has no answer yet
        self.unsettled = False  # the transaction may have changed settings or objects on which a text's meaning hangs
        self.temporary = False  # the session has temporary objects, which nobody else's texts mean
        self.unnamed_class = None
        self.unnamed_parse = None  # its Parse message, for servers that do not have it

    def enter(self, cache, shared) -> int:
        """Use what the clients of a database share; another cache than before judges what was prepared anew."""
        self.shared = shared
        if cache is self.cache:
            return 0
        self.cache = cache
        self.parsed = {}
        if self.unnamed_parse is not None and self.unnamed_class is not None and self.unnamed_class is not UNSEEN:
            start: cython.Py_ssize_t = self.unnamed_parse.index(0, 5) + 1
            self.unnamed_class = cache.lookup(
                self.unnamed_parse, start, self.unnamed_parse.index(0, start), self.unusual_strings
            )
        return 0

    def class_of_shared(self, shared):
        """Give the class of a prepared statement as this client sees it."""
        if shared.judge is not self.cache:
            shared.statement = self.cache.lookup(shared.body, 0, shared.body.index(0), self.unusual_strings)
            shared.judge = self.cache
        return shared.statement

    # -- what a message is about

    def begin_batch(self) -> int:
        """Forget the names that only the last batch knew."""
        if self.parsed:
            self.parsed = {}
        return 0

    def class_of(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t):
        """Give the class of the statement that a Query, Parse, Bind or Describe is about; None: nobody knows it."""
        start: cython.Py_ssize_t = pos + 5
        finish: cython.Py_ssize_t
        if code == QUERY:
            if stop <= start:
                return None  # no string in it: PostgreSQL will say so
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
            return self.unnamed_class if self.unnamed_class is not None else FOLLOWS
        if finish < 0:
            return None
        name = bytes(buf[start:finish])
        shared = self.named.get(name)
        return self.class_of_shared(shared) if shared is not None else self.parsed.get(name)

    def class_parsed(self, buf, start: cython.Py_ssize_t, finish: cython.Py_ssize_t, stop: cython.Py_ssize_t):
        """Give the class of a Parse whose name is buf[start:finish]; Binds behind it in its batch ask for it."""
        end: cython.Py_ssize_t = end_of_string(buf, finish + 1, stop)
        if end < 0:
            return None
        statement = self.cache.lookup(buf, finish + 1, end, self.unusual_strings)
        if finish == start:
            self.unnamed_class = statement
        else:
            self.parsed[bytes(buf[start:finish])] = statement
        return statement

    # -- what the server gets

    def parse(
        self,
        server: ServerConnection,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        out: Gather,
        ours: cython.bint = False,  # noqa: FBT002  (C has no keyword arguments)
    ) -> int:
        """Parse: the unnamed statement passes; a named one becomes a shared statement, parsed once per server.

        `ours`: the message is not the client's own, and does not lie in what is forwarded.
        """
        finish: cython.Py_ssize_t = end_of_string(buf, pos + 5, stop)
        if finish <= pos + 5:
            self.unnamed_parse = bytes(buf[pos:stop])
            server.unnamed = self.unnamed_parse
            server.owed.push(R_PARSE, FORWARD)
            if ours:
                out.add_bytes(self.unnamed_parse)
            else:
                out.add(pos, stop)
            if server.owed.unnamed_lost:  # behind an error: the server does not read it
                server.forget_unnamed()
            return 0
        name = bytes(buf[pos + 5 : finish])
        statement = self.class_of(PARSE, buf, pos, stop)
        failed: cython.bint = server.status == FAILED_TRANSACTION and not _ends_transaction(statement)
        if name in self.named or failed:
            return self.parse_in_error(server, name, bytes(buf[pos:stop]), out)
        shared = self.shared.take(bytes(buf[finish + 1 : stop]), statement, self.cache, self.meaning(server))
        self.named[name] = shared
        self.unconfirmed.append(name)
        if shared.ident in server.prepared:
            server.owed.push(R_PARSE_NAMED, FAKE, shared.ident)
            return 0
        server.prepared[shared.ident] = shared
        server.owed.push(R_PARSE_NAMED, FORWARD, shared.ident)
        out.add_bytes(shared.parse)
        return self.evict(server, out)

    def parse_in_error(self, server: ServerConnection, name: bytes, message: bytes, out: Gather) -> int:
        """Let PostgreSQL itself say 42P05 (the name exists) or 25P02: in its words, and with its effect."""
        server.dirty = True  # it may have a statement of that name afterwards
        if server.status != FAILED_TRANSACTION:
            out.add_bytes(messages.message(PARSE, name + b"\0" + b"\0\0\0"))
            server.owed.push(R_PARSE, SKIP)
        server.owed.push(R_PARSE, FORWARD)
        out.add_bytes(message)
        return 0

    def bind(
        self,
        server: ServerConnection,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        out: Gather,
    ) -> int:
        """Bind: the statement's name becomes the server's name for it.

        The frame ends at `stop`; of a huge one only what is before `end` is here. Gives 0 when not even its names are.
        """
        length: cython.Py_ssize_t
        portal_end: cython.Py_ssize_t = end_of_string(buf, pos + 5, end)
        name_end: cython.Py_ssize_t = end_of_string(buf, portal_end + 1, end) if portal_end >= 0 else -1
        if name_end < 0 and end < stop:
            return 0
        if name_end == portal_end + 1:
            self.ensure_unnamed(server, out)
        elif name_end > 0:
            name = bytes(buf[portal_end + 1 : name_end])
            if name in self.named:
                shared = self.ensure(server, name, out)
                server.owed.push(R_BIND, FORWARD)
                length = stop - pos - 1 - (name_end - portal_end - 1) + len(shared.name)
                out.add_bytes(b"B" + length.to_bytes(4, "big"))
                out.add(pos + 5, portal_end + 1)
                out.add_bytes(shared.name)
                out.add(name_end, end)
                return 1
        server.owed.push(R_BIND, FORWARD)
        out.add(pos, end)
        return 1

    def parse_unseen(self, server: ServerConnection) -> int:
        """An unnamed Parse streams through that is too large to be looked at, or kept for another server."""
        self.unnamed_parse = None
        self.unnamed_class = UNSEEN
        server.unnamed = self
        server.owed.push(R_PARSE, FORWARD)
        return 0

    def describe_or_close(
        self,
        server: ServerConnection,
        code: cython.int,
        buf,
        pos: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        out: Gather,
    ) -> int:
        """Describe and Close of a statement: by the server's name for it; a Close is not needed there at all."""
        name_end: cython.Py_ssize_t = end_of_string(buf, pos + 6, stop)
        if buf[pos + 5] == STATEMENT and name_end == pos + 6:
            if code == DESCRIBE:
                self.ensure_unnamed(server, out)
            else:
                server.forget_unnamed()
        elif buf[pos + 5] == STATEMENT and name_end > 0:
            name = bytes(buf[pos + 6 : name_end])
            shared = self.named.get(name)
            if shared is not None and code == CLOSE:
                del self.named[name]
                self.closing.append((name, shared))
                server.owed.push(R_CLOSE_NAMED, FAKE)
                return 0
            if shared is not None:
                shared = self.ensure(server, name, out)
                server.owed.push(R_DESCRIBE, FORWARD)
                out.add_bytes(messages.message(DESCRIBE, b"S" + shared.name + b"\0"))
                return 0
        server.owed.push(R_DESCRIBE if code == DESCRIBE else R_CLOSE, FORWARD)
        out.add(pos, stop)
        return 0

    # -- what the server holds

    def ensure(self, server: ServerConnection, name: bytes, out: Gather):
        """Put a Parse in front where the server does not have the statement; make it the most recently used.

        Gives the statement. Where it is parsed anew it means what it does under the settings of now, and is another.
        """
        held: dict = server.prepared
        shared = self.named[name]
        if held.pop(shared.ident, None) is None:
            meaning = self.meaning(server)
            if shared.meaning != meaning:
                other = self.shared.take(shared.body, shared.statement, shared.judge, meaning)
                self.shared.give(shared)
                self.named[name] = shared = other
            if held.pop(shared.ident, None) is None:
                server.owed.push(R_PARSE, SKIP, shared.ident)
                out.add_bytes(shared.parse)
                held[shared.ident] = shared
                self.evict(server, out)
                return shared
        held[shared.ident] = shared
        return shared

    def renew(self, name: bytes) -> int:
        """Have a statement prepared anew that servers have an old plan for: it gets another name there."""
        shared = self.named.get(name)
        if shared is not None:
            self.shared.retire(shared)
            self.named[name] = self.shared.take(shared.body, shared.statement, shared.judge, shared.meaning)
            self.shared.give(shared)
        return 0

    def outdated(self) -> int:
        """Have nothing that was prepared before given to those who prepare it from now on: a plan was too old."""
        if self.named:
            self.shared.renew()
        return 0

    def meaning(self, server: ServerConnection):
        """Give what decides the meaning of a text that this server parses for us now; equal to nothing if unknown."""
        return object() if self.unsettled or self.temporary else server.profile.meaning

    def evict(self, server: ServerConnection, out: Gather) -> int:
        """Close the least recently used statement of a server that holds too many."""
        held: dict = server.prepared
        if len(held) > server.owner.group.settings.prepared_statements:
            oldest = held.pop(next(iter(held)))
            server.evicted[oldest.ident] = oldest
            server.owed.push(R_CLOSE, SKIP, oldest.ident)
            out.add_bytes(oldest.close())
        return 0

    def ensure_unnamed(self, server: ServerConnection, out: Gather) -> int:
        """Put our unnamed statement in front where the server has another client's, or none."""
        mine = self if self.unnamed_class is UNSEEN else self.unnamed_parse
        if mine is not None and server.unnamed is mine:
            return 0
        if self.unnamed_parse is not None:
            server.owed.push(R_PARSE, SKIP)
            out.add_bytes(self.unnamed_parse)
        else:  # PostgreSQL shall say that there is none, instead of running another client's
            server.owed.push(R_CLOSE, SKIP)
            out.add_bytes(_CLOSE_UNNAMED)
            mine = None
        server.unnamed = mine
        return 0

    def settle(self, events: list) -> int:
        """Follow what became of named statements: a Parse that failed defines nothing."""
        for kind, _, done in events:
            if kind == R_PARSE_NAMED:
                name = self.unconfirmed.pop(0)
                if not done:
                    self.discard(name)
            elif kind == R_CLOSE_NAMED:
                name, shared = self.closing.pop(0)
                if done or name in self.named:
                    self.shared.give(shared)
                else:
                    self.named[name] = shared
        return 0

    def take_back(self) -> int:
        """Have the names as they were before the batch at hand, none of whose answers has been passed on."""
        names: set = set(self.unconfirmed)
        for name, _ in self.closing:
            names.add(name)
        for name in names:
            stood: list = []  # what the name stood for, the oldest first
            for closed, shared in self.closing:
                if closed == name:
                    stood.append(shared)
            if name in self.named:
                stood.append(self.named.pop(name))
            if len(stood) > self.unconfirmed.count(name):
                self.named[name] = stood.pop(0)
            for shared in stood:
                self.shared.give(shared)
        self.unconfirmed = []
        self.closing = []
        return 0

    # -- forgetting

    def forget_unnamed(self) -> int:
        """Have no unnamed statement any more."""
        self.unnamed_parse = None
        self.unnamed_class = None
        return 0

    def discard(self, name: bytes) -> int:
        """Let go of one name, if it was not closed meanwhile."""
        shared = self.named.pop(name, None)
        if shared is not None:
            self.shared.give(shared)
        return 0

    def forget(self) -> int:
        """Let go of all statements."""
        for shared in self.named.values():
            self.shared.give(shared)
        self.named = {}
        self.unconfirmed = []
        self.forget_closing()
        return self.forget_unnamed()

    def forget_closing(self) -> int:
        """Let go of the statements whose Close was never answered."""
        for _, shared in self.closing:
            self.shared.give(shared)
        self.closing = []
        return 0

    def deallocate_all(self, server: ServerConnection) -> int:
        """DEALLOCATE ALL: names here and statements there are gone, unless it only meets a failed transaction."""
        if server.status != FAILED_TRANSACTION:
            for shared in self.named.values():
                self.shared.give(shared)
            self.named = {}
            server.prepared = {}
        return 0

    def forget_unconfirmed(self) -> int:
        """Let go of the statements whose Parse was never answered."""
        for name in self.unconfirmed:
            self.discard(name)
        self.unconfirmed = []
        return self.forget_closing()


def _ends_transaction(statement) -> bool:
    return statement is not None and statement.tx in (Tx.COMMIT, Tx.ROLLBACK)
