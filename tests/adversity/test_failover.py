"""A real Patroni cluster loses its leader under load: the router follows, connections stay, no write is lost.

Where rows are counted replication is synchronous: an asynchronous leader may acknowledge what has not left it, and
nobody could tell that loss from the router's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.events import hand_over, hang_node, kill_node, stop_node
from support.load import TABLE, Load, primary
from support.router import patroni_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.router import Router, RouterFactory

    from pgrouter.demo.patroni import Member, PatroniCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

# The server's last word, or none at all, or nobody leads; and what a replica says that is promoted or rewound.
EXPECTED = {"57P01", "08006", "57P02", "57P03", "40001"}


@pytest.fixture
def front(router: RouterFactory, patroni: PatroniCluster) -> Router:
    made = router({"cluster": patroni_cluster(patroni), "pool": {"no_leader_timeout": "20s"}})
    patroni.require_leader().sql(TABLE)
    until(lambda: all(is_there(member) for member in patroni.members), 30, "the table on all members")
    return made


def is_there(member: Member) -> bool:
    return bool(member.sql("select to_regclass('written') is not null")[0][0])


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(
    "event", [kill_node, *(pytest.param(event, marks=pytest.mark.slow) for event in (hand_over, stop_node, hang_node))]
)
def test_the_leader_changes_under_load(
    front: Router, patroni: PatroniCluster, event: Callable[[PatroniCluster, Member], None]
) -> None:
    old = patroni.require_leader()
    with Load(front, options="-c synchronous_commit=on") as load:
        load.wait_progress()
        event(patroni, old)
        until(lambda: primary(front) not in (None, old.name), 30, "the router has followed")
        load.wait_progress()
        new = patroni.member(str(primary(front)))
        rows = new.sql("select * from written")
        seen = load.acknowledged.copy()
        load.wait_progress(5)
    by_kind = Counter(kind for kind, _ in load.errors.elements())
    assert not load.lost, load
    assert {state for _, state in load.errors} <= EXPECTED, load
    assert by_kind["write"] <= 6, load  # three writers, each may have had one in flight when it came, one when it went
    assert by_kind["read"] <= 9, load
    missing = seen - {tuple(row) for row in rows} - {tuple(row) for row in new.sql("select * from written")}
    assert not missing, load


def test_only_postgresql_of_the_leader_is_killed(front: Router, patroni: PatroniCluster) -> None:
    old = patroni.require_leader()
    with Load(front) as load:
        load.wait_progress()
        old.kill_postgres()
        load.wait_progress(30)
    assert not load.lost, load
    assert {state for _, state in load.errors} <= EXPECTED, load
    assert Counter(kind for kind, _ in load.errors.elements())["write"] <= 6, load


def test_reads_go_on_and_new_clients_log_in_and_wait_while_nobody_leads(front: Router, patroni: PatroniCluster) -> None:
    waited: list[tuple[float, Any]] = []

    def write() -> None:
        began = time.monotonic()
        try:
            with front.connect(connect_timeout=40) as connection:
                connection.execute("insert into written values (9, 9)")
                waited.append((time.monotonic() - began, None))
        except psycopg.Error as error:
            waited.append((time.monotonic() - began, error.sqlstate))

    threads = [threading.Thread(target=write) for _ in range(8)]
    with front.connect() as reader:
        for _ in range(4):
            reader.execute("select 1")
        patroni.require_leader().kill()
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        until(lambda: primary(front) is None, 30, "the router sees that nobody leads")
        for _ in range(10):
            began = time.monotonic()
            assert reader.execute("select count(*) from written").fetchone() is not None
            assert time.monotonic() - began < 5
        assert primary(front) is None
    for thread in threads:
        thread.join(40)
    assert len(waited) == 8
    assert {state for _, state in waited} <= {None, "57P03", "57P01", "08006"}, waited
    assert [state for _, state in waited].count(None) >= 7, waited
    assert max(seconds for seconds, _ in waited) < 35


def test_routing_goes_on_without_etcd(front: Router, patroni: PatroniCluster) -> None:
    """Patroni itself must not notice: it is frozen before etcd stops, and its leader is not demoted."""
    for member in patroni.members:
        member.freeze(postgres=False)
    patroni.etcd.kill(0)
    try:
        with Load(front) as load:
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                load.wait_progress(5)
            with front.connect() as late:
                late.execute("insert into written values (99, 1)")
    finally:
        patroni.etcd.heal()
        for member in patroni.members:
            member.thaw()
    assert not load.errors, load


def test_a_router_that_starts_before_its_etcd(router: RouterFactory, patroni: PatroniCluster) -> None:
    for member in patroni.members:
        member.freeze(postgres=False)
    patroni.etcd.kill(0)
    try:
        front = router({"cluster": patroni_cluster(patroni)})
        with pytest.raises(psycopg.OperationalError, match="etcd cannot be reached"):
            front.connect()
    finally:
        patroni.etcd.heal()
        for member in patroni.members:
            member.thaw()
    patroni.wait_healthy()  # a leader that wakes up too late for its key takes itself down first
    with front.connect() as client:
        client.execute("create table if not exists early (a int)")


@pytest.mark.slow
def test_a_reload_and_a_drain_during_a_failover(front: Router, patroni: PatroniCluster) -> None:
    with front.connect() as client:
        client.execute("select 1")
        patroni.require_leader().kill()
        until(lambda: primary(front) is None, 30, "nobody leads")
        front.process.reload()
        assert client.execute("select 1").fetchone() == (1,)
        thread = threading.Thread(target=lambda: _ignore(client, "insert into written values (7, 7)"))
        thread.start()
        time.sleep(0.2)
    thread.join(40)
    began = time.monotonic()
    front.stop()
    assert time.monotonic() - began < 30


def _ignore(client: psycopg.Connection[Any], sql: str) -> None:
    with contextlib.suppress(psycopg.Error):
        client.execute(sql.encode())
