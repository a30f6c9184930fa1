"""Frontend messages in any order, legal and not, and the answers: "target: as direct".

`Torturer(seed).conversation()` creates a list of pieces, `answers` sends it and returns what came back in a form in
which two servers can be compared: PostgreSQL itself is the specification. `shrink` finds the pieces that matter.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from support.rawclient import RawClient, message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCHEMA = """
create table c as select i as a, 'word ' || i as b from generate_series(1, 5) i;
create table w (a int, b text, id serial);
"""
RESET = "truncate w restart identity"
END = "the end of it"
QUIET_S = 0.5

SIMPLE = [
    "select 1", "select 1", "select a, b from c order by a", "", ";", "/* nothing */", "select 1; select 2",
    "select 1/0", "selekt", "begin", "begin", "commit", "commit", "rollback", "begin; select 1; commit",
    "insert into w values (1, 'x')", "insert into w values (2, 'y') returning *",
    "insert into w values (3); select 1/0; insert into w values (4)", "begin; insert into w values (5); select 1/0",
    "insert into w values (6); commit; insert into w values (7); select 1/0", "commit; begin",
    "select 1; rollback; select 2", "begin; select 1/0; rollback; select 3", "savepoint a", "rollback to a",
    "release a", "set work_mem = '5MB'", "show work_mem", "set local work_mem = '6MB'", "reset all", "discard all",
    "reset work_mem", "copy c to stdout", "copy w (a, b) from stdin", "copy w (a, b) from stdin; select 1",
    "select 1; copy c to stdout; select 2", "copy c to stdout; copy w (a, b) from stdin",
    "copy w (a, b) from stdin; copy w (a, b) from stdin", "begin; copy w (a, b) from stdin",
    "copy nowhere from stdin", "prepare q as select 1", "execute q", "deallocate q", "deallocate all",
    "declare c1 cursor for select a from c order by a", "declare c1 cursor with hold for select a from c order by a",
    "fetch 2 from c1", "close c1", "close all", "listen news", "notify news, 'x'", "unlisten *",
    "create temp table tmp (a int)", "drop table tmp", "select * from tmp", "insert into tmp values (1)",
    "explain (costs off) select a from c", "do $$ begin raise notice 'hear'; end $$", "set transaction read only",
    "begin read only", "end; end", "select 1; begin", "begin; begin", "prepare transaction 'x'", "select $1",
    "set client_encoding = 'LATIN1'", "select 'ä'", "reset client_encoding", "set standard_conforming_strings = off",
    "select '\\''", "set datestyle = 'German'", "select date '2020-01-02'", "set role nobody_knows",
    "select set_config('work_mem', '7MB', false)", "select set_config('work_mem', '8MB', true)",
    "select nextval('w_id_seq')", "select pg_advisory_lock(1)", "select pg_advisory_unlock_all()",
    "create table made (a int)", "drop table made", "select * from made", "fetch 1 from p1",
    "select generate_series(1, 3)", "set statement_timeout = '1min'", "begin; commit; begin; commit",
    "select repeat('x', 20000)", "truncate w", "update w set a = a + 1 returning a", "select 1 as one \\gset",
    "begin; savepoint a; select 1/0; rollback to a; select 4; commit", "set session authorization default",
    "analyze c",
]  # fmt: skip
# With the number of parameters
EXTENDED = [
    ("select 1", 0), ("select $1::int", 1), ("select $1::int + $2::int", 2), ("select a, b from c order by a", 0),
    ("select a from c where a > $1 order by a", 1), ("insert into w values ($1, $2)", 2),
    ("insert into w values ($1, $2) returning id", 2), ("", 0), ("begin", 0), ("commit", 0), ("rollback", 0),
    ("select 1/0", 0), ("select 1 / $1::int", 1), ("selekt", 0), ("select 1; select 2", 0), ("copy c to stdout", 0),
    ("copy w (a, b) from stdin", 0), ("set work_mem = '9MB'", 0), ("show work_mem", 0), ("select * from nowhere", 0),
    ("savepoint a", 0), ("rollback to a", 0), ("deallocate all", 0), ("declare c2 cursor for select 1", 0),
    ("create temp table tmp (a int)", 0), ("select * from tmp", 0), ("select generate_series(1, $1::int)", 1),
    ("select $1", 1), ("select $2::int", 2), ("listen news", 0), ("set local work_mem = '3MB'", 0),
    ("fetch 1 from c2", 0), ("create table made (a int)", 0), ("select * from made", 0),
    ("select repeat('y', $1)", 1), ("explain select 1", 0),
]  # fmt: skip
VALUES = [b"1", b"2", b"0", None, b"x", b"\0\0\0\1", b"", b"\xff"]
COPIES = [b"1\tone\n", b"2\ttwo\n3\tthree\n", b"nonsense\n", b"", b"4\tfo", b"ur\n", b"\\.\n", b"5\t\\N\n", b"\xff\n"]
TRANSACTION = [b"begin", b"commit", b"rollback", b"savepoint", b"end;"]


class Piece(NamedTuple):
    """A message, or what is sent in its place, and its name for people."""

    name: str
    data: bytes


def strings(*words: str | bytes) -> bytes:
    """Return strings as encoded in messages."""
    return b"".join((word.encode() if isinstance(word, str) else word) + b"\0" for word in words)


def without_late_syncs(pieces: list[Piece]) -> list[Piece]:
    """Drop a Sync among the data of a COPY: if that fails, it is unknown whether it was read before."""
    kept: list[Piece] = []
    copying = False
    for piece in pieces:
        code = piece.data[:1]
        if not (copying and code == b"S"):
            kept.append(piece)
        copying = code == b"d" or (copying and code in b"dSH")
    return kept


def query_piece(sql: str | bytes) -> Piece:
    """Return a simple Query."""
    return Piece(f"Query({sql!r})", message(b"Q", strings(sql)))


SYNC = Piece("Sync", message(b"S"))
FLUSH = Piece("Flush", message(b"H"))
COPY_DONE = Piece("CopyDone", message(b"c"))
COPY_FAIL = Piece("CopyFail", message(b"f", b"never mind\0"))
TERMINATE = Piece("Terminate", message(b"X"))
# Ends the session whatever its state; twice, in case the first one was consumed by a COPY.
TAIL = [COPY_FAIL, SYNC, query_piece("rollback"), SYNC, query_piece(f"select '{END}'")] * 2


class Torturer:
    """Creates conversations from a seed."""

    def __init__(self, seed: str, *, illegal: float = 0.02) -> None:
        self.dice = random.Random(seed)  # noqa: S311  (a test's dice)
        self.illegal = illegal
        self.parameters: dict[str, int] = {}

    def conversation(self) -> list[Piece]:
        """Return a conversation, without its tail."""
        self.parameters = {}
        pieces: list[Piece] = []
        for _ in range(self.dice.randint(1, 8)):
            pieces += self.phrase()
        for _ in range(self.dice.choice((0, 0, 1, 2))):
            self.disturb(pieces)
        return without_late_syncs(pieces)

    def phrase(self) -> list[Piece]:
        """Return some messages that belong together."""
        kind = self.dice.choices(
            (self.simple, self.extended, self.copy, self.anything), (5, 6, 1, 3)
        )[0]  # fmt: skip
        return kind()

    def disturb(self, pieces: list[Piece]) -> None:
        """Drop, repeat, swap or corrupt a message."""
        if not pieces:
            return
        at, other = self.dice.randrange(len(pieces)), self.dice.randrange(len(pieces))
        how = self.dice.randrange(4)
        if how == 0:
            del pieces[at]
        elif how == 1:
            pieces.insert(other, pieces[at])
        elif how == 2:
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif self.dice.random() < self.illegal * 10:
            pieces[at] = self.spoilt(pieces[at])

    # -- phrases

    def simple(self) -> list[Piece]:
        return [query_piece(self.dice.choice(SIMPLE))]

    def extended(self) -> list[Piece]:
        """Statements as a driver sends them, with or without some of their messages."""
        name = self.dice.choice(("", "", "", "s1", "s2", "s3"))
        pieces = []
        if self.dice.random() < 0.8:
            pieces.append(self.parse(name))
        if self.dice.random() < 0.3:
            pieces.append(self.describe("S", name))
        for _ in range(self.dice.choice((0, 1, 1, 1, 1, 2))):
            portal = self.dice.choice(("", "", "", "p1", "p2"))
            pieces.append(self.bind(portal, name))
            if self.dice.random() < 0.4:
                pieces.append(self.describe("P", portal))
            pieces += [self.execute(portal) for _ in range(self.dice.choice((0, 1, 1, 1, 2)))]
            if self.dice.random() < 0.1:
                pieces.append(self.close("P", portal))
        if self.dice.random() < 0.1:
            pieces.append(self.close("S", name))
        pieces += self.dice.choice(([SYNC], [SYNC], [SYNC], [FLUSH], [], [FLUSH, SYNC], [SYNC, SYNC]))
        return pieces

    def copy(self) -> list[Piece]:
        """A COPY FROM STDIN with data that may be good."""
        sql = self.dice.choice([sql for sql in SIMPLE if "from stdin" in sql])
        begin = [query_piece(sql)]
        if self.dice.random() < 0.4:
            parse = Piece(f"Parse('', {sql!r})", message(b"P", strings("", sql) + b"\0\0"))
            begin = [parse, self.bind("", ""), self.execute("")]
        data = [self.copy_data() for _ in range(self.dice.randint(0, 3))]
        after = self.dice.choice(([], [SYNC], [FLUSH], [SYNC, SYNC]))
        return begin + data + [self.dice.choice((COPY_DONE, COPY_DONE, COPY_DONE, COPY_FAIL))] + after

    def anything(self) -> list[Piece]:
        """One message of any kind, regardless of what was before."""
        name, portal = self.dice.choice(("", "s1", "s2", "no")), self.dice.choice(("", "p1", "no"))
        makers = [
            lambda: SYNC, lambda: FLUSH, lambda: COPY_DONE, lambda: COPY_FAIL, self.copy_data, self.function,
            lambda: self.parse(name), lambda: self.bind(portal, name), lambda: self.describe("S", name),
            lambda: self.describe("P", portal), lambda: self.close("S", name), lambda: self.close("P", portal),
            lambda: self.execute(portal),
        ]  # fmt: skip
        piece = self.dice.choice(makers)()
        if self.dice.random() < self.illegal * 5:
            return [self.spoilt(piece)]
        return [TERMINATE] if self.dice.random() < self.illegal else [piece]

    # -- messages

    def parse(self, name: str) -> Piece:
        sql, count = self.dice.choice(EXTENDED)
        if self.dice.random() < 0.1:
            sql, count = self.dice.choice(SIMPLE), 0
        self.parameters[name] = count
        types = self.dice.choices(((), (23,), (25,), (23, 23), (99999,), (0, 0, 0)), (12, 2, 1, 1, 0.3, 1))[0]
        body = strings(name, sql) + struct.pack(f"!H{len(types)}I", len(types), *types)
        return Piece(f"Parse({name!r}, {sql!r}, {types})", message(b"P", body))

    def bind(self, portal: str, name: str) -> Piece:
        count = self.parameters.get(name, 0)
        if self.dice.random() < 0.1:
            count = self.dice.randint(0, 3)
        values = self.dice.choices(VALUES, (20, 10, 2, 2, 4, 2, 1, 1), k=count)
        formats = self.dice.choices(((), (0,), (1,), (0, 1), (2,), (-1,)), (16, 1, 1, 1, 0.3, 0.1))[0]
        results = self.dice.choices(((), (0,), (1,), (0, 1), (7,)), (14, 1, 2, 1, 0.3))[0]
        body = strings(portal, name) + struct.pack(f"!H{len(formats)}h", len(formats), *formats)
        body += struct.pack("!H", len(values))
        for value in values:
            body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
        body += struct.pack(f"!H{len(results)}h", len(results), *results)
        return Piece(f"Bind({portal!r}, {name!r}, {values}, {formats}, {results})", message(b"B", body))

    def describe(self, what: str, name: str) -> Piece:
        return Piece(f"Describe({what}, {name!r})", message(b"D", what.encode() + strings(name)))

    def close(self, what: str, name: str) -> Piece:
        return Piece(f"Close({what}, {name!r})", message(b"C", what.encode() + strings(name)))

    def execute(self, portal: str) -> Piece:
        limit = self.dice.choices((0, 1, 2, 1000, -1), (10, 3, 3, 1, 0.2))[0]
        return Piece(f"Execute({portal!r}, {limit})", message(b"E", strings(portal) + struct.pack("!i", limit)))

    def copy_data(self) -> Piece:
        data = self.dice.choices(COPIES, (8, 4, 1, 1, 2, 2, 1, 1, 0.5))[0]
        return Piece(f"CopyData({data!r})", message(b"d", data))

    def function(self) -> Piece:
        """Call int4pl (177), a function that does not exist, or one with the wrong arguments."""
        oid, values = self.dice.choice(((177, [b"1", b"2"]), (177, [b"1"]), (999999, []), (177, [b"x", b"2"])))
        body = struct.pack("!IHH", oid, 0, len(values))
        body += b"".join(struct.pack("!I", len(value)) + value for value in values) + struct.pack("!H", 0)
        return Piece(f"FunctionCall({oid}, {values})", message(b"F", body))

    # -- what no driver sends

    def spoilt(self, piece: Piece) -> Piece:
        """Return a message that PostgreSQL refuses, in one way or another."""
        data, dice = piece.data, self.dice
        how = dice.choice(("cut", "more", "body", "code", "short", "huge", "letter"))
        if how == "cut":  # a valid frame with too short a body
            data = message(data[:1], data[5 : 5 + dice.randint(0, max(0, len(data) - 6))])
        elif how == "more":
            data = message(data[:1], data[5:] + dice.choice((b"\0", b"x", b"\0\0\0\0\1", b"more\0")))
        elif how == "body" and len(data) > 5:
            at = dice.randrange(5, len(data))
            data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
        elif how == "code":
            data = dice.choice((b"!", b"\0", b"Z", b"p", b"q", b"\xff", b"R")) + data[1:]
        elif how == "short":
            data = data[:1] + struct.pack("!I", dice.choice((0, 1, 3, 0xFFFFFFFF, 0x80000000, 0x40000000))) + data[5:]
        elif how == "huge":
            data = data[:1] + struct.pack("!I", len(data) + dice.choice((1, 7, 100, 0x3FFFFF00))) + data[5:]
        elif how == "letter" and data[:1] in (b"D", b"C"):
            data = data[:5] + b"X" + data[6:]
        return Piece(f"{how} {piece.name}: {data!r}", data)


# Statements that decide what a name means, and those executed by name
NAMING = [
    "select 1", "select 2", "select 1", "select 2", "select 1/0", "selekt", "deallocate all", "deallocate s1",
    "discard all", "begin", "commit", "rollback", "execute s1", "select * from nowhere", "set work_mem = '9MB'",
]  # fmt: skip
NAMED = [
    "select 1/0", "begin", "commit", "rollback", "deallocate s1", "deallocate s2", "deallocate all", "discard all",
    "execute s1", "set work_mem = '5MB'", "select 1", "begin; select 1/0",
    "select name, statement, parameter_types from pg_prepared_statements order by 1",
]  # fmt: skip


class NameTorturer(Torturer):
    """Creates pipelines that define, use and drop a few names in any order, with errors in between."""

    def conversation(self) -> list[Piece]:
        """Return a conversation, without its tail; a Query never follows messages without a Sync."""
        pieces: list[Piece] = []
        for _ in range(self.dice.randint(3, 16)):
            name, portal = self.dice.choice(("", "s1", "s2")), self.dice.choice(("", "", "p1"))
            parts = self.dice.choices(
                (
                    [self.parse(name)], [self.bind(portal, name), self.execute(portal)], [self.bind(portal, name)],
                    [self.execute(portal)], [self.describe("S", name)], [self.close("S", name)], [SYNC], [FLUSH],
                    [SYNC, query_piece(self.dice.choice(NAMED))],
                ),
                (22, 18, 6, 6, 8, 8, 20, 2, 10),
            )[0]  # fmt: skip
            pieces += parts
        return pieces

    def parse(self, name: str) -> Piece:
        sql = self.dice.choice(NAMING)
        return Piece(f"Parse({name!r}, {sql!r}, ())", message(b"P", strings(name, sql) + b"\0\0"))

    def bind(self, portal: str, name: str) -> Piece:
        return Piece(f"Bind({portal!r}, {name!r}, [], (), ())", message(b"B", strings(portal, name) + bytes(6)))

    def execute(self, portal: str) -> Piece:
        return Piece(f"Execute({portal!r}, 0)", message(b"E", strings(portal) + bytes(4)))


# -- playing


def answers(
    port: int, database: str, pieces: Sequence[Piece], cuts: random.Random | None, quiet_s: float = QUIET_S
) -> list[str]:
    """Send a conversation and its tail, split anywhere, and return the answers without what cannot be equal."""
    data = b"".join(piece.data for piece in [*pieces, *TAIL])
    with RawClient(port) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.login(database=database)
        got = bytearray()
        with contextlib.suppress(ConnectionError):
            for part in parts(data, cuts):
                client.send(part)
                if cuts is not None and cuts.random() < 0.5:
                    time.sleep(cuts.random() * 0.002)
        return normal(receive(client.sock, got, quiet_s))


def parts(data: bytes, cuts: random.Random | None) -> list[bytes]:
    """Split data at random, or not at all."""
    if cuts is None:
        return [data]
    at = sorted(cuts.randrange(len(data)) for _ in range(cuts.choice((0, 1, 3, 8))))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True) if a < b]


def receive(sock: socket.socket, got: bytearray, quiet_s: float) -> tuple[bytes, str]:
    """Receive up to the end of the tail, the end of the connection, or silence, after which we close our side."""
    last = END.encode()
    ended = False
    while True:
        readable, _, _ = select.select([sock], [], [], quiet_s if not ended else 5)
        if not readable:
            if ended:
                return bytes(got), "silence"
            ended = True
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            continue
        try:
            data = sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            return bytes(got), "closed after silence" if ended else "closed"
        got += data
        if got.count(last) == 2 and got[-6:-1] == b"Z\0\0\0\5":
            return bytes(got), "end"


def normal(heard: tuple[bytes, str]) -> list[str]:
    """Format messages, without process ids and OIDs of tables."""
    data, end = heard
    said = []
    at = 0
    while len(data) - at >= 5:
        size = 1 + struct.unpack_from("!I", data, at + 1)[0]
        said.append(written(data[at : at + 1].decode("latin-1"), data[at + 5 : at + size]))
        at += size
    return [*said, end]


def written(code: str, body: bytes) -> str:
    """Format one message."""
    if code in "EN":
        fields = {chr(part[0]): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
        if fields.get("S") == "FATAL":
            return f"{code} FATAL {fields['C']}"
        if fields.get("C") == "25006":  # a standby uses another text
            return f"{code} {fields['S']} {fields['C']}"
        if fields.get("C") == "25P02":  # maybe for what was inserted before the client's message
            fields = {key: fields[key] for key in fields.keys() - {"L", "R"}}
        if fields.get("R") == "CopyGetData":  # what was inserted before the client's message is refused instead
            fields.pop("M")
        return f"{code} " + " ".join(f"{key}={value!r}" for key, value in fields.items())
    if code == "A":
        body = body[4:]
    elif code == "T":
        body = columns(body)
    return f"{code} {body!r}"


def columns(body: bytes) -> bytes:
    """Return a RowDescription without the OIDs of tables."""
    out, at = body[:2], 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        end = body.index(0, at) + 1
        out += body[at:end] + bytes(4) + body[end + 4 : end + 18]
        at = end + 18
    return out


def agree(direct: list[str], routed: list[str]) -> bool:
    """Whether a router answers like PostgreSQL; if that hangs up, the router must, but it may send its messages
    earlier.

    A message that does not belong to COPY ends the connection during COPY, if the server sees it: a Parse or Close that
    the router answers by itself does not. And only PostgreSQL waits for a message of a gigabyte whatever its type is.
    """
    if direct == routed:
        return True
    if direct[-1].startswith("closed") and routed[-1].startswith("closed"):
        said = [each for each in routed[:-1] if not each.startswith("E FATAL")]
        if said == direct[: len(said)]:
            return True
    foreign = [at for at, said in enumerate(direct) if "CopyGetData" in said and "C='08P01'" in said]
    return bool(foreign) and routed[: foreign[0]] == direct[: foreign[0]]


def shrink(pieces: list[Piece], differs: Callable[[list[Piece]], bool]) -> list[Piece]:
    """Remove the pieces that are not needed for the difference."""
    size = len(pieces)
    while size:
        at = 0
        while at < len(pieces):
            fewer = pieces[:at] + pieces[at + size :]
            if differs(fewer):
                pieces = fewer
            else:
                at += size
        size //= 2
    return pieces
