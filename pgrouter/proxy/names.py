"""What a client's names of prepared statements stand for, as confirmed by servers.

A Parse, Close or DEALLOCATE counts only if it is executed; after an error nothing is until Sync. The names are changed
when a Parse or Close is forwarded, and changed back if the server has not executed it (`on_parse_results`). Messages
that could depend on that are held back (`may_come_back`), and so is what follows a DEALLOCATE until it is answered.
"""

from __future__ import annotations

import cython

from pgrouter.proxy.unnamed import UnnamedStatement
from pgrouter.server.connection import ServerConnection
from pgrouter.session.prepared import Names, renamed

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.requests import CLOSE_NAMED as R_CLOSE_NAMED
    from pgrouter.protocol.requests import CLOSE_UNNAMED as R_CLOSE_UNNAMED
    from pgrouter.protocol.requests import PARSE_FAILED as R_PARSE_FAILED
    from pgrouter.protocol.requests import PARSE_NAMED as R_PARSE_NAMED
    from pgrouter.protocol.requests import PARSE_UNNAMED as R_PARSE_UNNAMED
    from pgrouter.protocol.requests import QUERY as R_QUERY

_SETTLED = (b"", None)  # in place of an answered Close


class StatementNames(UnnamedStatement):
    """The shared statements that a client's names stand for, and those whose Parse or Close is outstanding."""

    def __init__(self) -> None:
        UnnamedStatement.__init__(self)
        self.shared = None  # the statements shared in its database; set by `enter`, as is the cache
        self.named = Names()
        self.pending_parses = []  # names whose Parse is outstanding, oldest first; None: another owns the name again
        self.pending_closes = []  # (name, statement) whose Close is outstanding; None: its Parse has failed
        self.closes_unnamed = False  # a Close of the unnamed statement is outstanding
        self.failed = {}  # number of a shared statement -> name whose Parse has failed, for error messages
        self.has_batch_names = False  # there are names known only within the last batch

    # -- results from servers

    def on_parse_results(self, events: list) -> int:
        """Apply the results of Parse and Close: a Parse that failed defines nothing."""
        parsed: cython.Py_ssize_t = 0
        closed: cython.Py_ssize_t = 0
        for kind, ident, done in events:
            if kind == R_PARSE_NAMED:
                name = self.pending_parses[parsed]
                self.pending_parses[parsed] = None
                parsed += 1
                if not done and name is not None:
                    self.undefine(name)
            elif kind == R_CLOSE_NAMED:
                name, shared = self.pending_closes[closed]
                self.pending_closes[closed] = _SETTLED
                closed += 1
                if shared is None:
                    continue
                if done:
                    self.shared.release(shared)
                else:
                    self.reopen(name, shared)
            elif kind == R_PARSE_FAILED:
                self.unnamed_failed(ident)
            elif kind in (R_PARSE_UNNAMED, R_CLOSE_UNNAMED, R_QUERY):
                self.unnamed_kept(ident)
        if parsed:
            del self.pending_parses[:parsed]
        if closed:
            del self.pending_closes[:closed]
        return 0

    def may_come_back(self) -> cython.bint:
        """Whether statements will exist again if an outstanding Close is not executed."""
        return self.closes_unnamed or len(self.pending_closes) > 0

    def at_rest(self) -> int:
        """Called when nothing is outstanding: all names are as assumed."""
        self.closes_unnamed = False
        return self.rested()

    def undefine(self, name: bytes) -> int:
        """Undo a Parse that was not executed; a later Close of its name has nothing to close."""
        i: cython.Py_ssize_t
        for i in range(len(self.pending_closes)):
            closed, shared = self.pending_closes[i]
            if closed == name and shared is not None:
                self.pending_closes[i] = (name, None)
                self.failed[shared.ident] = name
                self.has_batch_names = True
                self.shared.release(shared)
                return 0
        if name in self.named:
            self.failed[self.named[name].ident] = name
            self.has_batch_names = True
        return self.discard(name)

    def reopen(self, name: bytes, shared) -> int:
        """Undo a Close that was not executed, and so a later Parse of the name."""
        if name in self.named:
            self.discard(name)
            if name in self.pending_parses:
                self.pending_parses[self.pending_parses.index(name)] = None
        self.named[name] = shared
        return 0

    def take_back(self) -> int:
        """Restore the names as they were before the current batch, none of whose answers has been passed on."""
        self.become(self.rest)
        self.rested()
        names: set = set(self.pending_parses)
        for name, _ in self.pending_closes:
            names.add(name)
        for name in names:
            stood: list = []  # what the name stood for, the oldest first
            for closed, shared in self.pending_closes:
                if closed == name and shared is not None:
                    stood.append(shared)
            if name in self.named:
                stood.append(self.named.pop(name))
            if len(stood) > self.pending_parses.count(name):
                self.named[name] = stood.pop(0)
            for shared in stood:
                self.shared.release(shared)
        self.pending_parses = []
        self.pending_closes = []
        self.describing = []
        return 0

    def in_clients_words(self, error: bytes) -> bytes:
        """Return an ErrorResponse with the client's names of shared statements, where known."""
        return renamed(error, self.name_of)

    def name_of(self, number: int) -> bytes | None:
        """Return the client's name of the shared statement with this number; it may have closed it since."""
        name = self.named.name_of(number)
        if name is None:
            closing = (name for name, shared in self.pending_closes if shared is not None and shared.ident == number)
            name = next(closing, None)
        return self.failed.get(number) if name is None else name

    # -- forgetting

    def discard(self, name: bytes) -> int:
        """Release one name, if it was not closed meanwhile."""
        shared = self.named.pop(name, None)
        if shared is not None:
            self.shared.release(shared)
        return 0

    def forget(self) -> int:
        """Release all statements."""
        self.forget_named()
        return self.forget_unnamed()

    def deallocated(self, statement, server: ServerConnection) -> int:
        """Apply a DEALLOCATE or DISCARD ALL: the named statement is gone, here and on the server, or all of them."""
        if statement.tag == "DEALLOCATE":
            server.session.sql_names = frozenset(server.session.sql_names).difference((statement.prepared.encode(),))
            return self.discard(statement.prepared.encode())
        self.shared.release_all(self.named)
        self.named = Names()
        server.session.prepared = {}
        server.session.sql_names = ()
        return 0

    def forget_named(self) -> int:
        """Release all named statements."""
        if self.named:
            self.shared.release_all(self.named)
            self.named = Names()
        if self.pending_parses:
            self.pending_parses = []
        return self.forget_closing()

    def forget_closing(self) -> int:
        """Release the statements whose Close was never answered."""
        if self.pending_closes:
            for _, shared in self.pending_closes:
                if shared is not None:
                    self.shared.release(shared)
            self.pending_closes = []
        return 0

    def forget_unconfirmed(self) -> int:
        """Release the statements whose Parse was never answered."""
        for name in self.pending_parses:
            if name is not None:
                self.discard(name)
        self.pending_parses = []
        self.describing = []
        return self.forget_closing()
