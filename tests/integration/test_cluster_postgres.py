"""The monitor and real servers: crash, promotion, restart, freeze, a lost stream; and the same with a real etcd.

The etcd tests write Patroni's keys themselves, with leases and in the order recorded from real clusters.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgrouter.cluster.monitor import Monitor
from pgrouter.config.settings import Cluster, Etcd, MemberAddress, MonitorSettings
from pgrouter.planes import NoSubscriber
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgrouter.demo.etcd import EtcdCluster
    from pgrouter.demo.postgres import Server
    from pgrouter.demo.streaming import StreamingCluster
    from pgrouter.topology import ClusterView

pytestmark = pytest.mark.pg


class Eye(NoSubscriber):
    """A monitor and the moments of its views."""

    def __init__(self) -> None:
        self.views: list[tuple[float, ClusterView]] = []
        self.changed = asyncio.Event()
        self.monitor: Monitor

    def apply(self, view: ClusterView) -> None:
        self.views.append((time.monotonic(), view))
        self.changed.set()

    async def until(self, true: Callable[[ClusterView], bool], within_s: float = 30) -> float:
        """Wait for a view; gives its moment."""
        async with asyncio.timeout(within_s):
            while not (self.views and true(self.views[-1][1])):
                self.changed.clear()
                await self.changed.wait()
        return self.views[-1][0]


@contextlib.asynccontextmanager
async def watching(settings: Cluster) -> AsyncIterator[Eye]:
    eye = Eye()
    eye.monitor = Monitor(settings)
    await eye.monitor.start(eye)
    try:
        yield eye
    finally:
        await eye.monitor.stop()


def state(primary: str | None, *readers: str) -> Callable[[ClusterView], bool]:
    return lambda view: (view.primary, view.readers) == (primary, readers)


def monitor_settings(**more: Any) -> MonitorSettings:
    return MonitorSettings(**{"interval_s": 0.5, "password": "postgres", **more})


def static(cluster: StreamingCluster, **more: Any) -> Cluster:
    members = tuple(MemberAddress(name=server.name, host="127.0.0.1", port=server.port) for server in cluster.servers)
    return Cluster(source="static", members=members, monitor=monitor_settings(**more))


async def sql(server: Server, statement: str) -> Any:
    """Run a statement beside the loop; gives the first value."""
    rows = await asyncio.to_thread(server.sql, statement)
    return rows[0][0] if rows else None


def first_write_s(server: Server, within_s: float = 30) -> float:
    """Try to write until it is accepted; gives the moment."""
    end_s = time.monotonic() + within_s
    with server.connect() as connection:
        while True:
            try:
                connection.execute("CREATE TABLE IF NOT EXISTS written (n int)")
            except psycopg.errors.ReadOnlySqlTransaction:
                assert time.monotonic() < end_s
                time.sleep(0.002)
            else:
                return time.monotonic()


def test_what_servers_say_of_themselves(streaming: StreamingCluster) -> None:
    async def story() -> None:
        async with watching(static(streaming)) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            primary, replica = (eye.monitor.probes[name].report for name in ("pg0", "pg1"))
            system_id = await sql(streaming.primary, "SELECT system_identifier FROM pg_control_system()")
            assert primary.system_id == replica.system_id == str(system_id)
            assert (primary.role, primary.timeline) == (Role.PRIMARY, 1)
            assert (replica.role, replica.timeline, replica.streaming) == (Role.REPLICA, 1, True)
            assert 0 < primary.lsn <= await sql(streaming.primary, "SELECT pg_current_wal_insert_lsn() - '0/0'")
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgrouter monitor'"
            assert await sql(streaming.primary, count) == 1

    asyncio.run(story())


def test_crash_promotion_and_the_return_of_the_old_primary(streaming: StreamingCluster) -> None:
    async def story() -> None:
        async with watching(static(streaming)) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            killed_s = time.monotonic()
            await asyncio.to_thread(streaming.primary.kill)
            assert await eye.until(state(None, "pg1", "pg2")) - killed_s < 5
            heir, other = await asyncio.to_thread(streaming.heirs)
            await asyncio.sleep(0.3)
            writing = asyncio.create_task(asyncio.to_thread(first_write_s, heir))
            await sql(heir, "SELECT pg_promote(false)")
            seen_s = await eye.until(state(heir.name))
            assert seen_s - await writing < 3  # measured: 0.01-0.12 s; the rest is room for a busy machine
            assert eye.monitor.view.timeline == 2  # at once, though the control file still says 1

            await asyncio.to_thread(other.stop)
            await asyncio.to_thread(streaming.follow, other, heir)
            await eye.until(state(heir.name, other.name))
            assert eye.monitor.probes[other.name].report.timeline == 2

            await asyncio.to_thread(streaming.primary.start)  # it has not been told, and says that it is primary
            await eye.until(lambda view: view.member("pg0").role is Role.PRIMARY)
            assert state(heir.name, other.name)(eye.monitor.view)
            assert eye.monitor.view.member("pg0").reason == "says it is primary but does not lead: gets nothing"

    asyncio.run(story())


def test_a_diverged_primary_that_is_made_a_replica_is_not_read(streaming: StreamingCluster) -> None:
    async def story() -> None:
        async with watching(static(streaming, interval_s=0.05)) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            old, new = streaming.servers[:2]
            await asyncio.to_thread(new.promote)
            await eye.until(lambda view: view.primary == "pg1")
            await sql(old, "CREATE TABLE phantom ()")  # on the old timeline: it never was
            await asyncio.to_thread(old.stop, "immediate")
            await asyncio.to_thread(streaming.follow, old, new)
            await eye.until(lambda view: view.member("pg0").role is Role.REPLICA)
            await asyncio.sleep(0.5)
            assert not any("pg0" in view.readers for _, view in eye.views if view.timeline == 2)
            assert eye.monitor.view.member("pg0").reason == "is on timeline 1, the primary on 2"

            await asyncio.to_thread(old.stop, "fast")
            await asyncio.to_thread(streaming.follow, old, new, rewind=True)
            await eye.until(lambda view: "pg0" in view.readers)

    asyncio.run(story())


def test_a_primary_that_restarts_in_place(streaming: StreamingCluster) -> None:
    async def story() -> None:
        async with watching(static(streaming)) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            eye.views.clear()
            await asyncio.to_thread(streaming.primary.stop)
            await eye.until(state(None, "pg1", "pg2"))
            await asyncio.to_thread(streaming.primary.start)
            await eye.until(state("pg0", "pg1", "pg2"))
            assert all(view.readers or view.primary for _, view in eye.views)  # there was always somebody to read from

    asyncio.run(story())


def test_a_replica_that_loses_its_stream(streaming: StreamingCluster) -> None:
    async def point(replica: Server, conninfo: str) -> None:
        await sql(replica, f"ALTER SYSTEM SET primary_conninfo = '{conninfo}'")
        await sql(replica, "SELECT pg_reload_conf()")

    async def story() -> None:
        replica = streaming.servers[1]
        async with watching(static(streaming, interval_s=0.1)) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            await point(replica, "host=127.0.0.1 port=1")
            await eye.until(state("pg0", "pg2"))
            assert eye.monitor.view.member("pg1").reason == "does not stream"
            await point(replica, streaming.primary.dsn())
            await eye.until(state("pg0", "pg1", "pg2"))

    asyncio.run(story())


def test_a_frozen_replica_leaves_and_returns(streaming: StreamingCluster) -> None:
    async def story() -> None:
        async with watching(static(streaming, timeout_s=0.5)) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            streaming.servers[1].freeze()
            try:
                await eye.until(state("pg0", "pg2"))
            finally:
                streaming.servers[1].thaw()
            await eye.until(state("pg0", "pg1", "pg2"))

    asyncio.run(story())


def test_a_monitor_without_privileges(streaming: StreamingCluster) -> None:
    async def story() -> None:
        await sql(streaming.primary, "DROP ROLE IF EXISTS plain")
        await sql(streaming.primary, "CREATE ROLE plain LOGIN PASSWORD 'plain'")
        await asyncio.to_thread(streaming.wait_caught_up)
        async with watching(static(streaming, user="plain", password="plain")) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))

    asyncio.run(story())


class Keys:
    """Patroni's keys in a real etcd, written by the test: each node has one lease for its member and leader key."""

    def __init__(self, etcd: EtcdCluster, cluster: StreamingCluster) -> None:
        self.etcd, self.cluster = etcd, cluster
        self.leases: dict[str, int] = {}
        self.put("config", {"ttl": 20, "loop_wait": 1})
        self.put("initialize", cluster.primary.sql("SELECT system_identifier::text FROM pg_control_system()")[0][0])
        for server in cluster.servers:
            self.member(server)
        self.put("leader", "pg0", "pg0")

    def put(self, key: str, value: object, holder: str = "") -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        self.etcd.put(f"/service/demo/{key}", text, self.leases.get(holder, 0))

    def delete(self, key: str) -> None:
        self.etcd.delete(f"/service/demo/{key}")

    def member(self, server: Server, role: str = "replica", state: str = "running") -> None:
        if server.name not in self.leases:
            self.leases[server.name] = self.etcd.grant(60)
        url = f"postgres://127.0.0.1:{server.port}/postgres"
        self.put(f"members/{server.name}", {"conn_url": url, "role": role, "state": state}, server.name)

    def expire(self, name: str) -> None:
        """End a node's lease: leader and member key go in one revision."""
        self.etcd.call("/v3/lease/revoke", {"ID": str(self.leases.pop(name))})

    def settings(self, **more: Any) -> Cluster:
        etcd = Etcd(endpoints=self.etcd.endpoints, scope="demo", idle_s=1.0, request_timeout_s=1.0)
        return Cluster(source="etcd", etcd=etcd, monitor=monitor_settings(**more))


