"""Big messages and big results pass through; the router's memory does not grow with them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.front import peak_rss_mb, reset_peak, rss_mb
from support.rawclient import COPY_DONE, RawClient, message, query, sqlstate, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router

pytestmark = pytest.mark.pg

MB = 1 << 20


@pytest.fixture
def growth(front: Router) -> Iterator[Callable[[], float]]:
    """Give a function: by how many MiB the router's memory has exceeded what it was at the start of the test."""
    with RawClient(front.port) as client:
        client.login()
        client.ask("select 1")
        client.ask("begin; commit")
    pid = front.process.pid
    reset_peak(pid)
    before = rss_mb(pid)
    return lambda: peak_rss_mb(pid) - before


def test_a_query_of_64_mb(front: Router, growth: Callable[[], float]) -> None:
    with front.connect() as client:
        text = "select length('" + "x" * (64 * MB) + "')"
        for _ in range(2):
            row = client.execute(text.encode(), prepare=False).fetchone()
            assert row == (64 * MB,)
        with client.transaction():
            assert client.execute(text.encode(), prepare=False).fetchone() == (64 * MB,)
    assert growth() < 16


def test_a_parameter_of_64_mb(front: Router, growth: Callable[[], float]) -> None:
    with front.connect() as client:
        value = "x" * (64 * MB)
        for prepare in (False, True):
            assert client.execute("select length(%s)", [value], prepare=prepare).fetchone() == (64 * MB,)
    assert growth() < 16


def test_a_value_of_100_mb(front: Router, growth: Callable[[], float]) -> None:
    with front.connect() as client:
        row = client.execute(f"select repeat('x', {100 * MB})").fetchone()
        assert row is not None
        assert len(row[0]) == 100 * MB
    assert growth() < 16


def test_a_slow_reader_of_a_result_of_50_mb_holds_nobody_up(front: Router, growth: Callable[[], float]) -> None:
    with RawClient(front.port, receive_buffer=32 * 1024) as slow, front.connect() as other:
        slow.login()
        slow.send(query("select repeat('x', 1000) from generate_series(1, 50000)"))
        slow.until("D")
        for _ in range(20):  # the result is on its way, and stands still
            began = time.monotonic()
            assert other.execute("select 1").fetchone() == (1,)
            assert time.monotonic() - began < 5
            time.sleep(0.02)
        assert growth() < 16
        said = slow.until_ready()
        assert sum(m.code == "D" for m in said) == 49_999
    assert growth() < 16


def test_many_slow_readers(front: Router, growth: Callable[[], float]) -> None:
    readers = [RawClient(front.port, receive_buffer=32 * 1024) for _ in range(15)]
    for reader in readers:
        reader.login()
        reader.send(query("select repeat('x', 1000) from generate_series(1, 30000)"))
        reader.until("D")
    assert growth() < 40  # 2.5 MB for each, whatever its result
    for reader in readers:
        reader.reset()


def test_copy_of_100_mb_in_and_out(front: Router, growth: Callable[[], float]) -> None:
    line = b"1\t" + b"x" * 1000 + b"\n"
    count = 100 * MB // len(line)
    with front.connect() as client:
        cursor = client.cursor()
        with client.transaction():
            with cursor.copy("copy items from stdin") as copy:
                for _ in range(count // 100):
                    copy.write(line * 100)
            assert cursor.rowcount == count // 100 * 100
            received = 0
            with cursor.copy("copy items to stdout") as copy:
                for data in copy:
                    received += len(data)
            assert received == count // 100 * 100 * len(line)
    assert growth() < 16


def test_one_copy_message_of_30_mb(front: Router, growth: Callable[[], float]) -> None:
    with RawClient(front.port, timeout_s=30) as client:
        client.login()
        client.ask("begin")
        client.send(query("copy items from stdin"))
        client.until("G")
        client.send(message(b"d", (b"1\t" + b"x" * 998 + b"\n") * (30 * MB // 1001)) + COPY_DONE)
        assert sqlstate(client.until_ready()) == ""
        assert values(client.ask("select count(*) from items")) == [[str(30 * MB // 1001)]]
        client.ask("rollback")
    assert growth() < 16


def test_a_server_that_does_not_read_stops_the_client(front: Router, growth: Callable[[], float]) -> None:
    with RawClient(front.port, timeout_s=2) as client:
        client.login()
        client.send(query("begin; select pg_sleep(1.5)"))
        sent = 0
        piece = query(f"/* {'x' * 60_000} */ select 1")
        try:
            for _ in range(700):  # 42 MB
                client.send(piece)
                sent += 1
        except TimeoutError:
            pass
        assert growth() < 16
        client.reset()


def test_a_long_pipeline(front: Router, growth: Callable[[], float]) -> None:
    with front.connect() as client, client.pipeline():
        cursors = [client.execute("select %s::int, repeat('x', 500)", [i]) for i in range(20_000)]
        assert sum(cursor.fetchone()[0] for cursor in cursors) == sum(range(20_000))
    assert growth() < 16


def test_queries_of_others_go_on_beside_a_big_one(front: Router) -> None:
    stop = threading.Event()
    slowest = [0.0]

    def others() -> None:
        with front.connect() as client:
            while not stop.is_set():
                began = time.monotonic()
                client.execute("select 1")
                slowest[0] = max(slowest[0], time.monotonic() - began)

    thread = threading.Thread(target=others)
    thread.start()
    try:
        with front.connect() as client:
            for _ in range(3):
                client.execute(f"select repeat('x', {50 * MB})")
    finally:
        stop.set()
        thread.join()
    assert slowest[0] < 2


def test_a_tower_of_parentheses_and_a_long_list_are_parsed_or_passed_on(front: Router) -> None:
    with front.connect() as client:
        with pytest.raises(psycopg.Error):
            client.execute("select " + "(" * 200_000 + "1" + ")" * 200_000)
        assert client.execute("select 1 in (" + "1," * 50_000 + "1)").fetchone() == (True,)
        assert client.execute("select " + "+".join("1" for _ in range(3_000))).fetchone() == (3_000,)
