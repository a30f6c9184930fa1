"""A standby is promoted by hand, without Patroni: the router follows what the servers say of themselves.

Each test has a router of its own: the cluster is made anew after each, and a router never goes back in time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from support.load import NOTHING, READS, TABLE, WRITES, Load, roles, wait_roles
from support.router import static_cluster

from pgrouter.cluster.monitor import ALERT_FOR_S
from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.router import Router, RouterFactory

    from pgrouter.demo.postgres import Server
    from pgrouter.demo.streaming import StreamingCluster

    Start = Callable[[], Router]

pytestmark = pytest.mark.pg

EXPECTED = {"57P01", "08006", "57P03"}  # the server's last word, none at all, or nobody leads for too long


@pytest.fixture
def start(router: RouterFactory, streaming: StreamingCluster) -> Start:
    return lambda: router({"cluster": static_cluster(streaming.servers)})


def test_writes_go_to_the_standby_that_was_promoted(start: Start, streaming: StreamingCluster) -> None:
    front = start()
    streaming.primary.sql(TABLE)
    streaming.wait_caught_up()
    with Load(front) as load:
        load.wait_progress()
        streaming.primary.kill()
        time.sleep(0.2)
        new, other = streaming.heirs()
        new.promote()
        other.stop()
        streaming.follow(other, new)
        wait_roles(front, **{"pg0": NOTHING, new.name: WRITES, other.name: READS})
        load.wait_progress()
    assert not load.lost, load
    assert {state for _, state in load.errors} <= EXPECTED, load
    assert Counter(kind for kind, _ in load.errors.elements())["write"] <= 6, load


def test_a_standby_with_rows_that_the_promoted_one_lacks_is_not_read(start: Start, streaming: StreamingCluster) -> None:
    front = start()
    behind, ahead = streaming.standbys
    streaming.primary.sql("drop table if exists items; create table items (id int, word text)")
    streaming.wait_caught_up()
    behind.sql("alter system set primary_conninfo = ''")
    behind.sql("select pg_reload_conf()")
    wait_roles(front, **{behind.name: NOTHING})
    streaming.primary.sql("insert into items values (1, 'lost')")
    until(lambda: ahead.sql("select id from items") == [(1,)], 30, f"the row on {ahead.name}")
    streaming.primary.kill()
    behind.promote()
    ahead.stop()
    streaming.follow(ahead, behind)  # in vain: its WAL goes on past the end of the old timeline
    wait_roles(front, **{"pg0": NOTHING, behind.name: WRITES, ahead.name: NOTHING})
    with front.connect() as client:
        assert [client.execute("select count(*) from items").fetchone() for _ in range(10)] == [(0,)] * 10
    assert ahead.sql("select id from items") == [(1,)]


def test_an_old_primary_that_comes_back_gets_nothing(start: Start, streaming: StreamingCluster) -> None:
    front = start()
    streaming.primary.sql("drop table if exists items; create table items (id int, word text)")
    streaming.wait_caught_up()
    new = streaming.standbys[0]
    streaming.primary.kill()
    new.promote()
    wait_roles(front, pg0=NOTHING, pg1=WRITES)
    streaming.primary.start()  # it still takes itself for the primary
    until(lambda: any(r["name"] == "pg0" and r["role"] == "primary" for r in front.admin("SHOW CLUSTER")), 30, "seen")
    with front.connect() as client:
        for _ in range(10):
            client.execute("insert into items values (1, 'x')")
    assert roles(front)["pg0"] == NOTHING
    assert new.sql("select count(*) from items") == [(10,)]
    assert streaming.primary.sql("select count(*) from items") == [(0,)]


def test_a_transaction_open_on_the_old_primary_does_not_go_on(start: Start, streaming: StreamingCluster) -> None:
    front = start()
    streaming.primary.sql("drop table if exists items; create table items (id int, word text)")
    streaming.wait_caught_up()
    with front.connect() as client:
        client.execute("begin")
        client.execute("insert into items values (1, 'lost')")
        streaming.standbys[0].promote()  # while the old primary is alive and well
        wait_roles(front, pg0=NOTHING, pg1=WRITES)
        with pytest.raises(psycopg.Error) as caught:
            client.execute("insert into items values (2, 'lost')")
        assert caught.value.sqlstate in EXPECTED
        client.execute("rollback")
        client.execute("insert into items values (3, 'kept')")
    assert streaming.standbys[0].sql("select id from items") == [(3,)]
    assert streaming.primary.sql("select id from items") == []


def test_a_write_waits_for_the_promotion(start: Start, streaming: StreamingCluster) -> None:
    front = start()
    with front.connect() as client:
        client.execute("select 1")
        streaming.primary.kill()
        wait_roles(front, pg0=NOTHING)
        timer = threading.Timer(0.7, streaming.standbys[1].promote)
        timer.start()
        began = time.monotonic()
        client.execute("create table waited (a int)")
        assert 0.5 < time.monotonic() - began < 20
        timer.join()


BY_HAND_S = 1.0  # from the first write that the new primary accepts to the first through the router


class Writer:
    """A client that writes over and over, through the router or directly, and when it succeeded; it dials again."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self.done_s: list[float] = []
        self._connect = connect
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._end.is_set():
            with contextlib.suppress(psycopg.Error), self._connect() as connection:
                while not self._end.wait(0.005) and not connection.closed:
                    with contextlib.suppress(psycopg.Error):
                        connection.execute("insert into ticks values (1)")
                        self.done_s.append(time.monotonic())
            self._end.wait(0.005)

    def first_after(self, at_s: float, timeout_s: float = 30) -> float:
        return until(lambda: next((done_s for done_s in self.done_s if done_s > at_s), None), timeout_s, "a write")


