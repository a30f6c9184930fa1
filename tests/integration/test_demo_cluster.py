"""The cluster on loopback itself: up, broken, healed, and gone with its owner."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgrouter.demo import reaper
from pgrouter.demo.postgres import ServerOptions, conninfo
from pgrouter.demo.processes import DemoError, until
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.demo.workdir import Workdir

if TYPE_CHECKING:
    from pgrouter.demo.etcd import EtcdCluster
    from pgrouter.demo.patroni import PatroniCluster

# Starts a cluster, freezes a server, prints where it lives, and ends without a chance to clean up.
ABANDON = """
import os, signal, sys
from pgrouter.demo.streaming import StreamingCluster
cluster = StreamingCluster(2)
cluster.start()
cluster.standbys[0].freeze()
print(cluster.workdir, flush=True)
os.kill(os.getpid(), int(sys.argv[1]))
"""


@pytest.mark.pg
def test_standbys_replay_what_the_primary_writes(streaming: StreamingCluster) -> None:
    streaming.primary.sql("create table seen (n int); insert into seen values (7)")
    streaming.wait_caught_up()
    assert [s.sql("select n from seen") for s in streaming.standbys] == [[(7,)], [(7,)]]
    streaming.primary.sql("drop table seen")


@pytest.mark.pg
def test_heal_restarts_what_was_killed_or_frozen_and_keeps_the_data(streaming: StreamingCluster) -> None:
    streaming.primary.sql("create table healed (n int)")
    streaming.standbys[0].kill()
    streaming.standbys[1].freeze()
    streaming.heal()
    streaming.wait_caught_up()
    assert [s.sql("select count(*) from healed") for s in streaming.standbys] == [[(0,)], [(0,)]]
    streaming.primary.sql("drop table healed")


@pytest.mark.pg
def test_a_former_primary_follows_the_promoted_one_and_heal_undoes_it() -> None:
    # A cluster of its own: in one that has written much, the WAL that pg_rewind asks for may have been recycled.
    with StreamingCluster() as streaming:
        first, second = streaming.primary, streaming.standbys[0]
        second.promote()
        first.sql("create table lost (n int)")  # two primaries: this one's timeline is going to be thrown away
        first.stop()
        streaming.follow(first, second, rewind=True)
        assert [first.in_recovery, second.in_recovery] == [True, False]
        assert first.sql("select to_regclass('lost')") == [(None,)]
        streaming.heal()
        assert [server.in_recovery for server in streaming.servers] == [False, True, True]


@pytest.mark.pg
@pytest.mark.parametrize("auth", ["md5", "password", "trust"])
def test_every_way_to_log_in(auth: str) -> None:
    with StreamingCluster(1, options=ServerOptions(auth=auth, max_connections=20)) as cluster:  # type: ignore[arg-type]
        stored = cluster.primary.sql("select left(rolpassword, 3) from pg_authid where rolname = 'postgres'")
        assert stored == [("md5" if auth == "md5" else "SCR",)]
        assert cluster.primary.sql("show max_connections") == [("20",)]
        wrong = conninfo(cluster.primary.port, password="wrong")
        if auth == "trust":
            psycopg.connect(wrong).close()
        else:
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(wrong)


@pytest.mark.etcd
def test_an_etcd_that_was_killed_keeps_its_keys_but_not_expired_leases(etcd: EtcdCluster) -> None:
    etcd.put("/service/demo/leader", "pg0")
    etcd.put("/gone", "soon", lease_id=etcd.grant(1))
    etcd.kill()
    etcd.heal()
    assert etcd.get("/service/demo/leader") == "pg0"
    until(lambda: etcd.get("/gone") is None, 30, "the end of the lease")


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_patroni_hands_over_fails_over_and_heals(patroni: PatroniCluster) -> None:
    first = patroni.require_leader()
    second = patroni.switchover()
    assert second is not first
    patroni.wait_healthy()
    second.kill()
    third = patroni.wait_leader_other_than(second)
    assert not third.in_recovery
    patroni.heal()
    assert {s.state for s in patroni.status()} == {"running", "streaming"}
    assert second.in_recovery


@pytest.mark.pg
@pytest.mark.parametrize("signal_number", [2, 9, 15])
def test_nothing_survives_its_owner(signal_number: int) -> None:
    left = subprocess.run(
        [sys.executable, "-c", ABANDON, str(signal_number)], capture_output=True, text=True, timeout=50, check=False
    )
    workdir = left.stdout.strip()
    assert workdir, left.stderr
    until(lambda: not Path(workdir).exists(), 30, "the end of the work directory")
    assert reaper.processes_of(workdir) == {}


def test_a_reserved_port_is_not_given_twice() -> None:
    first, second = Workdir("ports"), Workdir("ports")
    try:
        mine = first.ports(20)
        assert not set(mine) & set(second.ports(20))
        with socket.create_server(("127.0.0.1", mine[0])), pytest.raises(DemoError, match=f"port {mine[0]} is taken"):
            second.ports((mine[0],))
    finally:
        first.remove()
        second.remove()
    assert not first.path.exists()
    assert not reaper.processes_of(str(first.path))


def test_the_reaper_finds_a_daemon_that_left_its_parent() -> None:
    workdir = Workdir("daemon")
    try:
        script = "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\ntime.sleep(60)"
        marked = os.environ | {reaper.MARK: str(workdir.path)}
        subprocess.run([sys.executable, "-c", script], env=marked, check=True, timeout=20)
        until(lambda: reaper.processes_of(str(workdir.path)), 30, "the daemon")
    finally:
        workdir.remove()
    assert reaper.processes_of(str(workdir.path)) == {}
