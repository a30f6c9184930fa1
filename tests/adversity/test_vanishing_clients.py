"""Clients that go without a word, wherever they are: nothing of theirs is left, and the next one finds all clean."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.front import rss_mb
from support.rawclient import EXECUTE as RUN
from support.rawclient import FLUSH, RawClient, bind, message, parse, query, sqlstate, values

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

INSERT = "insert into items values (1, 'gone')"
BIG = "select repeat('x', 1000) from generate_series(1, 50000)"
LEFTOVERS = """
    select pid, state, query from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
    and (state <> 'idle' or backend_xmin is not null or backend_xid is not null)
"""


def in_a_transaction(client: RawClient) -> None:
    client.ask(f"begin; {INSERT}")


def in_a_failed_transaction(client: RawClient) -> None:
    client.ask(f"begin; {INSERT}; select 1/0")


def in_the_middle_of_a_query_message(client: RawClient) -> None:
    client.ask("begin")
    client.send(query(INSERT)[:-4])


def in_the_middle_of_a_streamed_message(client: RawClient) -> None:
    client.send(query(f"/* {'x' * 3_000_000} */ {INSERT}")[:-4])


def while_a_query_runs(client: RawClient) -> None:
    client.send(query(f"begin; {INSERT}; select pg_sleep(30)"))
    time.sleep(0.02)


def while_a_read_runs(client: RawClient) -> None:
    client.send(query("select pg_sleep(30), count(*) from items"))
    time.sleep(0.02)


def in_copy_in(client: RawClient) -> None:
    client.send(query("copy items from stdin"))
    client.until("G")
    client.send(message(b"d", b"1\tgone\n") * 100)


def in_the_middle_of_copy_data(client: RawClient) -> None:
    client.send(query("copy items from stdin"))
    client.until("G")
    client.send(message(b"d", b"1\tgone\n" * 10_000)[:-3])


def in_copy_out(client: RawClient) -> None:
    client.send(query(f"copy ({BIG}) to stdout"))
    client.until("d")


def in_the_middle_of_a_big_result(client: RawClient) -> None:
    client.send(query(BIG))
    client.until("D")


def before_sync(client: RawClient) -> None:
    client.send(parse(INSERT) + bind() + RUN + FLUSH)
    client.until("C")


def in_a_pipeline(client: RawClient) -> None:
    client.send((parse("select pg_sleep(0.01)") + bind() + RUN) * 50)


def with_queries_sent_ahead(client: RawClient) -> None:
    client.send(query("begin") + query(INSERT) + query("select pg_sleep(30)") + query("commit"))


def with_session_state(client: RawClient) -> None:
    client.ask("create temp table mine (a int)")
    client.ask("select pg_advisory_lock(11)")
    client.ask("set work_mem = '77MB'")
    client.ask("listen all_the_news")


def while_waiting_for_a_lock(client: RawClient) -> None:
    client.send(query("begin; lock table items; select pg_sleep(30)"))
    time.sleep(0.02)


STAGES: list[Callable[[RawClient], None]] = [
    in_a_transaction, in_a_failed_transaction, in_the_middle_of_a_query_message, in_the_middle_of_a_streamed_message,
    while_a_query_runs, while_a_read_runs, in_copy_in, in_the_middle_of_copy_data, in_copy_out,
    in_the_middle_of_a_big_result, before_sync, in_a_pipeline, with_queries_sent_ahead, with_session_state,
    while_waiting_for_a_lock,
]  # fmt: skip


def assert_clean(front: Router, streaming: StreamingCluster) -> None:
    for server in streaming.servers:
        until(lambda server=server: not server.sql(LEFTOVERS), 30, f"nothing left on {server.name}")
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    until(lambda: streaming.primary.sql(locks) == [(0,)], 30, "no lock of a session")
    assert streaming.primary.sql("select count(*) from items") == [(0,)]
    until(lambda: {row["state"] for row in front.admin("SHOW SERVERS")} <= {"idle"}, 30, "all servers free")
    ask = "/*pgrouter: primary*/ select current_setting('work_mem'), count(*) from pg_listening_channels()"
    with RawClient(front.port) as one, RawClient(front.port) as two:
        for client in (one, two):
            client.login()
            client.ask("begin")
            assert values(client.ask(ask)) == [["4MB", "0"]]
            assert sqlstate(client.ask("create temp table mine (a int)")) == ""
        for client in (one, two):
            client.ask("rollback")


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_nothing_is_left_of_a_client_that_vanished(
    front: Router, streaming: StreamingCluster, stage: Callable[[RawClient], None], how: str
) -> None:
    for _ in range(3):
        client = RawClient(front.port)
        client.login()
        stage(client)
        getattr(client, how)()
    assert_clean(front, streaming)


def test_a_database_can_be_dropped_after_its_clients(front: Router, streaming: StreamingCluster) -> None:
    streaming.primary.sql("drop database if exists passing")
    streaming.primary.sql("create database passing")
    streaming.wait_caught_up()
    for _ in range(3):
        client = RawClient(front.port)
        client.login(database="passing")
        client.ask("begin; create table t (a int)")
        client.reset()
    until(lambda: len(front.admin("SHOW CLIENTS")) == 1, 30, "all clients gone")
    streaming.primary.sql("drop database passing with (force)")

    def refused() -> bool:
        with RawClient(front.port) as client:
            said = client.login(database="passing")  # may be let in by what is known of the database
            return "3D000" in (sqlstate(said) or sqlstate(client.ask("select 1")))

    until(refused, 30, "the database does not exist")
    with RawClient(front.port) as client:
        client.login()
        assert values(client.ask("select 1")) == [["1"]]


def test_many_that_vanish_leave_no_memory(front: Router, streaming: StreamingCluster) -> None:
    def round_of(count: int) -> None:
        for number in range(count):
            client = RawClient(front.port)
            client.login()
            stage = (in_a_transaction, in_copy_in, before_sync, with_session_state)[number % 4]
            stage(client)
            client.reset()
        assert_clean(front, streaming)

    round_of(60)
    before = rss_mb(front.process.pid)
    round_of(200)
    assert rss_mb(front.process.pid) - before < 3
