"""Prepared statements of many clients over many servers.

A client's name stands for a shared statement: one for each query text with parameter types, and for each combination of
the settings that decide what the text means (`settings.MEANING`: DATE '1/2/2003' is a constant once it is parsed). On
servers a shared statement has a name chosen by the router, so that clients cannot collide, and a server that has parsed
it for one client serves the next without parsing. Source of the idea: PgBouncer's prepare.c.

All servers that hold a shared statement describe it identically: the first description is kept, and when another server
parses the statement the descriptions are compared (`proxy.held`), because there may have been DDL in between.
PostgreSQL does the same for one session: the parameter types stay, and a different result type is an error.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from hashlib import blake2b

import cython

from pgrouter.protocol.framing import copied, is_same

PREFIX = b"pgrouter_"

# Statements that no client holds any more are kept, so that short-lived clients find them parsed.
UNUSED_KEPT = 5000
# Names that are released at once, in less than a millisecond; if there are more, as many with each tick, and some with
# each new statement.
AT_ONCE = 500
SOME = 8

_OURS = re.compile(rb'"pgrouter_([0-9]{1,18})"')

# In place of a description: what it describes (a cursor, another statement) is looked up whenever it is bound
VARIES = b""
LONGEST = 64  # bytes of columns that are stored as they are; longer ones as a digest


class SharedStatement:
    """A query text with parameter types that clients have prepared, each under names of its own."""

    def __init__(self, ident: int, body: bytes, meaning: object, statement: object, judge: object) -> None:
        self.ident = ident
        self.name = PREFIX + b"%d" % ident  # on servers
        self.body = body  # of a Parse message, after its name: query NUL, parameter types
        self.meaning = meaning  # settings that it is parsed under
        self.statement = statement  # its classification
        self.judge = judge  # the cache that has classified it; another one may resolve names differently
        self.users = 0  # clients' names that stand for it
        self.description = None  # by the servers that have parsed it; None: no answer yet
        self.first = None  # the server whose description will come first
        wire = self.name + b"\0" + body
        self.parse = b"P" + (len(wire) + 4).to_bytes(4, "big") + wire

    def parse_again(self) -> bytes:
        """Build the Parse message with the parameter types that it has been described with."""
        return with_types(self.parse, self.description) if self.description else self.parse

    def describe(self) -> bytes:
        """Build the Describe message that asks a server about it."""
        wire = b"S" + self.name + b"\0"
        return b"D" + (len(wire) + 4).to_bytes(4, "big") + wire

    def close(self) -> bytes:
        """Build the Close message that makes a server forget it."""
        wire = b"S" + self.name + b"\0"
        return b"C" + (len(wire) + 4).to_bytes(4, "big") + wire

    def __repr__(self) -> str:
        return f"<statement {self.ident} users={self.users}>"


def description(parameters: bytes, columns: bytes | None) -> bytes:
    """Return what decides how values are encoded and decoded, in a form that can be compared.

    That is the body of a ParameterDescription, and that of a RowDescription (None: NoData) without what PostgreSQL does
    not compare either: the tables that columns come from, and the formats. Source: plancache.c, equalTupleDescs().

    Raises:
        ValueError: they are no such bodies.

    """
    if len(parameters) != 2 + 4 * int.from_bytes(parameters[:2], "big"):
        raise ValueError("not a ParameterDescription")
    if columns is None:
        return parameters
    out = columns[:2]
    at = 2
    for _ in range(int.from_bytes(columns[:2], "big")):
        end = columns.index(0, at) + 1
        out += columns[at:end] + columns[end + 6 : end + 16]  # name; type, its length and modifier
        at = end + 18
    if at != len(columns):
        raise ValueError("not a RowDescription")
    return parameters + (out if len(out) <= LONGEST else blake2b(out, digest_size=32).digest())


def with_types(parse: bytes, described: bytes) -> bytes:
    """Build a Parse message with the parameter types of a description."""
    wire = parse[5 : parse.index(0, parse.index(0, 5) + 1) + 1]
    wire += described[: 2 + 4 * int.from_bytes(described[:2], "big")]
    return b"P" + (len(wire) + 4).to_bytes(4, "big") + wire


class Names(dict):
    """The shared statements that a client's names stand for; finding the last one again does not copy its name."""

    def __init__(self) -> None:
        dict.__init__(self)
        self.last_name = None
        self.last = None
        self.by_number = {}  # number of a statement -> its name, or a dict of its names

    def find(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> SharedStatement | None:
        """Return the shared statement of the name buf[start:end]."""
        if self.last_name is not None and is_same(self.last_name, buf, start, end):
            return self.last
        name = copied(buf, start, end)
        shared = dict.get(self, name)
        if shared is not None:
            self.last_name = name
            self.last = shared
        return shared

    def name_of(self, number: int) -> bytes | None:
        """Return a name of the shared statement with this number."""
        named = self.by_number.get(number)
        return next(iter(named), None) if isinstance(named, dict) else named

    def __setitem__(self, name: bytes, shared: SharedStatement) -> None:
        if name in self:
            self.pop(name)
        self.last_name = None
        dict.__setitem__(self, name, shared)
        others = self.by_number.get(shared.ident)
        if others is None:
            self.by_number[shared.ident] = name
        elif isinstance(others, dict):
            others[name] = None
        else:
            self.by_number[shared.ident] = {others: None, name: None}

    def __delitem__(self, name: bytes) -> None:
        if self.pop(name) is None:
            raise KeyError(name)

    def pop(self, name: bytes, default: SharedStatement | None = None) -> SharedStatement | None:
        """Remove a name and return what it stood for."""
        self.last_name = None
        shared = dict.pop(self, name, None)
        if shared is None:
            return default
        named = self.by_number[shared.ident]
        if isinstance(named, dict):
            del named[name]
            if named:
                return shared
        del self.by_number[shared.ident]
        return shared


def renamed(error: bytes, name_of) -> bytes:
    """Return an ErrorResponse with the client's names of shared statements; `name_of` returns the name for a number."""

    def name(found: re.Match[bytes]) -> bytes:
        known = name_of(int(found[1]))
        return found[0] if known is None else b'"%s"' % known

    return _OURS.sub(name, error)


class SharedStatements:
    """All shared statements of a database, by the body of their Parse message and its meaning."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, object], SharedStatement] = {}
        self._unused: OrderedDict[int, SharedStatement] = OrderedDict()
        self._leaving: list[Names] = []  # of clients that have released them
        self._last = 0  # the newest number of a statement
        self._renewed = 0  # what has this number or a lower one is shared no more

    def __len__(self) -> int:
        return len(self._known)

    def acquire(self, body: bytes, statement: object, judge: object = None, meaning: object = ()) -> SharedStatement:
        """Return the shared statement of this body for a client's name; a new one if `meaning` equals no other."""
        shared = self._known.get((body, meaning))
        if shared is None:
            shared = SharedStatement(self._next(), body, meaning, statement, judge)
            self._known[body, meaning] = shared
            if self._leaving:
                self.let_go(SOME)
        self._unused.pop(shared.ident, None)
        shared.users += 1
        return shared

    def _next(self) -> int:
        self._last += 1
        return self._last

    def alone(self, shared: SharedStatement, meaning: object, known: bytes | None) -> SharedStatement:
        """Return a statement with the same text and this description that is never shared: for one client's name."""
        other = SharedStatement(self._next(), shared.body, meaning, shared.statement, shared.judge)
        other.description = known
        other.users = 1
        return other

    def release(self, shared: SharedStatement) -> None:
        """Release a statement that a client's name no longer stands for."""
        shared.users -= 1
        if shared.users == 0 and self._known.get((shared.body, shared.meaning)) is shared:
            self._unused[shared.ident] = shared
            if len(self._unused) > UNUSED_KEPT:
                _, oldest = self._unused.popitem(last=False)
                del self._known[oldest.body, oldest.meaning]

    def release_all(self, names: Names) -> None:
        """Release all statements of a client's names; if there are very many, bit by bit."""
        self._leaving.append(names)
        if len(names) <= AT_ONCE:
            self.let_go(AT_ONCE)

    def let_go(self, number: int = AT_ONCE) -> None:
        """Release up to `number` of the names that no client has any more."""
        while self._leaving and number > 0:
            names = self._leaving[0]
            while names and number > 0:
                number -= 1
                self.release(names.popitem()[1])
                if names.by_number:
                    names.by_number.popitem()
            if not names:
                del self._leaving[0]

    def retire(self, shared: SharedStatement) -> None:
        """Never share again what was parsed before its plan turned out to be out of date: the catalog has changed."""
        if shared.ident > self._renewed:  # else others have noticed before, and what is known is newer
            self.renew()

    def renew(self) -> None:
        """Never share again what has been parsed so far: the catalog has changed, and old plans may not fit it."""
        self._renewed = self._last
        self._known.clear()
        self._unused.clear()
