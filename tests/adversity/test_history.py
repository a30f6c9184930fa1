"""Leaders die, hang, hand over and are cut off while clients write and read back: nothing is lost, doubled or dreamt.

Two kinds of cluster. A synchronous one for what kills the leader: an asynchronous leader may acknowledge what has not
left it. And an asynchronous one, where a former leader that lives on would take writes that nobody will ever see again:
that is the router's to prevent.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.cable import Cable
from support.events import configure, hand_over, hang_node, kill_node, kill_postgres, stop_node, wait_synchronous
from support.history import TABLE, Findings, History, findings
from support.load import primary, wait_roles
from support.router import patroni_cluster

from pgrouter.demo.patroni import PatroniCluster, PatroniOptions
from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.patroni import Member

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.slow]

STALE_READS = False  # reads of replicas may not be behind their own client's writes
EXPECTED = {"57P01", "08006", "57P02", "57P03", "40001"}


@pytest.fixture
def front(router: RouterFactory, patroni: PatroniCluster) -> Router:
    return started(router, patroni)


def started(router: RouterFactory, cluster: PatroniCluster, etcd_port: int | None = None) -> Router:
    cluster.require_leader().sql(TABLE)
    until(lambda: all(m.sql("select to_regclass('history')") != [(None,)] for m in cluster.members), 30, "the table")
    section = patroni_cluster(cluster)
    section["monitor"] = section["monitor"] | {"timeout": "1s"}
    if etcd_port is not None:
        section["etcd"] = section["etcd"] | {"endpoints": [f"127.0.0.1:{etcd_port}"]}
    return router({"cluster": section, "pool": {"no_leader_timeout": "60s"}})


def checked(history: History, cluster: PatroniCluster) -> Findings:
    """Judge the history by the rows of the leader."""
    rows = cluster.require_leader().sql("select client, number from history")
    found = findings(history.deeds, [(row[0], row[1]) for row in rows])
    print(history, {name: len(what) for name, what in vars(found).items()})  # noqa: T201 - shown by pytest -rP
    assert not found.wrong(stale_reads=STALE_READS), (found, history)
    assert {state for _, state in history.errors} <= EXPECTED, history
    assert not history.closed, history
    return found


EVENTS = (hand_over, kill_node, kill_postgres, hang_node, stop_node)


@pytest.mark.usefixtures("synchronous")
def test_nothing_is_lost_or_doubled_by_failovers_of_every_kind(front: Router, patroni: PatroniCluster) -> None:
    with History(front, options="-c synchronous_commit=on") as history:
        for event in EVENTS:
            history.wait_progress(300)
            wait_synchronous(patroni)
            event(patroni, patroni.require_leader())
            history.wait_progress(50, 90)
            patroni.heal()
        history.wait_progress(300)
    checked(history, patroni)
    assert history.counts["write"] > 1500


def wait_followed(front: Router, old: Member) -> None:
    until(lambda: primary(front) not in (None, old.name), 40, "the router has followed")


def patroni_killed(cluster: PatroniCluster, front: Router, old: Member) -> None:
    """PostgreSQL lives on as a primary, and takes writes of whoever asks."""
    old.kill_patroni()
    wait_followed(front, old)
    assert old.accepts_writes
    time.sleep(2)
    assert old.accepts_writes
    cluster.heal()


def patroni_stopped(cluster: PatroniCluster, front: Router, old: Member) -> None:
    old.freeze(postgres=False)
    wait_followed(front, old)
    time.sleep(1)
    old.thaw()
    cluster.wait_healthy()


def host_frozen(cluster: PatroniCluster, front: Router, old: Member) -> None:
    """It takes itself for the leader for a moment when it wakes up."""
    old.freeze()
    wait_followed(front, old)
    time.sleep(1)
    old.thaw()
    cluster.wait_healthy()


@pytest.mark.parametrize("event", [patroni_killed, patroni_stopped, host_frozen])
def test_no_write_goes_to_a_former_leader_that_lives_on(
    front: Router, patroni: PatroniCluster, event: Callable[[PatroniCluster, Router, Member], None]
) -> None:
    with History(front) as history:
        history.wait_progress(200)
        event(patroni, front, patroni.require_leader())
        history.wait_progress(200)
    checked(history, patroni)


def test_etcd_is_away_and_comes_back(front: Router, patroni: PatroniCluster) -> None:
    """Without failsafe mode the leader takes itself down; when etcd is back somebody leads again."""
    with History(front) as history:
        history.wait_progress(200)
        patroni.etcd.freeze()
        until(lambda: primary(front) is None, 30, "the leader has demoted itself")
        time.sleep(3)
        patroni.etcd.thaw()
        history.wait_progress(200)
    checked(history, patroni)


def test_leaders_change_while_etcd_hangs_for_the_router_alone(router: RouterFactory, patroni: PatroniCluster) -> None:
    """Nobody has told it who leads, so it writes nowhere, though one of the servers says that it is the primary."""
    with Cable(patroni.etcd.ports[0]) as cable:
        front = started(router, patroni, cable.port)
        with History(front) as history:
            history.wait_progress(200)
            cable.cut()
            patroni.switchover()
            until(lambda: not _reachable(front), 30, "the router knows that it hears nothing")
            time.sleep(2)
            assert primary(front) is None
            cable.mend()
            history.wait_progress(200)
        checked(history, patroni)


@contextmanager
def paused(cluster: PatroniCluster) -> Iterator[None]:
    configure(cluster, {"pause": True})
    until(lambda: "pause" in cluster.require_leader().api("/patroni")[1], 20, "the pause is known")
    try:
        yield
    finally:
        cluster.heal()


def test_paused_and_patroni_is_killed(front: Router, patroni: PatroniCluster) -> None:
    """The leader key goes, and its PostgreSQL stays the primary: nobody notices anything."""
    with paused(patroni):
        old = patroni.require_leader()
        with History(front) as history:
            history.wait_progress(200)
            old.kill_patroni()
            until(lambda: patroni.etcd.get("/service/demo/leader") is None, 30, "the key has expired")
            history.wait_progress(300)
            assert primary(front) == old.name
        checked(history, patroni_healed(patroni))
    assert not history.errors, history


@pytest.mark.usefixtures("synchronous")  # when the pause ends another may lead
def test_paused_and_the_postmaster_is_killed(front: Router, patroni: PatroniCluster) -> None:
    """Nobody fails over; writes wait until somebody starts it, reads go on."""
    with paused(patroni):
        old = patroni.require_leader()
        with History(front, options="-c synchronous_commit=on") as history:
            history.wait_progress(200)
            old.kill_postgres()
            until(lambda: primary(front) is None, 20, "nobody takes writes")
            time.sleep(2)
            with front.connect() as reader:
                assert reader.execute("select count(*) > 0 from history").fetchone() == (True,)
            assert primary(front) is None
            configure(patroni, {"pause": None})
            history.wait_progress(200, 90)
        checked(history, patroni_healed(patroni))


def patroni_healed(cluster: PatroniCluster) -> PatroniCluster:
    cluster.heal()
    return cluster


def test_failsafe_mode_keeps_the_leader_while_etcd_is_away(router: RouterFactory) -> None:
    """The key is deleted and written again when etcd is back: no session is lost, no write fails."""
    with PatroniCluster(PatroniOptions(dcs={"failsafe_mode": True})) as cluster:
        front = started(router, cluster)
        old = cluster.require_leader()
        until(lambda: cluster.etcd.get("/service/demo/failsafe") is not None, 20, "the failsafe key")
        with History(front) as history:
            history.wait_progress(200)
            cluster.etcd.freeze()
            until(lambda: not _reachable(front), 30, "the router knows that etcd is away")
            time.sleep(8)  # longer than the ttl: the key is gone when etcd wakes up
            history.wait_progress(200)
            cluster.etcd.thaw()
            until(lambda: _reachable(front), 30, "etcd is back")
            history.wait_progress(300)
            wait_roles(front, **{old.name: (True, False)})
        checked(history, cluster)
        assert not history.errors, history


def _reachable(front: Router) -> bool:
    last = [line for line in front.log_text().splitlines() if "DCS " in line and "cluster view" in line]
    return not last or "DCS reachable again" in last[-1]
