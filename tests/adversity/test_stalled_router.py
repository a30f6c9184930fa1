"""A router whose process was stopped (SIGSTOP), with clients that were at work and go on sending meanwhile."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.history import TABLE, History, findings
from support.load import primary
from support.rawclient import RawClient, query
from support.router import patroni_cluster, rest_cluster, static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router, RouterFactory, Settings

    from pgrouter.demo.patroni import PatroniCluster
    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.timeout(180)

LOOKED = r"looked again 0\.\d+ s after standing still"


@contextmanager
def stopped(router: Router) -> Iterator[None]:
    os.kill(router.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(router.process.pid, signal.SIGCONT)


def settings(cluster: Settings) -> Settings:
    return {"cluster": cluster, "auth": {"type": "trust"}, "pool": {"no_leader_timeout": "60s"}}


def insert(number: int) -> str:
    return f"insert into history values (0, {number})"  # noqa: S608


@pytest.mark.parametrize("source", [patroni_cluster, pytest.param(rest_cluster, marks=pytest.mark.slow)])
@pytest.mark.cluster
def test_nothing_is_sent_to_the_old_leader_after_an_election(
    router: RouterFactory, patroni: PatroniCluster, source: Callable[[PatroniCluster], Settings]
) -> None:
    """Its Patroni dies, its PostgreSQL goes on taking writes, and replication is asynchronous."""
    old = patroni.require_leader()
    old.sql(TABLE)
    front = router(settings(source(patroni)))
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(front.port)) for _ in range(6)]
        for client in clients:
            client.login()
            client.ask("begin; select 1 from history where false for update; commit")  # its server is the primary's
        for number, client in enumerate(clients[3:]):  # these have a transaction open on the old leader
            client.ask("begin")
            client.ask(insert(number))
        with stopped(front):
            old.kill_patroni()
            for number, client in enumerate(clients[:3]):
                client.send(query(insert(10 + number)))
            for client in clients[3:]:
                client.send(query("commit"))
            patroni.wait_leader_other_than(old)
            assert not old.in_recovery  # it would take them
        outcomes = [client.until_ready() for client in clients]
        assert [[m.code for m in said if m.code in "CE"] for said in outcomes] == [["C"]] * 3 + [["E"]] * 3
        assert patroni.require_leader().sql("select number from history order by 1") == [(10,), (11,), (12,)]
        assert primary(front) == patroni.require_leader().name
        assert old.sql("select count(*) from history where number >= 10") == [(0,)]


@pytest.mark.pg
def test_nothing_is_sent_to_the_old_primary_after_a_promotion(
    router: RouterFactory, streaming: StreamingCluster
) -> None:
    """Nobody but the servers themselves says who leads, and two of them say that they do."""
    old, new = streaming.servers[:2]
    old.sql(TABLE)
    streaming.wait_caught_up()
    front = router(settings(static_cluster(streaming.servers)))
    with RawClient(front.port) as client:
        client.login()
        client.ask(insert(1))
        streaming.wait_caught_up()
        with stopped(front):
            client.send(query(insert(2)))
            new.promote()
            time.sleep(1.2)
        assert "C" in [message.code for message in client.until_ready()]
    assert old.sql("select number from history") == [(1,)]
    assert new.sql("select number from history order by 1") == [(1,), (2,)]


@pytest.mark.slow
@pytest.mark.cluster
def test_a_history_through_a_stall_and_an_election(router: RouterFactory, patroni: PatroniCluster) -> None:
    old = patroni.require_leader()
    old.sql(TABLE)
    front = router(settings(patroni_cluster(patroni)))
    with History(front, 32) as history:
        history.wait_progress(400)
        with stopped(front):
            old.kill_patroni()
            patroni.wait_leader_other_than(old)
            time.sleep(0.5)
        history.wait_progress(400)
    rows = patroni.require_leader().sql("select client, number from history")
    found = findings(history.deeds, [(row[0], row[1]) for row in rows])
    print(history, {name: len(what) for name, what in vars(found).items()})  # noqa: T201 - shown by pytest -rP
    assert not found.lost, (found, history)


@pytest.mark.parametrize("source", [patroni_cluster, pytest.param(rest_cluster, marks=pytest.mark.slow)])
@pytest.mark.cluster
def test_the_leader_is_the_same(
    router: RouterFactory, patroni: PatroniCluster, source: Callable[[PatroniCluster], Settings]
) -> None:
    going_on(router(settings(source(patroni))))


@pytest.mark.pg
def test_the_leader_is_the_same_and_known_by_its_own_word(router: RouterFactory, streaming: StreamingCluster) -> None:
    going_on(router(settings(static_cluster(streaming.servers))))


def going_on(front: Router) -> None:
    """After a stall, an open transaction is finished and another client's write goes through, within a short time."""
    with psycopg.connect(front.dsn()) as inside, RawClient(front.port) as outside:
        outside.login()
        inside.execute("create temporary table mine (id int)")
        with stopped(front):
            outside.send(query("create temporary table theirs (id int)"))
            time.sleep(2)
        start_s = time.monotonic()
        assert "E" not in [m.code for m in outside.until_ready()]
        inside.commit()
        took_s = time.monotonic() - start_s
    print(f"{took_s:.3f} s")  # noqa: T201 - shown by pytest -rP
    assert took_s < 1.5
    until(lambda: front.log_contains(LOOKED), 5, "it has looked")
    assert not front.log_contains("primary .* -> none .nobody")


@pytest.mark.pg
def test_a_short_stall_holds_nothing(router: RouterFactory, streaming: StreamingCluster) -> None:
    front = router(settings(static_cluster(streaming.servers)))
    with front.connect() as client:
        with stopped(front):
            time.sleep(0.5)
        client.execute("create temporary table mine (id int)")
    assert not front.log_contains("stood still")
