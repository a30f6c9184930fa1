"""A standby is promoted by hand, without Patroni: the router follows what the servers say of themselves.

Each test has a router of its own: the cluster is made anew after each, and a router never goes back in time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.load import NOTHING, READS, TABLE, WRITES, Load, roles, wait_roles
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.router import Router, RouterFactory

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
