"""Routers that do not see a leader change as one: killed in the middle of it, cut off from etcd, or standing still.

The writes and reads of clients of each router are noted (`support.history`) and judged by the rows of the leader.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.cable import Cable
from support.events import hand_over, kill_node, stop_node
from support.history import TABLE, Findings, History, findings
from support.load import primary
from support.router import patroni_cluster

from pgrouter.cluster.readable import ASSUMED
from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router, RouterFactory, Settings

    from pgrouter.demo.patroni import Member, PatroniCluster

    Event = Callable[[PatroniCluster, Member], object]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

EXPECTED = {"57P01", "08006", "57P02", "57P03", "40001"}
COMMITTED = "-c synchronous_commit=on"


@pytest.fixture
def table(patroni: PatroniCluster) -> PatroniCluster:
    patroni.require_leader().sql(TABLE)
    until(lambda: all(m.sql("select to_regclass('history')") != [(None,)] for m in patroni.members), 30, "the table")
    return patroni


def settings(cluster: PatroniCluster, etcd_port: int | None = None, port: int = 0) -> Settings:
    section = patroni_cluster(cluster)
    section["monitor"] = section["monitor"] | {"timeout": "1s"}
    if etcd_port is not None:
        section["etcd"] = section["etcd"] | {"endpoints": [f"127.0.0.1:{etcd_port}"]}
    listen = [{"host": "127.0.0.1", "port": port}]
    return {"listen": listen, "cluster": section, "pool": {"no_leader_timeout": "60s"}}


def checked(history: History, cluster: PatroniCluster) -> Findings:
    """Judge a history by the rows of the leader."""
    first, last = history.clients[0], history.clients[-1]
    rows = cluster.require_leader().sql(
        f"select client, number from history where client between {first} and {last}"  # noqa: S608
    )
    found = findings(history.deeds, [(row[0], row[1]) for row in rows])
    print(history, {name: len(what) for name, what in vars(found).items()})  # noqa: T201 - shown by pytest -rP
    assert not found.wrong(stale_reads=False), (found, history)
    return found


# -- killed, and started again at once


def handing_over(cluster: PatroniCluster) -> threading.Thread:
    thread = threading.Thread(target=cluster.switchover)
    thread.start()
    return thread


def leader_killed(cluster: PatroniCluster) -> threading.Thread:
    cluster.require_leader().kill()
    thread = threading.Thread(target=lambda: None)
    thread.start()
    return thread


# An asynchronous cluster loses nothing by itself when its leader is handed over.
@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(
    ("event", "synchronous"),
    [(handing_over, False), pytest.param(leader_killed, True, marks=pytest.mark.slow)],
    indirect=["synchronous"],
)
def test_a_router_is_killed_in_the_middle_of_a_failover(
    router: RouterFactory, table: PatroniCluster, event: Callable[[PatroniCluster], threading.Thread]
) -> None:
    """The new one has seen nobody lead: it reads from replicas that agree, and writes as soon as somebody leads."""
    old = table.require_leader()
    front = router(settings(table, port=table.reserve_port()))
    with History(front, 8, COMMITTED, patience_s=20) as history:
        history.wait_progress(100)
        going_on = event(table)
        until(lambda: primary(front) is None, 20, "writes are held", 0.001)
        front.process.kill()
        start_s = time.monotonic()
        front.process.start()
        started_s = time.monotonic() - start_s
        with front.connect() as client:
            read_s: list[float] = []
            why: set[str] = set()
            over = primary(front) is not None  # on a busy machine
            while primary(front) is None or len(read_s) < 5:
                why |= {row["reason"] for row in front.admin("SHOW CLUSTER") if row["readable"]}
                start_s = time.monotonic()
                assert client.execute("select count(*) > 0 from history").fetchone() == (True,)
                read_s.append(time.monotonic() - start_s)
            client.execute("insert into history values (-1, 1)")
        new = primary(front)
        history.wait_progress(100)
        going_on.join()
    assert new not in (None, old.name)
    print(f"started in {started_s:.2f} s, {len(read_s)} reads of {max(read_s):.3f} s at most, {why}")  # noqa: T201
    assert over or ASSUMED in why
    checked(history, table)
    assert max(read_s) < 2
    assert history.closed == 8  # each client's connection, once
    assert {state for _, state in history.errors} <= EXPECTED | {None}, history


# -- two in front of one cluster, and one is late


def cut_off(cable: Cable, _late: Router) -> Callable[[], None]:
    cable.cut()
    return cable.mend


def stopped(_cable: Cable, late: Router) -> Callable[[], None]:
    pid = late.process.pid
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


@contextmanager
def both(router: RouterFactory, cluster: PatroniCluster) -> Iterator[tuple[Router, Router, Cable]]:
    """Give one router that hears etcd, and one that hears it over a cable."""
    with Cable(cluster.etcd.ports[0]) as cable:
        yield router(settings(cluster)), router(settings(cluster, cable.port)), cable


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(
    ("event", "lateness", "synchronous"),
    [
        (hand_over, cut_off, False),
        *(
            pytest.param(event, lateness, event is kill_node, marks=pytest.mark.slow)
            for event, lateness in (
                (hand_over, stopped), (kill_node, cut_off), (kill_node, stopped), (stop_node, cut_off)
            )
        ),
    ],
    indirect=["synchronous"],
)  # fmt: skip
def test_one_of_two_routers_sees_the_change_late(
    router: RouterFactory,
    table: PatroniCluster,
    event: Event,
    lateness: Callable[[Cable, Router], Callable[[], None]],
) -> None:
    old = table.require_leader()
    with both(router, table) as (early, late, cable):
        with History(early, 8, COMMITTED) as told, History(late, 8, COMMITTED, first=100) as untold:
            told.wait_progress(50)
            untold.wait_progress(50)
            hear_again = lateness(cable, late)
            event(table, old)
            told.wait_progress(50)
            new = primary(early)
            assert new not in (None, old.name)
            time.sleep(1)  # so long the late router must not write, whoever leads
            hear_again()
            untold.wait_progress(50)
            assert primary(late) == new
        for history in (told, untold):
            checked(history, table)
            assert not history.closed, history
            assert {state for _, state in history.errors} <= EXPECTED, history
