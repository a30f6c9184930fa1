"""Prepared statements of many clients over many servers.

A client's name stands for a shared statement: one for each query text with parameter types, and for each choice of the
settings that decide what the text means (`settings.MEANING`: DATE '1/2/2003' is a constant once it is parsed). On
servers a shared statement has a name of ours, so that clients cannot collide, and a server that has parsed it for one
client serves the next without parsing. Source of the idea: PgBouncer's prepare.c.

All servers that hold a shared statement describe it in the same words: the first one's description is kept, and where
another one parses it anew it is compared (`proxy.held`), for DDL may have come between. PostgreSQL does the same for
one session: the parameter types stay, and another result is an error.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from itertools import count

import cython

from pgrouter.protocol.framing import copied, is_same

PREFIX = b"pgrouter_"

# Statements that no client holds any more stay known, so that clients that come and go find them parsed.
UNUSED_KEPT = 5000

# In place of a description: what it describes (a cursor, another statement) is found anew whenever it is bound
VARIES = b""
LONGEST = 64  # bytes of columns that are kept as they are, not as a digest


class SharedStatement:
    """A query text with parameter types that clients have prepared under some names."""

    def __init__(self, ident: int, body: bytes, meaning: object, statement: object, judge: object) -> None:
        self.ident = ident
        self.name = PREFIX + b"%d" % ident  # on servers
        self.body = body  # of a Parse message behind its name: query NUL, parameter types
        self.meaning = meaning  # settings under which it is parsed
        self.statement = statement  # its class
        self.judge = judge  # the cache that has classified it; another may see other names
        self.users = 0  # clients' names that stand for it
        self.description = None  # by the servers that have parsed it; None: none has said yet
        self.first = None  # the server that will say first
        wire = self.name + b"\0" + body
        self.parse = b"P" + (len(wire) + 4).to_bytes(4, "big") + wire

    def parse_again(self) -> bytes:
        """Build the Parse message that gives it the parameter types which it has been described with."""
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
    """Give what decides how values are written and read, in a form that can be compared.

    That is the body of a ParameterDescription, and of a RowDescription (None: NoData) without what PostgreSQL does not
    compare either: from which tables columns come, and the formats. Source: plancache.c, equalTupleDescs().
    """
    if columns is None:
        return parameters
    out = columns[:2]
    at = 2
    for _ in range(int.from_bytes(columns[:2], "big")):
        end = columns.index(0, at) + 1
        out += columns[at:end] + columns[end + 6 : end + 16]  # name; type, its length and modifier
        at = end + 18
    return parameters + (out if len(out) <= LONGEST else blake2b(out, digest_size=32).digest())


def with_types(parse: bytes, described: bytes) -> bytes:
    """Build a Parse message with the parameter types of a description."""
    wire = parse[5 : parse.index(0, parse.index(0, 5) + 1) + 1]
    wire += described[: 2 + 4 * int.from_bytes(described[:2], "big")]
    return b"P" + (len(wire) + 4).to_bytes(4, "big") + wire


class Names(dict):
    """The shared statements that a client's names stand for; the last one is found again without a copy of its name."""

    def __init__(self, known=()) -> None:
        dict.__init__(self, known)
        self.last_name = None
        self.last = None

    def find(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> SharedStatement | None:
        """Give what the name buf[start:end] stands for."""
        if self.last_name is not None and is_same(self.last_name, buf, start, end):
            return self.last
        name = copied(buf, start, end)
        shared = dict.get(self, name)
        if shared is not None:
            self.last_name = name
            self.last = shared
        return shared

    def __setitem__(self, name: bytes, shared: SharedStatement) -> None:
        self.last_name = None
        dict.__setitem__(self, name, shared)

    def __delitem__(self, name: bytes) -> None:
        self.last_name = None
        dict.__delitem__(self, name)

    def pop(self, name: bytes, default: SharedStatement | None = None) -> SharedStatement | None:
        """Take a name out and give what it stood for."""
        self.last_name = None
        return dict.pop(self, name, default)


class SharedStatements:
    """All shared statements of a database, by the body of their Parse message and what it means."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, object], SharedStatement] = {}
        self._unused: OrderedDict[int, SharedStatement] = OrderedDict()
        self._idents = count(1)

    def __len__(self) -> int:
        return len(self._known)

    def take(self, body: bytes, statement: object, judge: object = None, meaning: object = ()) -> SharedStatement:
        """Give the shared statement of this body to a client's name; one of its own where `meaning` equals no other."""
        shared = self._known.get((body, meaning))
        if shared is None:
            shared = SharedStatement(next(self._idents), body, meaning, statement, judge)
            self._known[body, meaning] = shared
        self._unused.pop(shared.ident, None)
        shared.users += 1
        return shared

    def alone(self, shared: SharedStatement, meaning: object, known: bytes | None) -> SharedStatement:
        """Give a statement of the same text, of this description, to one client's name; no other ever gets it."""
        other = SharedStatement(next(self._idents), shared.body, meaning, shared.statement, shared.judge)
        other.description = known
        other.users = 1
        return other

    def give(self, shared: SharedStatement) -> None:
        """A client's name stands for it no longer."""
        shared.users -= 1
        if shared.users == 0 and self._known.get((shared.body, shared.meaning)) is shared:
            self._unused[shared.ident] = shared
            if len(self._unused) > UNUSED_KEPT:
                _, oldest = self._unused.popitem(last=False)
                del self._known[oldest.body, oldest.meaning]

    def retire(self, shared: SharedStatement) -> None:
        """Give it to nobody else: servers' plans for it are out of date."""
        if self._known.get((shared.body, shared.meaning)) is shared:
            del self._known[shared.body, shared.meaning]

    def renew(self) -> None:
        """Share with nobody else what was parsed before: the catalog has changed, and old plans may not fit it."""
        self._known.clear()
        self._unused.clear()
