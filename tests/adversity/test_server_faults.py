"""Servers that die, stop, hang or change their role under a router without Patroni."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.load import NOTHING, READS, TABLE, WRITES, Load, wait_roles
from support.rawclient import (
    COPY_DONE,
    EXECUTE,
    FLUSH,
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

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from support.router import Router

    from pgrouter.demo.postgres import Server
    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

TERMINATE = """
    select count(pg_terminate_backend(pid, 3000)) from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name not like 'pgrouter%'
"""
# 57P01 is what the server says before it goes, 08006 what is said when it said nothing.
GONE = {"57P01", "08006"}


def terminate(server: Server) -> None:
    """End all sessions on a server, as an administrator might, and wait for their end."""
    server.sql(TERMINATE)


def queries(router: Router, member: str) -> int:
    """Give how many queries a member was sent."""
    return next(row["query_count"] for row in router.admin("SHOW CLUSTER") if row["name"] == member)


# -- one session's server


def test_a_server_that_ends_while_idle_is_not_noticed(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        for _ in range(3):
            client.execute("insert into items values (1, 'x')")
            client.execute("select 1")
            for server in streaming.servers:
                terminate(server)
            until(lambda: not front.admin("SHOW SERVERS"), 30, "the router has noticed")
        assert client.execute("select 1").fetchone() == (1,)


def test_a_server_that_ends_while_it_runs_a_query(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        timer = threading.Timer(0.3, terminate, args=(streaming.primary,))
        timer.start()
        with pytest.raises(psycopg.Error) as caught:
            client.execute("/*pgrouter: primary*/ select pg_sleep(20)")
        timer.join()
        assert caught.value.sqlstate in GONE
        assert "server connection was lost" in str(caught.value)
        assert client.execute("insert into items values (2, 'after') returning id").fetchone() == (2,)


@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("end", ["rollback", "commit", "ROLLBACK;", "abort", "end"])
def test_a_lost_transaction_is_a_failed_one_until_its_end(
    front: Router, streaming: StreamingCluster, protocol: str, end: str
) -> None:
    make = query if protocol == "simple" else extended

    def ask(sql: str) -> list[Any]:
        client.send(make(sql))
        return client.until_ready()

    with RawClient(front.port) as client:
        client.login()
        ask("begin")
        ask("insert into items values (1, 'lost')")
        terminate(streaming.primary)
        said = ask("insert into items values (2, 'lost')")
        assert sqlstate(said) in GONE
        assert said[-1].body == b"E"
        for _ in range(2):
            said = ask("insert into items values (3, 'must not run alone')")
            assert (sqlstate(said), said[-1].body) == ("25P02", b"E")
        said = ask(end)
        assert (sqlstate(said), said[-1].body) == ("", b"I")
        assert next(m for m in said if m.code == "C").body == b"ROLLBACK\0"
        assert not sqlstate(ask("insert into items values (4, 'kept')"))
    assert streaming.primary.sql("select id from items") == [(4,)]


@pytest.mark.parametrize("name", ["mine", ""], ids=["named", "unnamed"])
def test_the_end_of_a_lost_transaction_is_prepared_in_one_batch_and_executed_in_another(
    front: Router, streaming: StreamingCluster, name: str
) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.ask("begin")
        client.ask("insert into items values (1, 'lost')")
        terminate(streaming.primary)
        assert sqlstate(client.ask("insert into items values (2, 'lost')")) in GONE
        client.send(parse("rollback", name) + SYNC)
        said = client.until_ready()
        assert (codes(said), said[-1].body) == ("1Z", b"E")
        client.send(bind(name) + EXECUTE + SYNC)
        said = client.until_ready()
        assert (codes(said), said[-1].body) == ("2CZ", b"I")
        if name:  # the statement is there for the servers to come, too
            client.ask("begin")
            client.ask("insert into items values (3, 'rolled back')")
            client.send(bind(name) + EXECUTE + SYNC)
            said = client.until_ready()
            assert (codes(said), said[-1].body) == ("2CZ", b"I")
    assert streaming.primary.sql("select count(*) from items") == [(0,)]


def test_a_batch_sent_ahead_of_the_news_does_not_run_in_part(front: Router, streaming: StreamingCluster) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.ask("begin")
        ahead = ("select pg_sleep(20)", "insert into items values (1, 'x')", "commit", "select 5")
        client.send(b"".join(map(query, ahead)))
        timer = threading.Timer(0.2, terminate, args=(streaming.primary,))
        timer.start()
        said = [client.until_ready() for _ in range(4)]
        timer.join()
        assert {sqlstate(answer) for answer in said} <= GONE | {"25P02"}
        client.ask("rollback")
        assert values(client.ask("select 6")) == [["6"]]
    assert streaming.primary.sql("select count(*) from items") == [(0,)]


def test_an_extended_batch_is_skipped_to_its_sync(front: Router, streaming: StreamingCluster) -> None:
    with RawClient(front.port) as client:
        client.login()
        timer = threading.Timer(0.2, terminate, args=(streaming.primary,))
        timer.start()
        sleep = extended("/*pgrouter: primary*/ select pg_sleep(20)")[:-5]
        client.send(sleep + extended("insert into items values (1, 'x')") + extended("select 7"))
        said = client.until_ready()
        assert sqlstate(said) in GONE
        assert codes(said).count("E") == 1
        said = client.until_ready()  # sent ahead to the same server
        assert sqlstate(said) in GONE or values(said) == [["7"]]
        assert values(client.ask("select 8")) == [["8"]]
        timer.join()
    assert streaming.primary.sql("select count(*) from items") == [(0,)]


def test_asyncpg_sees_a_failed_transaction_and_goes_on(front: Router, streaming: StreamingCluster) -> None:
    async def main() -> None:
        login = {"user": "postgres", "database": "postgres", "password": "postgres"}
        c = await asyncpg.connect(host="127.0.0.1", port=front.port, **login)
        with pytest.raises(asyncpg.PostgresError) as caught:
            await lose_it(c)
        assert caught.value.sqlstate in GONE
        assert not c.is_closed()
        assert not c.is_in_transaction()
        async with c.transaction():
            await c.execute("insert into items values ($1, $2)", 2, "kept")
        assert await c.fetchval("select 3") == 3
        await c.close()

    async def lose_it(c: Any) -> None:
        async with c.transaction():
            await c.execute("insert into items values ($1, $2)", 1, "lost")
            await asyncio.to_thread(terminate, streaming.primary)
            await c.execute("insert into items values ($1, $2)", 1, "lost")

    asyncio.run(main())
    assert streaming.primary.sql("select id from items") == [(2,)]


LATE = """
    create or replace function late() returns trigger language plpgsql as
    'begin perform pg_sleep(20); return null; end';
    create constraint trigger late after insert on items deferrable initially deferred for each row
    execute function late()