@pytest.fixture
def keys(etcd: EtcdCluster, streaming: StreamingCluster) -> Keys:
    return Keys(etcd, streaming)


def test_the_recorded_order_of_a_crash(keys: Keys) -> None:
    async def story() -> None:
        async with watching(keys.settings()) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            await asyncio.to_thread(keys.cluster.primary.kill)
            await eye.until(state(None, "pg1", "pg2"))
            heir, _ = await asyncio.to_thread(keys.cluster.heirs)
            await asyncio.to_thread(keys.expire, "pg0")
            await eye.until(lambda view: view.leader is None)
            assert eye.monitor.view.readers == ("pg1", "pg2")
            await asyncio.to_thread(keys.put, "leader", heir.name, heir.name)
            await eye.until(lambda view: view.leader == heir.name)
            await asyncio.sleep(0.1)  # 0.1-0.3 s with Patroni
            assert eye.monitor.view.primary is None  # named, but still in recovery
            writing = asyncio.create_task(asyncio.to_thread(first_write_s, heir))
            await sql(heir, "SELECT pg_promote(false)")
            seen_s = await eye.until(lambda view: view.primary == heir.name)
            assert seen_s - await writing < 3  # measured: 0.01-0.06 s; the rest is room for a busy machine

    asyncio.run(story())


