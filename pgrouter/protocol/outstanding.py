"""A server's outstanding answers, oldest first, each with what to do with it.

Every request to a server is entered here with an action: FORWARD its answer to the client, SKIP it (the request was
ours: a SET or a Parse in front of a client's batch), or FAKE it (the request was never sent because its answer is
known: a Parse of a statement that this server already has). `answer` gets the type of every message from the server
and returns what to do with it; a server with no outstanding answers and status 'I' is free for the next client.

The table ANSWERS is the whole state machine: which messages belong to the answer of a request and which end it. A
message without an entry means that we and the server are OUT_OF_SYNC, and the connection must not be used again.

Source: protocol chapter, "Message Flow"; the three actions are PgBouncer's (server.c, prepare.c).
"""

from __future__ import annotations

from array import array

import cython

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import (
        BIND_COMPLETE,
        CLOSE_COMPLETE,
        COMMAND_COMPLETE,
        COPY_DATA,
        COPY_DONE,
        COPY_IN_RESPONSE,
        COPY_OUT_RESPONSE,
        DATA_ROW,
        EMPTY_QUERY_RESPONSE,
        ERROR_RESPONSE,
        FUNCTION_CALL_RESPONSE,
        NO_DATA,
        PARAMETER_DESCRIPTION,
        PARSE_COMPLETE,
        PORTAL_SUSPENDED,
        READY_FOR_QUERY,
        ROW_DESCRIPTION,
    )
    from pgrouter.protocol.requests import (
        ABORTS,
        BIND,
        CHECK,
        CHECK_UNNAMED,
        CLOSE,
        CLOSE_NAMED,
        CLOSE_UNNAMED,
        COPY_END,
        DESCRIBE,
        ENDS,
        EXECUTE,
        FAKE,
        FORWARD,
        FUNCTION,
        OUT_OF_SYNC,
        PARSE,
        PARSE_FAILED,
        PARSE_NAMED,
        PARSE_UNNAMED,
        PART,
        QUERY,
        REFUSED,
        REFUSED_QUERY,
        SHIFT,
        SYNC,
    )

_COPY = (COPY_IN_RESPONSE, COPY_OUT_RESPONSE, COPY_DATA, COPY_DONE)
_ROWS = (ROW_DESCRIPTION, DATA_ROW, COMMAND_COMPLETE, EMPTY_QUERY_RESPONSE, ERROR_RESPONSE)

# An ErrorResponse in the extended protocol ends its request and, unanswered, all that follow up to the Sync.
ANSWERS: dict[int, dict[int, tuple[int, ...]]] = {
    QUERY: {PART: (*_ROWS, *_COPY), ENDS: (READY_FOR_QUERY,)},
    FUNCTION: {PART: (FUNCTION_CALL_RESPONSE, ERROR_RESPONSE), ENDS: (READY_FOR_QUERY,)},
    PARSE: {ENDS: (PARSE_COMPLETE,), ABORTS: (ERROR_RESPONSE,)},
    PARSE_NAMED: {ENDS: (PARSE_COMPLETE,), ABORTS: (ERROR_RESPONSE,)},
    PARSE_UNNAMED: {ENDS: (PARSE_COMPLETE,), ABORTS: (ERROR_RESPONSE,)},
    BIND: {ENDS: (BIND_COMPLETE,), ABORTS: (ERROR_RESPONSE,)},
    DESCRIBE: {PART: (PARAMETER_DESCRIPTION,), ENDS: (ROW_DESCRIPTION, NO_DATA), ABORTS: (ERROR_RESPONSE,)},
    EXECUTE: {
        PART: (DATA_ROW, *_COPY),
        ENDS: (COMMAND_COMPLETE, EMPTY_QUERY_RESPONSE, PORTAL_SUSPENDED),
        ABORTS: (ERROR_RESPONSE,),
    },
    CLOSE: {ENDS: (CLOSE_COMPLETE,), ABORTS: (ERROR_RESPONSE,)},
    CLOSE_UNNAMED: {ENDS: (CLOSE_COMPLETE,), ABORTS: (ERROR_RESPONSE,)},
    CHECK: {PART: (PARAMETER_DESCRIPTION,), ENDS: (ROW_DESCRIPTION, NO_DATA), ABORTS: (ERROR_RESPONSE,)},
    CHECK_UNNAMED: {PART: (PARAMETER_DESCRIPTION,), ENDS: (ROW_DESCRIPTION, NO_DATA), ABORTS: (ERROR_RESPONSE,)},
    SYNC: {PART: (ERROR_RESPONSE,), ENDS: (READY_FOR_QUERY,)},  # an error here: the commit of an implicit transaction
    CLOSE_NAMED: {},  # never sent
    REFUSED: {ABORTS: (ERROR_RESPONSE,)},
    REFUSED_QUERY: {PART: (ERROR_RESPONSE,), ENDS: (READY_FOR_QUERY,)},
    COPY_END: {},  # CopyDone and CopyFail have no answer of their own
}

