"""Batches of every length, in pieces as they may come, whatever is open: as on a direct connection.

What is read as a whole before it goes anywhere must not wait for what only comes once it has gone.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from support.front import running
from support.rawclient import EXECUTE, FLUSH, SYNC, parse, query
from support.router import static_cluster
from support.stage import DATABASES, TRUST, Heard, Stage, asked, bind, describe, heard

from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.rawclient import RawClient
    from support.router import Router

pytestmark = [pytest.mark.pg, pytest.mark.timeout(120)]

LENGTH = parse("select length($1)")
MB = 1024 * 1024


def of(size: int) -> bytes:
    return bind("", "", b"x" * size)


BATCHES = {
    "many messages": b"".join(parse(f"select {n}", f"s{n}") for n in range(600)) + SYNC,
    "more than a buffer": b"".join(parse(f"select {n}", f"s{n}") for n in range(6000)) + SYNC,
    "a long parameter": LENGTH + of(700 * 1024) + EXECUTE + SYNC,
    "a huge parameter": LENGTH + of(3 * MB) + EXECUTE + SYNC,
    "huge and small parameters": LENGTH + of(3 * MB) + EXECUTE + of(7) + EXECUTE + SYNC,
    "two long parameters": (LENGTH + of(700 * 1024) + EXECUTE) * 2 + SYNC,
    "many parameters": LENGTH + (of(5000) + EXECUTE) * 400 + SYNC,
    "messages as long as what is kept": LENGTH + (of(1024 - 22 - 10) + EXECUTE) * 1500 + SYNC,
    "with an error in the middle": LENGTH + (of(5000) + EXECUTE) * 200 + parse("selec") + (of(50) + EXECUTE) * 200
    + SYNC,
    "a Flush behind a huge parameter": LENGTH + of(3 * MB) + EXECUTE + FLUSH + of(3) + EXECUTE + SYNC,
    "a huge text": parse(f"select length('{'x' * 2 * MB}')") + bind() + EXECUTE + SYNC,
    "a huge text in the middle": LENGTH + of(9) + EXECUTE + parse(f"select length('{'x' * 2 * MB}')") + bind() + EXECUTE
    + SYNC,
    "a huge Query": query(f"select length('{'x' * 2 * MB}')"),
}  # fmt: skip
BEFORE = [
    "select 1", "begin", "begin read only", "begin read only; select 1",
    "begin isolation level repeatable read read only", "begin read only; select 1/0",
    "create temp table kept (i int)",
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[StreamingCluster]:
    with StreamingCluster(2, options=TRUST) as cluster:
        for database in DATABASES:
            cluster.primary.sql(f"create database {database}")
        cluster.wait_caught_up()
        yield cluster


@pytest.fixture(scope="module")
def router(cluster: StreamingCluster) -> Iterator[Router]:
    settings = {"cluster": static_cluster(cluster.servers), "auth": {"type": "trust"}, "pool": {"size": 3}}
    with running(settings) as router:
        router.several = True
        yield router


@pytest.fixture
def stage(cluster: StreamingCluster, router: Router) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(cluster, router, stack)


def sent(client: RawClient, pieces: list[bytes]) -> Heard:
    """Send the pieces, each once the one before has been read by the other side, and give the answer to all."""

    def send() -> None:
        for piece in pieces:
            client.send(piece)
            time.sleep(0.003)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return heard(client.until_ready())
    finally:
        sender.join()


@pytest.mark.parametrize("what", BATCHES)
@pytest.mark.parametrize("before", BEFORE)
def test_a_batch_is_answered_however_long_it_is(stage: Stage, before: str, what: str) -> None:
    batch = BATCHES[what]
    cuts = {(), (len(batch) - 5,), (9000, 30_000), (len(batch) // 2, len(batch) // 2 + 3, len(batch) - 3)}

    def play(database: str) -> list[Heard]:
        said = []
        for cut in sorted(cuts):
            edges = [0, *cut, len(batch)]
            with ExitStack() as stack:
                client = stage.client(database)
                stack.callback(client.close)
                client.ask(before)
                pieces = [batch[begin:end] for begin, end in pairwise(edges)]
                said += [sent(client, pieces), heard(client.ask("select 2")), heard(client.ask("rollback"))]
        return said

    stage.both(play)


@pytest.mark.parametrize("before", ["select 1", "begin read only", "begin read only; select 1", "begin"])
@pytest.mark.parametrize("size", [10, 70 * 1024, MB, 2 * MB])
def test_a_long_batch_waits_for_what_its_server_knows_of_a_statement(stage: Stage, before: str, size: int) -> None:
    """It was described by another server: this one is asked first, with the batch behind that."""

    def play(database: str) -> list[Heard]:
        said = []
        for cut in ((), (100,), (9000, 30_000), (size // 2, size)):
            client = stage.client(database)
            client.ask("set pgrouter.route = 'primary'")
            asked(client, parse("select length($1)", "p") + describe("p") + SYNC)
            client.ask("set pgrouter.route = 'auto'")
            client.ask(before)
            batch = (bind("p", "", b"x" * size) + EXECUTE) * 3 + bind("p", "", b"x") + EXECUTE + SYNC
            edges = [0, *cut, len(batch)]
            said.append(sent(client, [batch[begin:end] for begin, end in pairwise(edges)]))
            said += [heard(client.ask("select 2")), heard(client.ask("rollback"))]
            client.close()
        return said

    stage.both(play)


@pytest.mark.parametrize("what", [what for what, batch in BATCHES.items() if batch.endswith(SYNC)])
@pytest.mark.parametrize("before", BEFORE[:5])
def test_who_goes_in_the_middle_of_a_batch_keeps_nothing(stage: Stage, before: str, what: str) -> None:
    client = stage.client("routed")
    client.ask(before)
    client.sock.settimeout(1)
    client.send(BATCHES[what][:-5])
    client.close()
    until(lambda: not [row for row in stage.router.admin("SHOW CLIENTS") if row["database"] == "routed"], 5, "logout")
    until(
        lambda: not [row for row in stage.router.admin("SHOW SERVERS") if row["state"] == "active"], 5, "free servers"
    )


def test_a_huge_query_that_is_skipped_leaves_the_unnamed_statement(stage: Stage) -> None:
    def play(database: str) -> list[Heard]:
        client = stage.client(database)
        said = [asked(client, parse("select 'the first'") + SYNC)]
        skipped = parse("selec", "n") + query(f"select length('{'x' * 2 * MB}')") + SYNC
        said.append(asked(client, skipped))
        said += stage.elsewhere(database, client, bind() + EXECUTE + SYNC)
        return said

    stage.both(play)