def test_a_primary_whose_patroni_dies_gets_no_write_after_the_key_is_gone(keys: Keys) -> None:
    async def story() -> None:
        async with watching(keys.settings()) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            gone_s = time.monotonic()
            await asyncio.to_thread(keys.expire, "pg0")
            assert await eye.until(state(None, "pg1", "pg2")) - gone_s < 3  # measured: 0.002 s
            await asyncio.to_thread(keys.put, "leader", "pg1", "pg1")
            await asyncio.to_thread(keys.cluster.servers[1].promote)
            await eye.until(state("pg1"))
            assert not await asyncio.to_thread(lambda: keys.cluster.primary.in_recovery)  # it would take writes still
            assert eye.monitor.view.member("pg0").reason == "says it is primary but does not lead: gets nothing"

    asyncio.run(story())


def test_a_key_that_is_deleted_and_rewritten_names_nobody_else(keys: Keys) -> None:
    async def story() -> None:
        async with watching(keys.settings()) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            eye.views.clear()
            await asyncio.to_thread(keys.expire, "pg0")
            await asyncio.to_thread(keys.member, keys.cluster.primary, "primary")
            await asyncio.to_thread(keys.put, "leader", "pg0", "pg0")
            await eye.until(state("pg0", "pg1", "pg2"))
            assert {view.leader for _, view in eye.views} <= {None, "pg0"}
            assert all(view.readers == ("pg1", "pg2") for _, view in eye.views)
            assert all(view.member("pg0") for _, view in eye.views)

    asyncio.run(story())