VERDICTS = bytearray(32 * 256)
for _request, _meanings in ANSWERS.items():
    for _meaning, _codes in _meanings.items():
        for _code in _codes:
            VERDICTS[_request * 256 + _code] = _meaning


class Outstanding:
    """A ring of outstanding answers.

    `events` (`has_events`: there are some) collects the fate of named statements, in order, for the owner to take:
    (PARSE_NAMED, id, True) parsed, (PARSE_NAMED, id, False) not parsed because of an error at or before it,
    (CLOSE, id, False) not closed, and the same for CLOSE_NAMED without an id; (CHECK, id, True) described or not,
    and the same for CHECK_UNNAMED.
    The id is 0 if the lost request was a FAKE: the client's name is gone, the server is unchanged.
    Requests that change the client's unnamed statement are reported, too, with the number of the change as id.
    `checks`: the number of outstanding CHECKs.
    `unnamed_lost`: it is unknown which unnamed statement the server has now; the owner resets this.
    `uncertain`: after an error during COPY it is unknown whether a Sync was read; the server must not be used again.
    """

    def __init__(self) -> None:
        self.memory = None
        self.allot(32)
        self.head = 0
        self.count = 0
        self.copying = False
        self.skipping = False
        self.uncertain = False
        self.unnamed_lost = False
        self.fakes = 0
        self.checks = 0
        self.events = []
        self.has_events = False

    def push(self, kind: cython.int, action: cython.int, ident: cython.uint = 0) -> int:
        """Enter a request; `ident`: the shared statement of a named Parse or Close, or why the request is REFUSED."""
        at: cython.int
        if kind == COPY_END and self.count == 0:
            return 0  # no COPY in progress: the server ignores it, and so do we
        if self.skipping:
            if kind != SYNC:
                return self.lose(kind, action, ident)
            self.skipping = False
        if self.count > self.mask:
            self.grow()
        at = (self.head + self.count) & self.mask
        self.entries[at] = cython.cast(cython.ulonglong, ident) << 8 | kind << SHIFT | action
        self.count += 1
        if action == FAKE:
            self.fakes += 1
        return 0

    def push_check(self, kind: cython.int, action: cython.int, ident: cython.uint) -> int:
        """Enter a CHECK of either kind."""
        self.checks += 1
        return self.push(kind, action, ident)

    def allot(self, size: cython.int) -> int:
        """Allocate a ring of `size` entries, a power of two."""
        self.mask = size - 1
        if cython.compiled:
            self.memory = bytearray(8 * size)
            self.entries = cython.cast(cython.p_ulonglong, libc.PyByteArray_AS_STRING(self.memory))
        else:
            self.entries = array("Q", bytes(8 * size))
        return 0

    def grow(self) -> int:
        """Double the ring, its head at 0 again."""
        size: cython.int = self.mask + 1
        _memory: bytearray = self.memory  # keeps the old entries alive meanwhile
        entries: cython.p_ulonglong = self.entries
        i: cython.int
        self.allot(2 * size)
        for i in range(size):
            self.entries[i] = entries[(self.head + i) & (size - 1)]
        self.head = 0
        return 0

    def front(self) -> int:
        """The oldest request, 0 if none is outstanding."""
        if self.count == 0:
            return 0
        return (self.entries[self.head] & 255) >> SHIFT

    def action(self) -> int:
        """What to do with the answer of the oldest request."""
        return self.entries[self.head] & 3

    def behind(self, place: cython.int) -> int:
        """The request `place` entries after the oldest one, 0 if there is none."""
        if place >= self.count:
            return 0
        return (self.entries[(self.head + place) & self.mask] & 255) >> SHIFT

    def refusal(self) -> int:
        """Why the oldest request was refused; 0: it was not."""
        kind: cython.int = self.front()
        return self.entries[self.head] >> 8 if kind == REFUSED or kind == REFUSED_QUERY else 0

    def pop(self) -> int:
        """Remove the oldest entry."""
        if self.action() == FAKE:
            self.fakes -= 1
        self.count -= 1
        self.head = (self.head + 1) & self.mask if self.count else 0  # mostly the same entry, still in the CPU cache
        return 0

    def answer(self, code: cython.int) -> int:
        """Account for one message from the server: FORWARD or SKIP it; OUT_OF_SYNC if it answers no request."""
        entry: cython.int
        verdict: cython.int
        if self.count == 0:
            return OUT_OF_SYNC
        entry = self.entries[self.head] & 255
        if self.copying and (code == COMMAND_COMPLETE or code == ERROR_RESPONSE):
            self.end_copy(code == ERROR_RESPONSE)
        verdict = VERDICTS[(entry >> SHIFT << 8) + code]
        if verdict == PART:
            if code == COPY_IN_RESPONSE:
                self.copying = True
        elif verdict == ENDS:
            self.end_front()
        elif verdict == ABORTS:
            self.abort()
            return FORWARD  # also when the request was ours: the client waits for the end of its batch
        else:
            return OUT_OF_SYNC
        return entry & 3

    def end_front(self) -> int:
        """The oldest request has its answer."""
        kind: cython.int = self.front()
        if kind == PARSE_NAMED:
            self.tell(kind, self.entries[self.head] >> 8, True)
        elif self.checks and (kind == CHECK or kind == CHECK_UNNAMED):
            self.checks -= 1
            self.tell(kind, self.entries[self.head] >> 8, True)
        self.pop()
        self.drop_copy_ends()
        return 0

    def drop_copy_ends(self) -> int:
        """Drop each CopyDone and CopyFail at the front: the server ignores them, since no COPY is in progress."""
        while self.front() == COPY_END:
            self.pop()
        return 0

    def end_copy(self, failed: cython.bint) -> int:
        """A COPY FROM STDIN of the oldest request is over: drop what it has read, which gets no answer.

        That is its CopyDone and any Sync before it, which PostgreSQL ignores there; libpq sends such a Sync if it did
        not know that the statement is a COPY. A failed COPY may have ended before its CopyDone, even before the Sync:
        that cannot be known (`uncertain`), but almost certainly it read the Sync, sent before the data that failed.

        Source: copyfromparse.c CopyGetData().
        """
        entry: cython.ulonglong = self.entries[self.head]
        done: cython.int = 1
        self.copying = False
        while self.behind(done) == SYNC:
            done += 1
        if self.behind(done) == COPY_END:
            done += 1
        elif not failed:
            return 0
        if failed and done > 1 and self.behind(1) == SYNC:
            self.uncertain = True
        # The request itself stays: it moves up to the remaining entries. Neither it nor a dropped one is ever FAKE.
        self.head = (self.head + done - 1) & self.mask
        self.count -= done - 1
        self.entries[self.head] = entry
        return 0

    def abort(self) -> int:
        """An error: the request and all those after it up to the next Sync get no answer."""
        kind: cython.int
        if self.front() == PARSE_UNNAMED:
            self.unnamed_lost = True
            self.tell(PARSE_FAILED, self.entries[self.head] >> 8, False)
            self.pop()
        while self.count:
            kind = self.front()
            if kind == SYNC:
                return 0
            self.lose(kind, self.action(), self.entries[self.head] >> 8)
            self.pop()
        self.skipping = True  # the Sync is still to come: the server ignores all before it
        return 0

    def tell(self, kind: cython.int, ident: cython.uint, done: cython.bint) -> int:
        """Report the fate of a request to the owner."""
        self.events.append((kind, ident, done))
        self.has_events = True
        return 0

    def lose(self, kind: cython.int, action: cython.int, ident: cython.uint) -> int:
        """Handle a request that the server ignores; it is reported to the owner if it is about a prepared statement."""
        if kind == CHECK or kind == CHECK_UNNAMED:
            self.checks -= 1
            self.tell(kind, ident, False)
        elif kind == PARSE and ident == 0:
            self.unnamed_lost = True
        elif kind == PARSE_UNNAMED or kind == CLOSE_UNNAMED:
            self.unnamed_lost = True
            self.tell(kind, ident, False)
        elif kind == PARSE_NAMED or kind == CLOSE_NAMED or (ident and kind != REFUSED):
            self.tell(kind, 0 if action == FAKE else ident, False)
        return 0

    def take_fake(self) -> int:
        """Remove the oldest request if its answer is to be faked; return it, or 0."""
        kind: cython.int
        if self.fakes == 0 or self.count == 0 or self.action() != FAKE:
            return 0
        kind = self.front()
        if kind == PARSE_NAMED or kind == CLOSE_NAMED:
            self.tell(kind, self.entries[self.head] >> 8, True)
        self.pop()
        self.drop_copy_ends()
        return kind

    def take_events(self) -> list:
        """Return the fate of named statements since the last call."""
        events: list = self.events
        self.events = []
        self.has_events = False
        return events

    def clear(self) -> int:
        """Forget everything: the connection is gone."""
        self.head = 0
        self.count = 0
        self.fakes = 0
        self.checks = 0
        self.copying = False
        self.skipping = False
        self.uncertain = False
        self.take_events()
        return 0

    def pending(self) -> list[tuple[int, int]]:
        """Return the outstanding requests with their actions, oldest first (for tests and logs)."""
        return [(self.behind(i), self.entries[(self.head + i) & self.mask] & 3) for i in range(self.count)]
