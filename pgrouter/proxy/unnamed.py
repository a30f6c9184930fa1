"""The unnamed prepared statement of a client, across changing servers.

PostgreSQL has it from a Parse without a name to the next one, a Close or a simple Query; each of these only counts if
it is executed, and after an error nothing is until Sync. So changes are numbered, the number goes into `Outstanding`
with the request, and a change that was not executed is undone when that is reported.

Source: postgres.c, drop_unnamed_stmt() and its callers.
"""

from __future__ import annotations

import cython

# In place of the statement's class: it was too large to be examined
UNSEEN = object()

REMEMBERED = 256  # changes


class UnnamedStatement:
    """The client's unnamed statement: now, after each outstanding change, and when nothing was outstanding."""

    def __init__(self) -> None:
        self.cache = None  # of the client's database
        self.unusual_strings = False  # see StatementCache.lookup
        self.unnamed_class = None
        self.unnamed_parse = None  # its Parse message, for servers that do not have it
        self.turn = 0  # number of the last change
        self.earlier = None  # what it was after earlier changes, the oldest first; None while nothing is outstanding
        self.earliest = 0  # number of the first of these changes
        self.rest = None  # what it was when nothing was outstanding
        self.rest_turn = 0
        self.describing = []  # what it was at each Describe that is outstanding
        self.described = None  # the Parse message that was described to the client last
        self.description = None  # and its description
        self.changed = False  # a server has described it differently

    def is_described(self) -> cython.bint:
        """Whether the client has got its description."""
        return self.described is not None and self.described is self.unnamed_parse

    def define_unnamed(self, parse: bytes | None) -> cython.uint:
        """Change it to this Parse message, or to none; returns the number of the change, 0 if nothing changes."""
        if parse is None:
            if self.unnamed_parse is None and self.unnamed_class is not UNSEEN:
                self.unnamed_class = None
                return 0
            self.unnamed_class = None
        if self.turn != self.rest_turn:
            self.remember_earlier()
        self.unnamed_parse = parse
        self.turn += 1
        return self.turn

    def remember_earlier(self) -> int:
        """Store what it is, before another change; the oldest are dropped if there are too many."""
        if self.earlier is None:
            self.earlier = []
            self.earliest = self.turn
        elif len(self.earlier) == REMEMBERED:
            del self.earlier[: REMEMBERED // 2]
            self.earliest += REMEMBERED // 2
        self.earlier.append(self.unnamed_parse)
        return 0

    def rested(self) -> int:
        """Called when nothing is outstanding: it is as assumed."""
        if self.rest_turn != self.turn:
            self.earlier = None
            self.rest_turn = self.turn
            self.rest = self.unnamed_parse
        return 0

    def is_remembered(self, turn: cython.uint) -> cython.bint:
        """Whether `earlier` has what it was after this change."""
        return self.earlier is not None and self.earliest <= turn < self.turn

    def unnamed_kept(self, turn: cython.uint) -> int:
        """Undo a change that was not executed."""
        if turn - 1 == self.rest_turn:
            self.unnamed_was(turn, self.rest)
        elif self.is_remembered(turn - 1):
            self.unnamed_was(turn, self.earlier[turn - 1 - self.earliest])
        return 0

    def unnamed_failed(self, turn: cython.uint) -> int:
        """Apply the failure of a Parse: there is no statement after it."""
        return self.unnamed_was(turn, None)

    def unnamed_was(self, turn: cython.uint, parse: bytes | None) -> int:
        """Correct what it was after a change."""
        if turn == self.turn:
            self.become(parse)
        elif self.is_remembered(turn):
            self.earlier[turn - self.earliest] = parse
        return 0

    def become(self, parse: bytes | None) -> int:
        """Set the statement, without a numbered change."""
        self.unnamed_parse = parse
        self.unnamed_class = None if parse is None else self.classified(parse)
        return 0

    def classified(self, parse: bytes):
        """Return the class of an unnamed Parse message."""
        start: cython.Py_ssize_t = parse.find(0, 5) + 1
        end: cython.Py_ssize_t = parse.find(0, start)
        return None if start == 0 or end < 0 else self.cache.lookup(parse, start, end, self.unusual_strings)

    def forget_unnamed(self) -> int:
        """Forget the statement."""
        self.define_unnamed(None)
        return self.rested()
