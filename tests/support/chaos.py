"""A client that runs short transactions of every kind, drops its connection now and then, and keeps a ledger.

Each transaction inserts `rows` rows with its own number into the table `chaos`, or none, and the ledger says what must
be there in the end: all of them (acknowledged), none (COMMIT was never sent), or either (sent, but not acknowledged).
"""

# ruff: noqa: S608  (the SQL is ours)

from __future__ import annotations

import contextlib
import random
import struct
from collections import Counter
from typing import TYPE_CHECKING

from support.crowd import HungUp
from support.rawclient import (
    COPY_DONE,
    DESCRIBE,
    EXECUTE,
    FLUSH,
    SYNC,
    TERMINATE,
    bind,
    codes,
    extended,
    message,
    parse,
    query,
    sqlstate,
    startup,
    values,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.crowd import Program, Talker
    from support.rawclient import Message

TABLE = "drop table if exists chaos; create table chaos (who int, number int, part int)"
NEVER, UNKNOWN, DONE = range(3)
BIG = "select repeat('x', 1000) from generate_series(1, 2000)"
LOGIN = startup(user="postgres", database="postgres")


class Vanish(Exception):
    """The client vanishes here, without closing properly."""


def bind_numbers(name: str, *numbers: int) -> bytes:
    """Return a Bind with parameters in text format."""
    body = f"\0{name}\0".encode() + struct.pack("!HH", 0, len(numbers))
    for number in numbers:
        text = str(number).encode()
        body += struct.pack("!i", len(text)) + text
    return message(b"B", body + b"\0\0")


def execute(limit: int) -> bytes:
    """Return an Execute of the unnamed portal with a limit of rows."""
    return message(b"E", b"\0" + struct.pack("!I", limit))


class Chaos:
    """One client; `program` is everything it does."""

    def __init__(self, who: int, seed: int, transactions: int, vanishing: float) -> None:
        self.who = who
        self.dice = random.Random(f"{seed} {who}")  # noqa: S311  (a test's dice)
        self.transactions = transactions
        self.vanishing = vanishing
        self.ledger: dict[int, tuple[int, int]] = {}  # number -> (rows, NEVER, UNKNOWN or DONE)
        self.did: Counter[str] = Counter()
        self.vanished: Counter[str] = Counter()
        self.number = 0
        self.rows = 0
        self.fuse = 0  # number of sends until it vanishes; 0: it stays
        self.talker: Talker
        self.setting = ""
        self.prepared = False

    def program(self, talker: Talker) -> Program:
        """Run all transactions, on as many connections as it takes."""
        self.talker = talker
        names, weights = zip(*ACTIONS.items(), strict=True)
        yield from self.login()
        for number in range(1, self.transactions + 1):
            self.number = number
            action = self.dice.choices(names, weights)[0]
            self.rows = self.dice.randint(1, 4)
            self.fuse = self.dice.randint(1, 4) if self.dice.random() < self.vanishing else 0
            self.ledger[self.number] = (self.rows, NEVER)
            try:
                yield from action(self)
            except Vanish:
                self.vanished[action.__name__] += 1
                yield from self.vanish()
                yield from self.login()
            except HungUp:
                raise AssertionError(f"client {self.who} was hung up on in {action.__name__}") from None
            self.did[action.__name__] += 1
        talker.send(TERMINATE)
        with contextlib.suppress(HungUp):
            yield ""

    def login(self) -> Program:
        self.fuse = 0
        self.setting, self.prepared = "", False
        self.talker.connect()
        self.talker.send(LOGIN)
        said = yield "ZE"
        assert said[-1].code == "Z", said

    def vanish(self) -> Program:
        """Disconnect: at once or a little later, with FIN or RST, without reading any more."""
        self.talker.deafen()
        wait_s = self.dice.choice((0, 0, 0, 0.002, 0.02, 0.2))
        if wait_s:
            yield wait_s
        self.dice.choice((self.talker.close, self.talker.reset))()

    # -- building blocks of the actions

    def say(self, data: bytes, commit: bytes = b"") -> None:
        """Send, or send only a part and vanish. Once a byte of `commit` is sent, the outcome is unknown."""
        whole = data + commit
        size = len(whole)
        self.fuse -= 1
        if self.fuse == 0:
            size = self.dice.choice((size, self.dice.randint(0, size)))
        if size > len(data):
            self.ledger[self.number] = (self.rows, UNKNOWN)
        if size < len(whole) or self.dice.random() < 0.1:  # and sometimes in two pieces, split anywhere
            cut = self.dice.randint(0, size)
            self.talker.send(whole[:cut])
            self.talker.send(whole[cut:size])
        else:
            self.talker.send(whole)
        if self.fuse == 0:
            raise Vanish

    def expect(self, said: list[Message], want: str, status: bytes = b"I", state: str = "") -> None:
        """Compare an answer with what is expected: its message types and its end."""
        got = (codes(said), said[-1].body, sqlstate(said))
        assert got == (want, status, state), (self.who, self.number, got, said)

    def done(self) -> None:
        self.ledger[self.number] = (self.rows, DONE)

    @property
    def insert(self) -> str:
        return f"insert into chaos select {self.who}, {self.number}, g from generate_series(1, {self.rows}) g"

    # -- actions

    def read(self) -> Program:
        word = f"{self.who}.{self.number}"
        self.say(query(f"select '{word}'") if self.dice.random() < 0.5 else extended(f"select '{word}'"))
        said = yield "Z"
        assert values(said) == [[word]], said

    def autocommit(self) -> Program:
        self.say(b"", query(self.insert))
        self.expect((yield "Z"), "CZ")
        self.done()

    def several_statements(self) -> Program:
        self.say(b"", query(f"{self.insert}; select 1; update chaos set part = part where who = -1"))
        self.expect((yield "Z"), "CTDCCZ")
        self.done()

    def block(self) -> Program:
        self.say(query("begin"))
        self.expect((yield "Z"), "CZ", b"T")
        self.say(query(self.insert))
        self.expect((yield "Z"), "CZ", b"T")
        end = self.dice.choice(("commit", "rollback"))
        self.say(*((b"", query(end)) if end == "commit" else (query(end),)))
        self.expect((yield "Z"), "CZ")
        if end == "commit":
            self.done()

    def block_in_extended(self) -> Program:
        self.say(extended("begin"))
        self.expect((yield "Z"), "12nCZ", b"T")
        self.say(extended(self.insert))
        self.expect((yield "Z"), "12nCZ", b"T")
        self.say(b"", extended("commit"))
        self.expect((yield "Z"), "12nCZ")
        self.done()

    def pipeline_of_one_sync(self) -> Program:
        lead = parse("begin") + bind() + EXECUTE + parse(self.insert) + bind() + EXECUTE
        self.say(lead, parse("commit") + bind() + EXECUTE + SYNC)
        self.expect((yield "Z"), "12C12C12CZ")
        self.done()

    def pipeline_of_implicit_transaction(self) -> Program:
        """A pipeline in which only the Sync commits."""
        one = f"insert into chaos values ({self.who}, {self.number}, 7)"
        self.say((parse(one) + bind() + EXECUTE) * self.rows, SYNC)
        self.expect((yield "Z"), "12C" * self.rows + "Z")
        self.done()

    def pipeline_of_many_syncs(self) -> Program:
        self.say(extended("begin") + query(self.insert), extended("commit") + query("select 2"))
        self.expect((yield "Z"), "12nCZ", b"T")
        self.expect((yield "Z"), "CZ", b"T")
        self.expect((yield "Z"), "12nCZ")
        self.done()
        said = yield "Z"
        assert values(said) == [["2"]], said

    def flushed(self) -> Program:
        self.say(parse(self.insert) + bind() + EXECUTE + FLUSH)
        assert codes((yield "CE")) == "12C"
        self.say(b"", SYNC)
        self.expect((yield "Z"), "Z")
        self.done()

    def prepared_statement(self) -> Program:
        """One that all clients use, and one of its own."""
        want = "2C2D" if self.prepared else "112C2D"
        if not self.prepared:
            text = "insert into chaos select $1::int, $2::int, g from generate_series(1, $3::int) g"
            self.say(parse(text, "ins") + parse(f"select 'client {self.who}'", "own"))
        bound = bind_numbers("ins", self.who, self.number, self.rows) + EXECUTE + bind("own") + EXECUTE
        self.say(bound, SYNC)
        said = yield "Z"
        self.expect(said, want + "CZ")
        assert values(said) == [[f"client {self.who}"]]
        self.prepared = True
        self.done()

    def setting_of_session(self) -> Program:
        word = f"w{self.who}.{self.number}"
        self.say(query(f"set chaos.word = '{word}'"))
        self.expect((yield "Z"), "CZ")
        self.setting = word
        yield from self.show()

    def show(self) -> Program:
        self.say(query("select coalesce(current_setting('chaos.word', true), ''), current_setting('work_mem')"))
        said = yield "Z"
        assert values(said) == [[self.setting, "4MB"]], (self.who, self.setting, said)

    def setting_of_transaction(self) -> Program:
        self.say(query("begin; set local work_mem = '77MB'; set chaos.word = 'gone'"))
        self.expect((yield "Z"), "CCCZ", b"T")
        self.say(query("rollback"))
        self.expect((yield "Z"), "CZ")
        yield from self.show()

    def temporary_table(self) -> Program:
        self.say(query("create temp table mine (a int)"))
        self.expect((yield "Z"), "CZ")
        self.say(b"", query(f"insert into mine values (1); {self.insert}"))
        self.expect((yield "Z"), "CCZ")
        self.done()
        self.say(query("drop table mine"))
        self.expect((yield "Z"), "CZ")

    def advisory_lock(self) -> Program:
        self.say(query(f"select pg_advisory_lock({self.dice.randint(1, 1000)})"))
        self.expect((yield "Z"), "TDCZ")
        self.say(b"", query(self.insert))
        self.expect((yield "Z"), "CZ")
        self.done()
        self.say(query("select pg_advisory_unlock_all()"))
        self.expect((yield "Z"), "TDCZ")

    def copy_in(self) -> Program:
        self.say(query("copy chaos from stdin"))
        assert codes((yield "GE")) == "G"
        lines = b"".join(b"%d\t%d\t%d\n" % (self.who, self.number, part) for part in range(self.rows))
        cut = self.dice.randint(0, len(lines))
        fails = self.dice.random() < 0.2
        data = message(b"d", lines[:cut]) + message(b"d", lines[cut:])
        if fails:
            self.say(data + message(b"f", b"never mind\0"))
            self.expect((yield "Z"), "EZ", state="57014")
        else:
            self.say(data, COPY_DONE)
            self.expect((yield "Z"), "CZ")
            self.done()

    def copy_out(self) -> Program:
        self.say(query("copy (select generate_series(1, 200), 'some words') to stdout"))
        self.expect((yield "Z"), "H" + "d" * 200 + "cCZ")

    def big_result(self) -> Program:
        self.fuse = 1 if self.fuse else 0
        self.say(self.dice.choice((query(BIG), query(f"copy ({BIG}) to stdout"))))
        assert len((yield "Z")) >= 2000

    def cursor(self) -> Program:
        self.say(query("begin") + query("declare c cursor for select generate_series(1, 10)"))
        self.expect((yield "Z"), "CZ", b"T")
        self.expect((yield "Z"), "CZ", b"T")
        self.say(query("fetch 3 from c") + query(self.insert))
        self.expect((yield "Z"), "TDDDCZ", b"T")
        self.expect((yield "Z"), "CZ", b"T")
        self.say(b"", query("commit"))
        self.expect((yield "Z"), "CZ")
        self.done()

    def portal(self) -> Program:
        self.say(parse("select generate_series(1, 5)") + bind() + DESCRIBE + execute(2) * 3 + SYNC)
        self.expect((yield "Z"), "12TDDsDDsDCZ")

    def error_in_block(self) -> Program:
        self.say(query("begin") + query(self.insert) + query("select 1/0") + query("select 2"))
        self.expect((yield "Z"), "CZ", b"T")
        self.expect((yield "Z"), "CZ", b"T")
        said = yield "Z"
        assert (sqlstate(said), said[-1].body) == ("22012", b"E"), said
        self.expect((yield "Z"), "EZ", b"E", "25P02")
        self.say(query(self.dice.choice(("commit", "rollback"))))
        said = yield "Z"
        assert said[0].body == b"ROLLBACK\0", said

    def error_in_pipeline(self) -> Program:
        self.say(parse(self.insert) + bind() + EXECUTE + parse("select 1/0") + bind() + EXECUTE + EXECUTE + SYNC)
        self.expect((yield "Z"), "12C1EZ", state="22012")

    def listening(self) -> Program:
        self.say(query(f"listen channel{self.who}"))
        self.expect((yield "Z"), "CZ")
        self.say(b"", query(f"{self.insert}; notify channel{self.who}, '{self.number}'"))
        said = yield "Z"
        self.done()
        news = [m.body[4:] for m in said if m.code == "A"] or [m.body[4:] for m in (yield "A") if m.code == "A"]
        assert news == [f"channel{self.who}\0{self.number}\0".encode()], said
        self.say(query("unlisten *"))
        self.expect((yield "Z"), "CZ")

    def cancelled(self) -> Program:
        self.say(query("begin") + query(self.insert))
        self.expect((yield "Z"), "CZ", b"T")
        self.expect((yield "Z"), "CZ", b"T")
        self.say(query("select pg_sleep(0.1)"))
        yield 0.01
        self.talker.cancel()
        said = yield "Z"
        self.did["cancel requests that came in time"] += sqlstate(said) == "57014"
        self.say(query("rollback"))
        self.expect((yield "Z"), "CZ")


ACTIONS: dict[Callable[[Chaos], Program], int] = {
    Chaos.read: 10, Chaos.autocommit: 10, Chaos.several_statements: 6, Chaos.block: 10, Chaos.block_in_extended: 6,
    Chaos.pipeline_of_one_sync: 6, Chaos.pipeline_of_implicit_transaction: 6, Chaos.pipeline_of_many_syncs: 6,
    Chaos.flushed: 4, Chaos.prepared_statement: 10, Chaos.setting_of_session: 3, Chaos.show: 3,
    Chaos.setting_of_transaction: 3, Chaos.temporary_table: 3, Chaos.advisory_lock: 3, Chaos.copy_in: 6,
    Chaos.copy_out: 2, Chaos.big_result: 1, Chaos.cursor: 4, Chaos.portal: 4, Chaos.error_in_block: 4,
    Chaos.error_in_pipeline: 4, Chaos.listening: 3, Chaos.cancelled: 1,
}  # fmt: skip