def kill_then_promote(old: Server, new: Server) -> None:
    """Do as Pgpool-II's failover_command does: it sees the primary dead and promotes a standby."""
    old.kill()
    time.sleep(0.5)
    new.promote()


def promote_by_hand(_old: Server, new: Server) -> None:
    """Promote and nothing else: the old primary lives on, and nobody has told it."""
    new.promote()


def hang_then_promote(old: Server, new: Server) -> None:
    old.freeze()
    time.sleep(0.5)
    new.promote()


def stop_then_promote(old: Server, new: Server) -> None:
    """Do as `repmgr standby switchover` does: the old primary is shut down first."""
    old.stop()
    new.promote()


@pytest.mark.parametrize(
    "event",
    [
        kill_then_promote,
        promote_by_hand,
        pytest.param(hang_then_promote, marks=pytest.mark.slow),
        pytest.param(stop_then_promote, marks=pytest.mark.slow),
    ],
)
def test_the_new_primary_is_found_within_a_second(
    router: RouterFactory, streaming: StreamingCluster, event: Callable[[Server, Server], None]
) -> None:
    cluster = static_cluster(streaming.servers)
    cluster["monitor"] = {key: value for key, value in cluster["monitor"].items() if key != "interval"}  # its default
    front = router({"cluster": cluster})
    streaming.primary.sql("drop table if exists ticks; create table ticks (a int)")
    streaming.wait_caught_up()
    old, new = streaming.primary, streaming.standbys[0]
    with Writer(new.connect) as direct:
        if event is not kill_then_promote:  # what a router sees at once
            time.sleep(ALERT_FOR_S + 0.2)  # all has been well for a while: members are asked as rarely as ever
        event(old, new)
        first_s = direct.first_after(0)
        follows = until(lambda: roles(front) if roles(front)[new.name] == WRITES else None, 10, "the router follows")
        seen_s = time.monotonic()
        with Writer(front.connect) as through:
            through.first_after(seen_s)
    late_s = seen_s - first_s
    print(f"{event.__name__}: seen {late_s:.3f} s after the first write that {new.name} accepted")  # noqa: T201
    assert follows["pg0"] == NOTHING
    assert late_s < BY_HAND_S  # measured: 0.12-0.25 s, by hand or hanging 0.1-0.6 s: they are asked twice a second
    assert new.sql("select count(*) from ticks")[0][0] >= len(direct.done_s) + len(through.done_s)
