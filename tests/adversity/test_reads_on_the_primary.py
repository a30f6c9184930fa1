"""Reads in flight on a primary that is lost run again, when nothing of the answer was sent; writes never do."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.load import READS, WRITES, wait_roles
from support.rawclient import EXECUTE, SYNC, RawClient, bind, codes, extended, parse, query, sqlstate, values
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

GONE = {"57P01", "08006"}
WORKING = "select pid from pg_stat_activity where state = 'active' and query like '%in flight%sleep%'"
END = WORKING.replace("pid", "pg_terminate_backend(pid, 3000)", 1) + " and pid <> pg_backend_pid()"
READ = "select 'in flight', pg_sleep(0.7)::text"


@pytest.fixture
def front(router: RouterFactory, streaming: StreamingCluster) -> Router:
    """Give a router that knows the primary alone: port 0 splits, port 1 is all for the primary."""
    streaming.primary.sql("set lock_timeout = '3s'; drop table if exists items; create table items (id int)")
    listen = [{"host": "127.0.0.1", "port": 0, "mode": mode} for mode in ("split", "primary")]
    cluster = static_cluster([streaming.primary])
    return router({"cluster": cluster, "listen": listen, "auth": {"type": "trust"}, "pool": {"size": 5}})


@contextmanager
def clients(front: Router) -> Iterator[list[RawClient]]:
    made = [RawClient(port, timeout_s=30) for port in front.process.ports]
    try:
        for client in made:
            client.login()
            client.ask("select 1")
        yield made
    finally:
        for client in made:
            client.close()


def wait_working(streaming: StreamingCluster, number: int) -> None:
    working = f"{WORKING} and pid <> pg_backend_pid()"
    until(lambda: len(streaming.primary.sql(working)) == number, 10, "they run")


def ended(streaming: StreamingCluster) -> None:
    streaming.primary.sql(END)


def restarted(streaming: StreamingCluster) -> None:
    streaming.primary.stop("fast")
    streaming.primary.start()


def killed(streaming: StreamingCluster) -> None:
    streaming.primary.kill()
    time.sleep(0.5)
    streaming.primary.start()


@pytest.mark.parametrize(
    ("lose", "make"),
    [
        (ended, query),
        (killed, extended),
        *(
            pytest.param(lose, make, marks=pytest.mark.slow)
            for lose, make in ((ended, extended), (restarted, query), (restarted, extended), (killed, query))
        ),
    ],
)
def test_a_read_waits_for_the_primary_and_runs_again(
    front: Router, streaming: StreamingCluster, make: Any, lose: Callable[[StreamingCluster], None]
) -> None:
    with clients(front) as both:
        for client in both:
            client.send(make(READ))
        wait_working(streaming, 2)
        lose(streaming)
        for client in both:
            said = client.until_ready()
            assert (sqlstate(said), values(said)) == ("", [["in flight", ""]])
            assert values(client.ask("select 2")) == [["2"]]


@pytest.mark.parametrize("make", [query, extended])
def test_a_transaction_that_has_only_begun_begins_again(front: Router, streaming: StreamingCluster, make: Any) -> None:
    with clients(front) as both:
        for client in both:
            client.ask("select 1")
        streaming.primary.freeze()
        for client in both:
            client.send(make("begin"))
        time.sleep(0.2)
        streaming.primary.kill()
        streaming.primary.start()
        for client in both:
            said = client.until_ready()
            assert (sqlstate(said), said[-1].body) == ("", b"T")
            assert codes(client.ask("insert into items values (1)")) == "CZ"
            assert codes(client.ask("commit")) == "CZ"
    assert streaming.primary.sql("select count(*) from items") == [(2,)]


def test_a_read_goes_to_a_replica_that_has_come_back(router: RouterFactory, streaming: StreamingCluster) -> None:
    standby = streaming.standbys[0]
    standby.stop("immediate")
    front = router({"cluster": static_cluster([streaming.primary, standby]), "auth": {"type": "trust"}})
    with RawClient(front.port, timeout_s=30) as client:
        client.login()
        client.send(query("select 'in flight', pg_sleep(3)::text"))
        wait_working(streaming, 1)
        standby.start()
        wait_roles(front, pg0=WRITES, pg1=READS)
        streaming.primary.kill()
        assert values(client.until_ready()) == [["in flight", ""]]
        assert not streaming.primary.alive


def test_writes_do_not_run_again(front: Router, streaming: StreamingCluster) -> None:
    write = "insert into items select 1 from (select 'in flight', pg_sleep(0.7)) x"
    with clients(front) as both:
        for client in both:
            client.send(query(write))
        wait_working(streaming, 2)
        ended(streaming)
        for client in both:
            said = client.until_ready()
            assert sqlstate(said) in GONE
            assert "unknown whether the statement took effect" in said[0].fields["D"]
    time.sleep(1)
    assert streaming.primary.sql("select count(*) from items") == [(0,)]


def test_a_read_with_a_write_behind_it_does_not_run_again(front: Router, streaming: StreamingCluster) -> None:
    """In a listener for the primary both have gone to it at once, and the write may have been carried out."""
    with clients(front) as both:
        client = both[1]
        client.send(query(READ) + query("insert into items values (1)"))
        wait_working(streaming, 1)
        ended(streaming)
        assert [sqlstate(client.until_ready()) in GONE for _ in range(2)] == [True, True]
        client.send(parse(READ) + bind() + EXECUTE + parse("insert into items values (2)") + bind() + EXECUTE + SYNC)
        wait_working(streaming, 1)
        ended(streaming)
        assert sqlstate(client.until_ready()) in GONE
        assert codes(client.ask("select 1")) == "TDCZ"
    assert streaming.primary.sql("select count(*) from items") == [(0,)]


@pytest.mark.parametrize("hint", ["/*pgrouter: primary*/", "/*pgrouter: replica*/"])
def test_what_its_author_has_moved_does_not_run_again(front: Router, streaming: StreamingCluster, hint: str) -> None:
    """He may know of a function that writes."""
    with clients(front) as both:
        both[0].send(query(f"{hint} {READ}, txid_current() > 0" if "replica" in hint else f"{hint} {READ}"))
        wait_working(streaming, 1)
        ended(streaming)
        assert sqlstate(both[0].until_ready()) in GONE


def test_a_read_in_a_transaction_is_lost_with_it(front: Router, streaming: StreamingCluster) -> None:
    with clients(front) as both:
        for client, begin in zip(both, ("begin read only", "begin"), strict=True):
            client.ask(begin)
            client.send(query(READ))
        wait_working(streaming, 2)
        ended(streaming)
        for client in both:
            said = client.until_ready()
            assert sqlstate(said) in GONE
            assert said[-1].body == b"E"
            assert "The transaction was lost with it" in next(m for m in said if m.code == "E").fields["D"]


def test_rows_already_sent_are_not_read_again(front: Router, streaming: StreamingCluster) -> None:
    with clients(front) as both:
        both[0].send(
            query("select repeat('in flight', 9000) from generate_series(1, 3) union all select pg_sleep(2)::text")
        )
        both[0].until("D")
        ended(streaming)
        assert sqlstate(both[0].until("Z")) in GONE
