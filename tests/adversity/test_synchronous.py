"""Commits that wait for replicas, in both of Patroni's modes, through every event: PostgreSQL holds them, nobody else.

While no replica confirms, writes wait in their COMMIT; the router must see nothing in that, and reads must go on.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.events import configure, hand_over, kill_node, wait_synchronous
from support.history import TABLE, History, findings
from support.load import primary, roles
from support.router import patroni_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.router import Router, RouterFactory

    from pgrouter.demo.patroni import Member, PatroniCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

COMMITTED = "-c synchronous_commit=on"
EXPECTED = {"57P01", "08006", "57P02", "40001"}
BOTH = pytest.mark.parametrize("synchronous", [True, "quorum"], indirect=True)


@pytest.fixture
def front(router: RouterFactory, patroni: PatroniCluster) -> Router:
    patroni.require_leader().sql(TABLE)
    until(lambda: all(m.sql("select to_regclass('history')") != [(None,)] for m in patroni.members), 30, "the table")
    section = patroni_cluster(patroni)
    section["monitor"] = section["monitor"] | {"timeout": "1s"}
    return router({"cluster": section, "pool": {"no_leader_timeout": "60s"}})


def checked(history: History, cluster: PatroniCluster, *, errors: bool) -> None:
    rows = cluster.require_leader().sql("select client, number from history")
    found = findings(history.deeds, [(row[0], row[1]) for row in rows])
    print(history, {name: len(what) for name, what in vars(found).items()})  # noqa: T201 - shown by pytest -rP
    assert not found.wrong(stale_reads=False), (found, history)
    assert {state for _, state in history.errors} <= (EXPECTED if errors else set()), history
    assert not history.closed, history


def waits_for(leader: Member) -> str:
    """Give the names of those that commits wait for; empty: nobody's."""
    return str(leader.sql("show synchronous_standby_names")[0][0])


def confirming(cluster: PatroniCluster) -> Member:
    """Give a replica that commits wait for."""
    key = json.loads(cluster.etcd.get("/service/demo/sync") or "{}")
    return cluster.member(key["sync_standby"].split(",")[0])


def reads_go_on(front: Router, times: int = 20) -> None:
    with front.connect() as client:
        for _ in range(times):
            start_s = time.monotonic()
            assert client.execute("select count(*) > 0 from history").fetchone() == (True,)
            assert time.monotonic() - start_s < 5  # of a replica that froze just now: four questions of a second


def test_the_mode_is_changed_while_clients_write(front: Router, patroni: PatroniCluster) -> None:
    leader = patroni.require_leader()
    mark = len(front.log_text())
    try:
        with History(front, 8, COMMITTED) as history:
            for mode in (True, "quorum", None):
                configure(patroni, {"synchronous_mode": mode})
                until(lambda mode=mode: bool(waits_for(leader)) == bool(mode), 20, f"synchronous_mode {mode}")
                history.wait_progress(50)
        checked(history, patroni, errors=False)
    finally:
        configure(patroni, {"synchronous_mode": None})
    assert f"primary {leader.name} ->" not in front.log_text()[mark:]


def standby_killed(cluster: PatroniCluster, _leader: Member) -> None:
    confirming(cluster).kill()


def standby_frozen(cluster: PatroniCluster, _leader: Member) -> None:
    """Nobody confirms until Patroni has given it up."""
    confirming(cluster).freeze()


def both_killed(cluster: PatroniCluster, leader: Member) -> None:
    """Patroni goes on without any."""
    for member in cluster.members:
        if member is not leader:
            member.kill()


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("event", [standby_killed, standby_frozen, both_killed, hand_over, kill_node])
def test_a_synchronous_cluster_loses_somebody(
    front: Router,
    patroni: PatroniCluster,
    synchronous: object,  # noqa: ARG001 (the mode, by its fixture)
    event: Callable[[PatroniCluster, Member], None],
) -> None:
    leader = patroni.require_leader()
    changes = event in (hand_over, kill_node)
    mark = len(front.log_text())
    with History(front, 8, COMMITTED) as history:
        history.wait_progress(100)
        start_s = time.monotonic()
        event(patroni, leader)
        reads_go_on(front)
        history.wait_progress(100, 60)
        print(f"{event.__name__}: writes went on within {time.monotonic() - start_s:.1f} s")  # noqa: T201
        assert (primary(front) == leader.name) != changes
        patroni.heal()
        wait_synchronous(patroni)
        history.wait_progress(50)
    checked(history, patroni, errors=changes)
    if not changes:
        assert f"primary {leader.name} ->" not in front.log_text()[mark:]


@pytest.mark.slow
@BOTH
def test_strict_mode_without_a_replica(front: Router, patroni: PatroniCluster, synchronous: object) -> None:  # noqa: ARG001
    """Writes wait for ever, by the administrator's will, and can be cancelled; nothing is wrong with the primary."""
    leader = patroni.require_leader()
    configure(patroni, {"synchronous_mode_strict": True})
    with History(front, 8, COMMITTED) as history:
        history.wait_progress(50)
        both_killed(patroni, leader)
        try:
            until(lambda: "*" in waits_for(leader), 30, "nobody is left")
            time.sleep(1)  # what was answered before has been counted by then, and nothing must be from now on
            done = history.counts["write"]
            reads_go_on(front)
            with front.connect(options=f"'{COMMITTED}'") as client:
                told: list[str] = []
                client.add_notice_handler(lambda notice: told.append(str(notice.sqlstate)))
                threading.Timer(1, client.cancel).start()
                client.execute("insert into history values (-1, 1)")  # committed there, and PostgreSQL warns
                assert told == ["01000"]
            assert history.counts["write"] == done
            assert roles(front)[leader.name][0]
        finally:
            patroni.heal()  # or the clients would never end
        history.wait_progress(50)
    checked(history, patroni, errors=False)
