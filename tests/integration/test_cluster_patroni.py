"""The monitor and a real Patroni cluster: a switchover and the crash of the leader, with the moments measured."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from support.members import Writers

from pgrouter.cluster.monitor import Monitor
from pgrouter.config.settings import Cluster, Etcd, MonitorSettings, Patroni
from pgrouter.planes import NoSubscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgrouter.demo.patroni import PatroniCluster
    from pgrouter.topology import ClusterView

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.fixture
def failing_over(patroni: PatroniCluster) -> Iterator[PatroniCluster]:
    """Patroni fails over at once when its PostgreSQL crashes, instead of starting it again in place."""
    patroni.require_leader().api("/config", {"primary_start_timeout": 0}, "PATCH")
    yield patroni
    member = next(member for member in patroni.members if member.patroni_alive)
    member.api("/config", {"primary_start_timeout": None}, "PATCH")


class Eye(NoSubscriber):
    """Every view and its moment."""

    def __init__(self) -> None:
        self.views: list[tuple[float, ClusterView]] = []
        self.changed = asyncio.Event()

    def apply(self, view: ClusterView) -> None:
        self.views.append((time.monotonic(), view))
        self.changed.set()

    async def until(self, true: Callable[[ClusterView], bool], within_s: float = 40) -> float:
        async with asyncio.timeout(within_s):
            while not (self.views and true(self.views[-1][1])):
                self.changed.clear()
                await self.changed.wait()
        return self.views[-1][0]


def complete(view: ClusterView) -> bool:
    return view.primary is not None and len(view.readers) == 2


def never_two(eye: Eye) -> bool:
    return all(sum(member.writable for member in view.members) <= 1 for _, view in eye.views)


def cluster_of(patroni: PatroniCluster, source: str) -> Cluster:
    etcd = Etcd(endpoints=patroni.etcd.endpoints, scope=patroni.options.scope)
    rest = Patroni(urls=(f"127.0.0.1:{patroni.members[0].rest_port}",))
    return Cluster(source=source, etcd=etcd, patroni=rest, monitor=MonitorSettings(password="postgres"))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["etcd", "patroni"])
def test_switchover_crash_and_a_primary_without_patroni(failing_over: PatroniCluster, source: str) -> None:
    async def admitted(eye: Eye, writers: Writers, old: str, since_s: float) -> tuple[str, float]:
        """Wait for a new primary; gives its name and how long after its first accepted write it was seen."""
        seen_s = await eye.until(lambda view: view.primary not in (None, old))
        new = eye.views[-1][1].primary
        assert new is not None
        async with asyncio.timeout(30):
            while not any(at_s > since_s for at_s in writers.accepted[new]):  # noqa: ASYNC110 (threads write)
                await asyncio.sleep(0.02)
        return new, seen_s - writers.first_after(new, since_s)

    async def story(writers: Writers) -> None:
        eye = Eye()
        monitor = Monitor(cluster_of(failing_over, source))
        await monitor.start(eye)
        try:
            late_s = {}
            await eye.until(complete)
            first = monitor.view.primary
            begun_s = time.monotonic()
            switching = asyncio.create_task(asyncio.to_thread(failing_over.switchover))
            second, late_s["switchover"] = await admitted(eye, writers, first, begun_s)
            assert (await switching).name == second
            await eye.until(complete)

            begun_s = time.monotonic()
            await asyncio.to_thread(failing_over.member(second).kill_postgres)
            third, late_s["crash"] = await admitted(eye, writers, second, begun_s)
            await eye.until(complete)

            begun_s = time.monotonic()
            await asyncio.to_thread(failing_over.member(third).kill_patroni)
            held_s = await eye.until(lambda view: view.primary is None)
            assert monitor.view.readers  # reads go on
            fourth, late_s["patroni killed"] = await admitted(eye, writers, third, begun_s)
            assert writers.accepted[third][-1] > held_s  # the old one takes writes still: nobody has told it
            held_before_s = writers.first_after(fourth, begun_s) - held_s
            assert monitor.view.member(third).reason == "says it is primary but does not lead: gets nothing"
            assert len({first, second, third, fourth}) >= 2
            assert never_two(eye)
            print(source, "held before the new one's first write, s:", held_before_s)  # noqa: T201
            print(source, "seen after the first accepted write, s:", late_s)  # noqa: T201 - shown by pytest -rP
            assert max(late_s.values()) < 5  # measured: 0.01-0.11 s; the rest is room for a busy machine
        finally:
            await monitor.stop()

    with Writers(failing_over) as writers:
        asyncio.run(story(writers))
