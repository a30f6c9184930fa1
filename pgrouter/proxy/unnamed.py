"""The unnamed prepared statement of a client, over servers that come and go.

PostgreSQL has it from a Parse without a name to the next one, a Close or a simple Query; each of these only counts
where it is carried out, and behind an error nothing is until Sync. So changes are numbered, the number goes into
`Outstanding` with the request, and a change that was not carried out is taken back when that is heard.

Source: postgres.c, drop_unnamed_stmt() and its callers.
"""

from __future__ import annotations

import cython

# In place of the statement's class: it was too large to be looked at
UNSEEN = object()

REMEMBERED = 256  # changes


class UnnamedStatement:
    """What the client's unnamed statement is, was after each change that may be owed, and was when nothing was owed."""

    def __init__(self) -> None:
        self.cache = None  # of the client's database
        self.unusual_strings = False  # see StatementCache.lookup
        self.unnamed_class = None
        self.unnamed_parse = None  # its Parse message, for servers that do not have it
        self.turn = 0  # number of the last change
        self.earlier = None  # what it was after the changes before that, the oldest first; None while nothing is owed
        self.earliest = 0  # number of the first of these changes
        self.rest = None  # what it was when nothing was owed
        self.rest_turn = 0
        self.describing = []  # what it was when its client asked for descriptions that are not here yet
        self.described = None  # the Parse message that was described to the client last,
        self.description = None  # and how
        self.changed = False  # a server has described it in other words

    def is_described(self) -> cython.bint:
        """Whether the client was told what it looks like."""
        return self.described is not None and self.described is self.unnamed_parse

    def define_unnamed(self, parse: bytes | None) -> cython.uint:
        """Change it to this Parse message, or to none; gives the number of the change, 0: it is none."""
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
        """Note what it is, before another change; the oldest are forgotten when there are too many."""
        if self.earlier is None:
            self.earlier = []
            self.earliest = self.turn
        elif len(self.earlier) == REMEMBERED:
            del self.earlier[: REMEMBERED // 2]
            self.earliest += REMEMBERED // 2
        self.earlier.append(self.unnamed_parse)
        return 0

    def rested(self) -> int:
        """Nothing is owed: it is what we take it for."""
        if self.rest_turn != self.turn:
            self.earlier = None
            self.rest_turn = self.turn
            self.rest = self.unnamed_parse
        return 0

    def is_remembered(self, turn: cython.uint) -> cython.bint:
        """Whether `earlier` says what it was after this change."""
        return self.earlier is not None and self.earliest <= turn < self.turn

    def unnamed_kept(self, turn: cython.uint) -> int:
        """A change was not reached."""
        if turn - 1 == self.rest_turn:
            self.unnamed_was(turn, self.rest)
        elif self.is_remembered(turn - 1):
            self.unnamed_was(turn, self.earlier[turn - 1 - self.earliest])
        return 0

    def unnamed_failed(self, turn: cython.uint) -> int:
        """A Parse has failed: there is none."""
        return self.unnamed_was(turn, None)

    def unnamed_was(self, turn: cython.uint, parse: bytes | None) -> int:
        """After this change it was this."""
        if turn == self.turn:
            self.become(parse)
        elif self.is_remembered(turn):
            self.earlier[turn - self.earliest] = parse
        return 0

    def become(self, parse: bytes | None) -> int:
        """Take it for this from now on."""
        self.unnamed_parse = parse
        self.unnamed_class = None if parse is None else self.classified(parse)
        return 0

    def classified(self, parse: bytes):
        """Give the class of an unnamed Parse message."""
        start: cython.Py_ssize_t = parse.find(0, 5) + 1
        end: cython.Py_ssize_t = parse.find(0, start)
        return None if start == 0 or end < 0 else self.cache.lookup(parse, start, end, self.unusual_strings)

    def forget_unnamed(self) -> int:
        """Have none any more."""
        self.define_unnamed(None)
        return self.rested()
