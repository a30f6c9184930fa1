"""Two clients and one server connection: nothing of the one reaches the other, and neither waits in vain."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.front import rss_mb, running
from support.rawclient import (
    DESCRIBE,
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

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

MEGABYTE = 1 << 20
READY = message(b"Z", b"I")


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    cluster = static_cluster(_streaming_cluster.servers[:1])
    pool = {"size": 1, "prepared_statements": 2}
    with running({"cluster": cluster, "auth": {"type": "trust"}, "pool": pool}) as made:
        yield made


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    streaming.primary.sql("set lock_timeout = '3s'; drop table if exists items; create table items (id int, word text)")
    return _front


@pytest.fixture
def one(front: Router) -> Iterator[RawClient]:
    with RawClient(front.port) as client:
        client.login()
        yield client


@pytest.fixture
def other(front: Router) -> Iterator[RawClient]:
    with RawClient(front.port) as client:
        client.login()
        yield client


def test_an_unnamed_statement_is_nobody_elses(one: RawClient, other: RawClient, streaming: StreamingCluster) -> None:
    one.send(extended("insert into items values (1, 'mine')"))
    assert not sqlstate(one.until_ready())
    other.send(bind("nope") + EXECUTE + parse("insert into items values (2, 'yours')") + SYNC)
    assert sqlstate(other.until_ready()) == "26000"
    other.send(bind() + EXECUTE + SYNC)
    assert sqlstate(other.until_ready()) == "26000"
    assert streaming.primary.sql("select id from items") == [(1,)]


def test_state_that_could_not_be_discarded_stays_with_its_client(front: Router, one: RawClient) -> None:
    one.ask("listen somewhere")
    one.ask("begin")
    assert sqlstate(one.ask("discard all")) == "25001"
    one.ask("rollback")
    (pinned,) = (row for row in front.admin("SHOW CLIENTS") if row["pin"])
    assert pinned["pin"] == "LISTEN"
    one.close()
    with RawClient(front.port) as next_one:
        next_one.login()
        assert values(next_one.ask("/*pgrouter: primary*/ select pg_listening_channels()")) == []


def test_a_discard_ends_the_pin(front: Router, one: RawClient, other: RawClient) -> None:
    one.ask("listen somewhere")
    assert not sqlstate(one.ask("discard all"))
    until(lambda: not any(row["pin"] for row in front.admin("SHOW CLIENTS")), 2, "nobody is pinned")
    assert values(other.ask("select 1")) == [["1"]]


def test_the_server_of_a_slow_reader_is_read_from_for_the_next_one(front: Router) -> None:
    with RawClient(front.port, receive_buffer=16 * 1024) as slow, RawClient(front.port) as next_one:
        for client in (slow, next_one):
            client.login()
        for _ in range(3):
            slow.send(query("select repeat('x', 10000) from generate_series(1, 600)"))
            next_one.send(query("select 'mine'"))
            reader = threading.Thread(target=read_slowly, args=(slow,))
            reader.start()
            assert values(next_one.until_ready()) == [["mine"]]
            reader.join()


def read_slowly(client: RawClient) -> None:
    rows = 0
    while (said := client.receive()) is not None and said.code != "Z":
        rows += said.code == "D"
        if rows % 20 == 0:
            time.sleep(0.005)


def test_what_a_huge_bind_has_set_is_its_clients_own(one: RawClient, other: RawClient) -> None:
    value = b"v" * (2 * MEGABYTE)
    one.send(parse("select length(set_config('my.big', $1, false))", "s1") + SYNC)
    assert not sqlstate(one.until_ready())
    parameter = b"\0\0\0\1" + len(value).to_bytes(4, "big") + value + b"\0\0"
    one.send(message(b"B", b"\0s1\0" + parameter) + EXECUTE + SYNC)
    assert values(one.until_ready()) == [[str(len(value))]]
    assert values(other.ask("select coalesce(current_setting('my.big', true), '')")) == [[""]]
    assert values(one.ask("select length(current_setting('my.big', true))")) == [[str(len(value))]]


def test_notices_of_any_size_answer_nothing(one: RawClient) -> None:
    for size in (10, 8000, 300_000, 3 * MEGABYTE):
        said = one.ask(f"do $$ begin raise notice '%', repeat('x', {size}); end $$")
        assert codes(said) == "NCZ", size
        assert len(said[0].fields["M"]) == size


def test_a_notification_is_not_lost_while_settings_are_read_back(front: Router, streaming: StreamingCluster) -> None:
    heard: list[bytes] = []
    with RawClient(front.port) as listener:
        listener.login()
        listener.ask("listen news")
        for number in range(30):
            streaming.primary.sql(f"notify news, '{number}'")
            heard += [m.body for m in listener.ask(f"set my.own = '{number}'") if m.code == "A"]
        heard += [m.body for m in listener.ask("select 1") if m.code == "A"]
        listener.ask("discard all")
    assert [body[9:-1].decode() for body in heard] == [str(number) for number in range(30)]


def test_an_error_beside_a_statement_that_was_pushed_out(one: RawClient) -> None:
    one.ask("create temp table mine (a int)")
    for number in range(6):
        one.send(parse(f"select {number}", f"s{number}") + SYNC + parse("selekt", f"bad{number}") + SYNC)
        assert codes(one.until_ready()) == "1Z"
        assert sqlstate(one.until_ready()) == "42601"
    for number in range(6):
        one.send(bind(f"s{number}") + EXECUTE + SYNC)
        assert values(one.until_ready()) == [[str(number)]]
    assert values(one.ask("select count(*) from mine")) == [["0"]]
    one.ask("discard all")


def test_a_forged_answer_is_not_put_into_another_message(one: RawClient) -> None:
    wide = "select " + ", ".join(f"{n} as a_column_with_a_rather_long_name_{n}" for n in range(1200))
    one.send(parse(wide, "w") + SYNC)
    assert codes(one.until_ready()) == "1Z"
    for _ in range(20):
        again = parse(wide, "w2") + bind("w2") + DESCRIBE + SYNC
        one.send(message(b"D", b"Sw\0") + again + message(b"C", b"Sw2\0") + SYNC)
        assert codes(one.until_ready()) == "tT12TZ"
        assert codes(one.until_ready()) == "3Z"


def test_a_message_in_pieces_does_not_hide_the_next_one(one: RawClient) -> None:
    long = query(f"select length('{'x' * 20_000}')")
    for cut in (5, 3000, 8000):
        one.send(long[:cut])
        time.sleep(0.05)
        one.send(long[cut:])
        assert values(one.until_ready()) == [["20000"]]
        one.send(parse(f"select length('{'x' * 10_000}')"))
        time.sleep(0.05)
        one.send(bind() + EXECUTE + SYNC)
        assert values(one.until_ready()) == [["10000"]]


def sent_until_stopped(client: RawClient, data: bytes) -> int:
    """Give how many bytes were taken before nobody read any more."""
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < len(data):
            sent += client.sock.send(memoryview(data)[sent:])
    return sent


def test_a_client_that_asks_and_never_listens_is_not_read_from(front: Router) -> None:
    before = rss_mb(front.process.pid)
    with RawClient(front.port, receive_buffer=16 * 1024, timeout_s=2) as deaf:
        deaf.login()
        sent = sent_until_stopped(deaf, SYNC * (8 * MEGABYTE))
        assert sent < len(SYNC) * 8 * MEGABYTE
        assert rss_mb(front.process.pid) - before < 24
        deaf.sock.settimeout(10)
        missing = sent // len(SYNC) * len(READY)
        while missing > 0:  # it listens after all, and is read from again
            answers = deaf.sock.recv(1 << 16)
            assert answers
            missing -= len(answers)
    with RawClient(front.port) as client:
        client.login()
        assert values(client.ask("select 1")) == [["1"]]
