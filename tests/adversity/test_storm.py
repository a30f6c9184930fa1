"""Clients of every kind at once on a few server connections, their bytes cut anywhere: each hears its own answers only.

Every answer carries a word that only its client knows, so what leaks from one to another is seen at once. The storm is
random and has a seed, which a failure names; the interleaving is the machine's.
"""

# ruff: noqa: S608  (the SQL is ours)

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.front import running
from support.rawclient import (
    COPY_DONE,
    EXECUTE,
    SYNC,
    RawClient,
    bind,
    codes,
    extended,
    message,
    parse,
    query,
    sqlstate,
    values,
)
from support.router import static_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = [pytest.mark.pg, pytest.mark.timeout(180)]

CLIENTS = 12
UNEXPECTED = r"closed: (?!client disconnect)|unexpected|invalid frontend"


@pytest.fixture
def front(streaming: StreamingCluster) -> Iterator[Router]:
    streaming.primary.sql("drop table if exists storm; create table storm (who text, number int)")
    streaming.wait_caught_up()
    settings = {"cluster": static_cluster(streaming.servers), "auth": {"type": "trust"}, "pool": {"size": 3}}
    with running(settings) as router:
        yield router


class Stormy:
    """One client: does things at random, checks every answer, and now and then tears its connection down."""

    def __init__(self, port: int, number: int, seed: int) -> None:
        self.port = port
        self.name = f"client{number}"
        self.chance = random.Random(f"{seed} {number}")  # noqa: S311  (a test's dice)
        self.count = 0
        self.done = 0
        self.connect()

    def connect(self) -> None:
        """Log in; what the session has set is known from here on."""
        self.client = RawClient(self.port, timeout_s=60)
        self.client.login()
        self.setting = ""
        self.prepared: set[str] = set()

    def word(self) -> str:
        """Make a word that nobody else has."""
        self.count += 1
        return f"{self.name}.{self.count}"

    def send(self, data: bytes) -> None:
        """Send in pieces, cut anywhere, with or without a pause between them."""
        while data:
            size = len(data) if self.chance.random() < 0.5 else self.chance.randint(1, len(data))
            self.client.send(data[:size])
            data = data[size:]
            if data and self.chance.random() < 0.5:
                time.sleep(self.chance.random() * 0.003)

    def expect(self, rows: list[list[str | None]], state: str = "", status: bytes = b"I") -> None:
        """Take one answer, up to ReadyForQuery, and hold it against what it must be."""
        said = self.client.until_ready()
        assert (values(said), sqlstate(said), said[-1].body) == (rows, state, status), (self.name, said)

    # -- what it does

    def simple(self) -> None:
        word = self.word()
        self.send(query(f"select '{word}'"))
        self.expect([[word]])

    def write(self) -> None:
        word = self.word()
        self.send(query(f"insert into storm values ('{word}', 1) returning who"))
        self.expect([[word]])

    def pipeline(self) -> None:
        words = [self.word() for _ in range(self.chance.randint(2, 8))]
        asks = [self.chance.choice((query, extended)) for _ in words]
        kinds = [self.chance.choice(("select '{}'", "insert into storm values ('{}', 1) returning who")) for _ in words]
        self.send(b"".join(ask(kind.format(word)) for ask, kind, word in zip(asks, kinds, words, strict=True)))
        for word in words:
            self.expect([[word]])

    def named(self) -> None:
        name = self.chance.choice("abcdefgh")
        word = self.word()
        define = b"" if name in self.prepared else parse(f"select '{self.name}', '{name}'", name)
        self.prepared.add(name)
        self.send(define + bind(name) + EXECUTE + SYNC + query(f"select '{word}'"))
        self.expect([[self.name, name]])
        self.expect([[word]])

    def error(self) -> None:
        word = self.word()
        self.send(extended("select 1/0") + extended(f"select '{word}'") + query("selekt"))
        self.expect([], "22012")
        self.expect([[word]])
        self.expect([], "42601")

    def set_and_show(self) -> None:
        self.setting = self.word()
        self.send(query(f"set storm.who = '{self.setting}'"))
        self.expect([])

    def show(self) -> None:
        self.send(query("select coalesce(current_setting('storm.who', true), '')"))
        self.expect([[self.setting]])

    def transaction(self) -> None:
        word, end = self.word(), self.chance.choice(("commit", "rollback"))
        self.send(query("begin") + query(f"insert into storm values ('{word}', 2)"))
        self.expect([], status=b"T")
        self.expect([], status=b"T")
        self.send(query(f"select who from storm where who = '{word}'"))
        self.expect([[word]], status=b"T")
        self.send(query(end) + query(f"/*pgrouter: primary*/ select count(*) from storm where who = '{word}'"))
        self.expect([])
        self.expect([["1" if end == "commit" else "0"]])

    def read_only(self) -> None:
        word = self.word()
        self.send(query("begin read only") + query(f"select '{word}'"))
        self.expect([], status=b"T")
        self.expect([[word]], status=b"T")
        self.send(query("commit") + query(f"insert into storm values ('{word}', 3) returning who"))
        self.expect([])
        self.expect([[word]])

    def copy_in(self) -> None:
        word = self.word()
        self.send(query("copy storm from stdin"))
        assert codes(self.client.until("GZ")) == "G"
        lines = [message(b"d", f"{word}\t{n}\n".encode()) for n in range(self.chance.randint(1, 20))]
        bad = self.chance.random() < 0.5
        if bad:
            lines.insert(self.chance.randrange(len(lines) + 1), message(b"d", b"nonsense\n"))
        self.send(b"".join(lines) + COPY_DONE)
        self.expect([], "22P04" if bad else "")
        self.simple()

    def copy_out(self) -> None:
        word = self.word()
        self.send(query(f"copy (select '{word}' from generate_series(1, 200)) to stdout"))
        said = self.client.until_ready()
        assert {m.body for m in said if m.code == "d"} == {f"{word}\n".encode()}, (self.name, said[:5])

    def cancel(self) -> None:
        self.send(query("/*pgrouter: primary*/ select pg_sleep(0.3)"))
        time.sleep(self.chance.random() * 0.05)
        self.client.cancel()
        said = self.client.until_ready()
        assert sqlstate(said) in ("", "57014")  # it may have come too early, as on a direct connection
        self.simple()

    def vanish(self) -> None:
        """Send a part of something, or all of it, and be gone."""
        word = self.word()
        talk = self.chance.choice(
            [
                query("begin") + query(f"insert into storm values ('{word}', 4)"),
                query("copy storm from stdin") + message(b"d", f"{word}\t1\n".encode()) * 50,
                b"".join(query(f"select '{word}'") for _ in range(50)),
                query("select repeat('x', 2000) from generate_series(1, 2000)"),
                extended(f"select '{word}'")[:-5],
                query(f"set storm.who = '{word}'") + query("create temp table storm (mine int)"),
            ]
        )
        self.send(talk[: self.chance.randint(1, len(talk))])
        if self.chance.random() < 0.5:
            time.sleep(self.chance.random() * 0.01)
        if self.chance.random() < 0.5:
            self.client.reset()
        else:
            self.client.close()
        self.connect()

    def step(self) -> None:
        """Do one of these."""
        common = [self.simple, self.write, self.pipeline, self.named, self.show, self.transaction, self.copy_in]
        rare = [self.error, self.set_and_show, self.read_only, self.copy_out, self.vanish, self.cancel]
        self.chance.choice(common * 2 + rare)()
        self.done += 1


def storm(front: Router, seconds: float) -> list[Stormy]:
    """Let them all loose for a time; an assertion of any of them ends it."""
    seed = random.randrange(1_000_000)  # noqa: S311
    clients = [Stormy(front.port, number, seed) for number in range(CLIENTS)]
    failures: list[BaseException] = []
    end = time.monotonic() + seconds

    def work(step: Callable[[], None]) -> None:
        try:
            while time.monotonic() < end and not failures:
                step()
        except BaseException as error:  # noqa: BLE001  (told below)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(client.step,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.client.close()
    if failures:
        raise AssertionError(f"seed {seed}") from failures[0]
    return clients


@pytest.mark.parametrize("seconds", [6, pytest.param(90, marks=pytest.mark.slow)])
def test_everybody_hears_his_own_answers_only(front: Router, seconds: float) -> None:
    clients = storm(front, seconds)
    assert all(client.done > 10 for client in clients), [client.done for client in clients]
    assert not front.log_contains(UNEXPECTED)
