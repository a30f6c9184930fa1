"""Cancel requests: they reach the query they are meant for, in whichever place it is, and never another's."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.front import running
from support.rawclient import RawClient, query, sqlstate, startup, values
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

SLEEP = "select pg_sleep(20)"


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    cluster = static_cluster(_streaming_cluster.servers)
    with running({"cluster": cluster, "auth": {"type": "trust"}, "pool": {"size": 4}}) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    assert streaming.primary.alive
    return _front


RUNNING = """
    select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query ~ 'pg_sleep'
"""


def wait_running(streaming: StreamingCluster) -> None:
    """Wait until a server runs it: what has not begun, PostgreSQL does not cancel."""
    until(lambda: any(server.sql(RUNNING)[0][0] for server in streaming.servers), 30, "a query runs")


@pytest.mark.parametrize("way", ["cancel", "cancel_safe"])
@pytest.mark.parametrize("inside", [False, True])
def test_psycopg_cancels_its_query(
    front: Router,
    streaming: StreamingCluster,
    way: str,
    inside: bool,  # noqa: FBT001
) -> None:
    with front.connect() as client:
        if inside:
            client.execute("begin")

        def cancel() -> None:
            wait_running(streaming)
            getattr(client, way)()

        thread = threading.Thread(target=cancel)
        thread.start()
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled, match="due to user request"):
            client.execute(SLEEP)
        thread.join()
        assert time.monotonic() - began < 15
        if inside:
            client.execute("rollback")
        assert client.execute("select 1").fetchone() == (1,)


def test_a_wrong_key_does_nothing(front: Router, streaming: StreamingCluster) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.send(query("/*pgrouter: primary*/ select pg_sleep(3), 'slept'"))
        wait_running(streaming)
        client.cancel(client.key[:4] + bytes(b ^ 1 for b in client.key[4:]))
        client.cancel(b"\xff\xff\xff\xff" + client.key[4:])
        client.cancel(client.key[:4])
        client.cancel(client.key + b"more")
        client.cancel(b"")
        assert values(client.until_ready()) == [["", "slept"]]


def test_an_idle_client_is_not_harmed(front: Router) -> None:
    with RawClient(front.port) as client:
        client.login()
        for _ in range(20):
            client.cancel()
            assert values(client.ask("select 1")) == [["1"]]


def test_a_client_that_waits_for_a_server(front: Router) -> None:
    with ExitStack() as stack:
        holders = [stack.enter_context(front.connect()) for _ in range(4)]
        for holder in holders:
            holder.execute("begin")
        client = stack.enter_context(RawClient(front.port))
        client.login()
        client.send(query("begin"))
        until(lambda: any(row["cl_waiting"] for row in front.admin("SHOW POOLS")), 30, "it waits")
        client.cancel()
        assert sqlstate(client.until_ready()) == "57014"
        for holder in holders:
            holder.execute("commit")
        assert values(client.ask("select 1")) == [["1"]]


def test_protocol_3_2_has_longer_keys(front: Router, streaming: StreamingCluster) -> None:
    with RawClient(front.port) as client:
        client.send(startup((3 << 16) + 2, user="postgres", database="postgres"))
        client.key = next(m.body for m in client.until_ready() if m.code == "K")
        assert len(client.key) == 4 + 32
        client.send(query(SLEEP))
        wait_running(streaming)
        client.cancel()
        assert sqlstate(client.until_ready()) == "57014"


def test_cancels_that_race_never_hit_another_query(front: Router) -> None:
    failures: Counter[str] = Counter()
    stop = threading.Event()

    def bystander() -> None:
        with front.connect() as client:
            while not stop.is_set():
                try:
                    client.execute("/*pgrouter: primary*/ select pg_sleep(0.002)")
                except psycopg.Error as error:
                    failures[str(error)] += 1

    def racer(count: int) -> None:
        with RawClient(front.port) as client:
            client.login()
            for turn in range(count):
                client.send(query(f"/*pgrouter: primary*/ select pg_sleep({turn % 4 / 1000})"))
                time.sleep(turn % 5 / 1000)
                client.cancel()  # before, while, or after it ends
                said = client.until_ready()
                if sqlstate(said) not in ("", "57014"):
                    failures[str(said)] += 1

    bystanders = [threading.Thread(target=bystander) for _ in range(6)]
    racers = [threading.Thread(target=racer, args=(100,)) for _ in range(3)]
    for thread in bystanders + racers:
        thread.start()
    for thread in racers:
        thread.join()
    stop.set()
    for thread in bystanders:
        thread.join()
    assert failures == Counter()