"""


def test_a_lost_commit_and_a_lost_begin_say_nothing_about_what_is_lost_next(
    front: Router, streaming: StreamingCluster
) -> None:
    streaming.primary.sql(LATE)
    both = extended("insert into items values (2, 'x')")[:-5] + extended("select pg_sleep(20)")
    with RawClient(front.port) as client:
        client.login()

        def lose(messages: bytes, answers: int = 1) -> tuple[str, bytes]:
            timer = threading.Timer(0.3, terminate, args=(streaming.primary,))
            timer.start()
            client.send(messages)
            said = [client.until_ready() for _ in range(answers)][-1]
            timer.join()
            error = next(m for m in said if m.code == "E")
            return error.fields["D"], said[-1].body

        client.ask("begin")
        client.ask("insert into items values (1, 'x')")
        detail, status = lose(query("commit"))
        assert ("08007" in detail, status) == (True, b"I")
        detail, status = lose(both)
        assert ("08007" in detail, status) == (False, b"I")
        _, status = lose(query("/*pgrouter: primary*/ select pg_sleep(20)") + query("begin"), 2)
        assert status == b"E"
        client.ask("rollback")
        detail, status = lose(both)
        assert (detail, status) == ("It is unknown whether the statement took effect.", b"I")


def test_what_was_executed_and_flushed_is_not_committed_by_a_late_sync(
    front: Router, streaming: StreamingCluster
) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.send(extended("insert into items values (1, 'lost')")[:-5] + FLUSH)
        assert codes(client.until("C")) == "12nC"
        terminate(streaming.primary)
        until(lambda: front.log_contains("lost <S-"), 30, "the router has noticed")
        client.send(SYNC)
        said = client.until_ready()
        assert sqlstate(said) in GONE
        assert codes(said) == "EZ"
        assert values(client.ask("select 1")) == [["1"]]
    assert streaming.primary.sql("select count(*) from items") == [(0,)]


def test_statements_sent_ahead_of_a_lost_begin_do_not_run_alone(front: Router, streaming: StreamingCluster) -> None:
    with RawClient(front.port) as client:
        client.login()
        timer = threading.Timer(0.3, terminate, args=(streaming.primary,))
        timer.start()
        client.send(query("/*pgrouter: primary*/ select pg_sleep(20)") + query("begin"))
        said = client.until_ready()
        timer.join()
        assert sqlstate(said) in GONE
        client.send(query("insert into items values (1, 'alone')"))
        answers = [client.until_ready(), client.until_ready()]
        assert [sqlstate(answer) in GONE | {"25P02"} for answer in answers] == [True, True]
        assert client.ask("rollback")[-1].body == b"I"
    assert streaming.primary.sql("select count(*) from items") == [(0,)]


def test_psycopg_with_prepared_statements_goes_on_elsewhere(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        for turn in range(4):
            for _ in range(4):
                row = client.execute("insert into items values (%s, 'x') returning id", [turn], prepare=True).fetchone()
                assert row == (turn,)
            terminate(streaming.primary)
            until(lambda: not [s for s in front.admin("SHOW SERVERS") if s["member"] == "pg0"], 30, "noticed")


def test_a_statement_that_was_being_parsed_is_not_taken_for_parsed(front: Router, streaming: StreamingCluster) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.ask("begin")
        client.send(query("select pg_sleep(20)") + parse("select 1", "mine") + b"S\0\0\0\4")
        time.sleep(0.2)
        terminate(streaming.primary)
        assert sqlstate(client.until_ready()) in GONE
        client.until_ready()
        client.ask("rollback")
        client.send(parse("select 11", "mine") + b"S\0\0\0\4")
        assert codes(client.until_ready()) == "1Z"


def test_a_session_that_needs_its_server_ends_with_it(front: Router, streaming: StreamingCluster) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.ask("create temp table mine (a int)")
        terminate(streaming.primary)
        said = client.until_closed()
        assert sqlstate(said) in GONE
        assert next(m for m in said if m.code == "E").fields["S"] == "FATAL"


def test_a_result_that_breaks_off_in_the_middle(front: Router, streaming: StreamingCluster) -> None:
    with RawClient(front.port, receive_buffer=16 * 1024) as client:
        client.login()
        client.send(query("/*pgrouter: primary*/ select repeat('x', 300000) from generate_series(1, 500)"))
        client.until("D")
        terminate(streaming.primary)
        assert sqlstate(client.until("EZ")) in GONE | {""}  # the truth, or the end of the connection: never a wrong row


def test_a_copy_whose_server_ends(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        cursor = client.cursor()
        with pytest.raises(psycopg.Error) as caught, cursor.copy("copy items from stdin") as copy:  # noqa: PT012
            copy.write("1\tx\n")
            terminate(streaming.primary)
            for _ in range(1000):
                copy.write("1\tx\n" * 100)
        assert caught.value.sqlstate in GONE
        assert client.execute("insert into items values (1, 'kept') returning id").fetchone() == (1,)
    assert streaming.primary.sql("select count(*) from items") == [(1,)]


def test_a_copy_in_a_transaction_whose_server_ends_in_the_middle_of_a_huge_message(
    front: Router, streaming: StreamingCluster
) -> None:
    rows = b"1\tx\n" * 1_000_000
    with RawClient(front.port) as client:
        client.login()
        client.ask("begin")
        client.send(query("copy items from stdin"))
        assert codes(client.until("G")) == "G"
        data = message(b"d", rows)
        client.send(data[:3_000_000])
        terminate(streaming.primary)
        client.send(data[3_000_000:] + data + COPY_DONE)
        said = client.until_ready()
        assert sqlstate(said) in GONE
        assert said[-1].body == b"E"
        said = client.ask("select 1")
        assert (sqlstate(said), said[-1].body) == ("25P02", b"E")
        said = client.ask(f"select '{'x' * 3_000_000}'")
        assert (sqlstate(said), said[-1].body) == ("25P02", b"E")
        client.send(extended(f"select '{'x' * 3_000_000}'"))
        said = client.until_ready()
        assert (codes(said), sqlstate(said), said[-1].body) == ("EZ", "25P02", b"E")
        assert client.ask("rollback")[-1].body == b"I"
        assert values(client.ask("select count(*) from items")) == [["0"]]


# -- whole servers


def test_a_replica_killed_under_load_leaves_the_rotation_and_comes_back(
    front: Router, streaming: StreamingCluster
) -> None:
    streaming.primary.sql(TABLE)
    streaming.wait_caught_up()
    lost = streaming.standbys[0]
    with Load(front) as load:
        load.wait_progress()
        lost.kill()
        load.wait_progress(60)
        wait_roles(front, pg0=WRITES, pg1=NOTHING, pg2=READS)
        lost.start()
        wait_roles(front, pg1=READS)
        sent = queries(front, "pg1")
        until(lambda: queries(front, "pg1") > sent, 30, "pg1 gets reads again")
        load.wait_progress()
    assert not load.errors, load  # reads that were in flight have run again
    assert not load.lost, load


def test_without_replicas_the_primary_reads(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        client.execute("insert into items values (1, 'x')")
        for standby in streaming.standbys:
            standby.stop("immediate")
        wait_roles(front, pg0=WRITES, pg1=NOTHING, pg2=NOTHING)
        for _ in range(10):
            assert client.execute("select count(*) from items").fetchone() == (1,)


def test_a_replica_that_hangs_holds_up_only_reads_in_flight(front: Router, streaming: StreamingCluster) -> None:
    hung = streaming.standbys[1]
    with front.connect() as client:
        for _ in range(6):
            client.execute("select 1")
        hung.freeze()
        wait_roles(front, pg2=NOTHING)
        for _ in range(10):
            began = time.monotonic()
            assert client.execute("select 1").fetchone() == (1,)
            assert time.monotonic() - began < 5
        hung.thaw()
        wait_roles(front, pg2=READS)


@pytest.mark.slow
def test_a_read_in_flight_on_a_replica_that_hangs_for_long_runs_elsewhere(
    front: Router, streaming: StreamingCluster
) -> None:
    """No packet tells of a host that has lost its network: five probes without a sign of life do."""
    hung = streaming.standbys[1]
    streaming.standbys[0].stop("fast")
    wait_roles(front, pg1=NOTHING, pg2=READS)
    with RawClient(front.port, timeout_s=40) as client:
        client.login()
        client.send(query("select 'hung', pg_sleep(1)::text"))
        running = "select 1 from pg_stat_activity where query like '%hung%sleep%' and pid <> pg_backend_pid()"
        until(lambda: hung.sql(running), 10, "it runs on pg2")
        hung.freeze()
        began_s = time.monotonic()
        assert values(client.until_ready()) == [["hung", ""]]
        assert time.monotonic() - began_s > 4  # not at the first slow answer
    assert front.log_contains("pg2 shows no sign of life")


def test_one_slow_probe_drops_nobody(front: Router, streaming: StreamingCluster) -> None:
    streaming.primary.sql(TABLE)
    streaming.wait_caught_up()
    with Load(front) as load:
        load.wait_progress()
        wait_roles(front, pg0=WRITES, pg1=READS, pg2=READS)  # also what an earlier test has frozen
        views = front.log_text().count("cluster view")
        for server in streaming.servers[:2]:
            probes = front.log_text().count(f"probe of {server.name} failed")
            server.freeze()
            until(lambda: front.log_text().count(f"probe of {server.name} failed") > probes, 10, "a probe has failed")  # noqa: B023
            server.thaw()
            load.wait_progress(10)
        assert front.log_text().count("cluster view") == views
    assert not load.errors, load
    assert not load.lost, load


def test_writes_are_held_while_the_primary_restarts(front: Router, streaming: StreamingCluster) -> None:
    streaming.primary.sql(TABLE)
    streaming.wait_caught_up()
    with Load(front) as load:
        load.wait_progress()
        streaming.primary.stop("fast")
        time.sleep(0.3)
        streaming.primary.start()
        load.wait_progress()
    assert not load.lost, load
    assert {state for _, state in load.errors} <= GONE, load
    assert Counter(kind for kind, _ in load.errors.elements())["write"] <= 3, load
    assert not load.missing(streaming.primary.sql("select * from written"))


def test_everything_down_and_up_again(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as client:
        client.execute("select 1")
        for server in streaming.servers:
            server.stop("immediate")
        result: list[Any] = []

        def wait() -> None:
            result.append(client.execute("/*pgrouter: primary*/ select 'held'").fetchone())

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive()
        for server in streaming.servers:
            server.start()
        thread.join(30)
        assert result == [("held",)]