def test_a_paused_cluster_keeps_its_primary_without_a_key(keys: Keys) -> None:
    async def story() -> None:
        async with watching(keys.settings()) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            await asyncio.to_thread(keys.put, "config", {"ttl": 20, "pause": True})
            await eye.until(lambda view: view.paused)
            await asyncio.to_thread(keys.expire, "pg0")
            await eye.until(lambda view: view.leader is None)
            assert eye.monitor.view.primary == "pg0"
            await asyncio.to_thread(keys.cluster.primary.kill)
            await eye.until(state(None, "pg1", "pg2"))
            await asyncio.to_thread(keys.cluster.primary.start)
            await eye.until(lambda view: view.primary == "pg0")

    asyncio.run(story())


def test_etcd_away_and_another_promoted_meanwhile(keys: Keys) -> None:
    async def story() -> None:
        async with watching(keys.settings()) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            keys.etcd.freeze()
            await eye.until(lambda view: not view.dcs_reachable)
            assert state("pg0", "pg1", "pg2")(eye.monitor.view)  # what was last known
            await asyncio.to_thread(keys.cluster.servers[1].promote)
            await eye.until(lambda view: view.primary is None)
            assert "on a newer timeline" in eye.monitor.view.no_primary
            keys.etcd.thaw()
            await asyncio.to_thread(keys.put, "leader", "pg1", "pg1")
            await eye.until(lambda view: view.primary == "pg1" and view.dcs_reachable)

    asyncio.run(story())


def test_members_come_and_go(keys: Keys) -> None:
    async def story() -> None:
        async with watching(keys.settings()) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            await asyncio.to_thread(keys.cluster.servers[2].stop)
            await asyncio.to_thread(keys.expire, "pg2")
            await eye.until(lambda view: view.member("pg2") is None)
            await asyncio.to_thread(keys.cluster.servers[2].start)
            await asyncio.to_thread(keys.member, keys.cluster.servers[2])
            await eye.until(state("pg0", "pg1", "pg2"))

    asyncio.run(story())


def test_started_while_the_cluster_is_paused_and_has_no_leader_key(keys: Keys) -> None:
    async def story() -> None:
        keys.put("config", {"ttl": 20, "loop_wait": 1, "pause": True})
        keys.delete("leader")
        async with watching(keys.settings()) as eye:
            await eye.until(state(None, "pg1", "pg2"))
            assert eye.monitor.view.no_primary == "nobody holds the leader key, and nobody has since the router started"
            keys.put("status", {"optime": 2**40})  # far ahead of what any replica has
            await eye.until(state(None))
            assert "behind the newest position" in eye.monitor.view.members[1].reason
            keys.put("status", "{}")
            keys.put("leader", "pg0", "pg0")
            await eye.until(state("pg0", "pg1", "pg2"))
            keys.delete("leader")  # this one was seen
            await asyncio.sleep(0.5)
            assert state("pg0", "pg1", "pg2")(eye.monitor.view)

    asyncio.run(story())


def test_a_member_comes_back_under_another_name(keys: Keys) -> None:
    """Its old key runs out later: until then, and afterwards, it is one server, with its tags."""

    async def story() -> None:
        async with watching(keys.settings()) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            port = keys.cluster.servers[2].port
            value = {"role": "replica", "state": "running", "tags": {"noloadbalance": True}}
            keys.put("members/new", value | {"conn_url": f"postgres://localhost:{port}/postgres"})
            await eye.until(state("pg0", "pg1"))
            keys.expire("pg2")
            await eye.until(lambda view: [member.name for member in view.members] == ["new", "pg0", "pg1"])
            await asyncio.sleep(1.0)
            assert eye.monitor.view.readers == ("pg1",)

    asyncio.run(story())


def test_a_switchover_in_two_days_holds_nothing_now(keys: Keys) -> None:
    async def story() -> None:
        when = (datetime.now(UTC) + timedelta(days=2)).isoformat()
        keys.put("failover", {"leader": "pg0", "member": "pg1", "scheduled_at": when})
        async with watching(keys.settings()) as eye:
            await eye.until(state("pg0", "pg1", "pg2"))
            keys.member(keys.cluster.servers[0], "primary", "starting")  # and no xlog_location
            before = len(eye.views)
            await asyncio.sleep(1.0)
            assert {view.primary for _, view in eye.views[before - 1 :]} == {"pg0"}

    asyncio.run(story())
