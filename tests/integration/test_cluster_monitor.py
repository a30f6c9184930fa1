"""The monitor over real sockets: servers that hang, refuse, lie and get promoted, told by a scripted PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import ScriptedServer

from pgrouter.cluster.monitor import Monitor
from pgrouter.cluster.patroni_keys import DcsMember, Snapshot
from pgrouter.config.settings import Cluster, MemberAddress, MonitorSettings
from pgrouter.planes import NoSubscriber

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgrouter.topology import ClusterView


class World(NoSubscriber):
    """Three scripted servers and the monitor that watches them: pg0 is primary, the others stream."""

    def __init__(self) -> None:
        self.servers = [ScriptedServer() for _ in range(3)]
        self.servers[0].recovering = False
        self.views: list[tuple[float, ClusterView]] = []
        self.changed = asyncio.Event()
        self.monitor: Monitor
        self.bytes_received: Callable[[], int | None] = lambda: None
        self.asked_about: list[str] = []

    def apply(self, view: ClusterView) -> None:
        self.changed.set()
        self.views.append((time.monotonic(), view))

    def received(self, name: str, before_s: float) -> int | None:  # noqa: ARG002
        self.asked_about.append(name)
        return self.bytes_received()

    @property
    def view(self) -> ClusterView:
        return self.monitor.view

    async def until(self, true: Callable[[ClusterView], bool], within_s: float) -> float:
        """Wait for a view; gives the seconds that it took."""
        start_s = time.monotonic()
        async with asyncio.timeout(within_s):
            while not true(self.view):
                self.changed.clear()
                await self.changed.wait()
        return time.monotonic() - start_s


@contextlib.asynccontextmanager
async def watched(prepare: Callable[[World], None] = lambda _: None, **settings: Any) -> AsyncIterator[World]:
    world = World()
    prepare(world)
    for server in world.servers:
        await server.start()
    addresses = tuple(
        MemberAddress(name=f"pg{number}", host="127.0.0.1", port=server.port)
        for number, server in enumerate(world.servers)
    )
    cluster = Cluster(source="static", members=addresses, monitor=MonitorSettings(**{"timeout_s": 5, **settings}))
    world.monitor = Monitor(cluster)
    await world.monitor.start(world)
    try:
        yield world
    finally:
        await world.monitor.stop()
        for server in world.servers:
            server.answers.set()
            await server.stop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others, timeout=10) if others else None
        assert not [task for task in others if not task.done()], "something was left running"


Run = "Callable[[Coroutine[Any, Any, None]], None]"


def test_start_gives_a_complete_view(run: Run) -> None:
    async def story() -> None:
        async with watched() as world:
            assert (world.view.primary, world.view.readers) == ("pg0", ("pg1", "pg2"))
            assert world.views[-1][1] is world.view
            assert [view.number for _, view in world.views] == list(range(1, len(world.views) + 1))
            assert {server.application_name for server in world.servers} == {"pgrouter monitor"}

    run(story())


def test_one_kept_connection_and_no_news_is_no_view(run: Run) -> None:
    async def story() -> None:
        async with watched(interval_s=0.02) as world:
            said = len(world.views)
            before = world.view
            await asyncio.sleep(0.5)
            assert world.servers[1].questions > 5
            assert [server.logins for server in world.servers] == [1, 1, 1]
            assert len(world.views) == said
            assert world.view is before

    run(story())


def test_a_terminated_connection_is_no_failure(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with watched(interval_s=0.05) as world:
            before = world.view
            for server in world.servers:
                server.terminate()
            async with asyncio.timeout(30):
                while [server.logins for server in world.servers] != [2, 2, 2]:  # noqa: ASYNC110 (a fake server counts)
                    await asyncio.sleep(0.01)
            assert world.view is before

    run(story())
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_promotion_is_seen_at_once_while_nobody_is_writable(run: Run) -> None:
    async def story() -> None:
        async with watched(interval_s=20) as world:  # each step is seen long before the next regular question
            await world.servers[0].stop()
            world.monitor.suspect("pg0")
            await world.until(lambda view: view.primary is None, 10)
            assert world.view.readers == ("pg1", "pg2")
            await asyncio.sleep(0.2)
            world.servers[1].recovering, world.servers[1].timeline = False, 2
            await world.until(lambda view: view.primary == "pg1", 10)
            assert world.view.readers == ()
            world.servers[2].timeline = 2
            await world.until(lambda view: view.readers == ("pg2",), 10)
            world.servers[0].recovering = False
            await world.servers[0].start()  # the old one comes back and says that it is primary
            await world.until(
                lambda view: view.member("pg0").timeline == 1 and "gets nothing" in view.members[0].reason, 30
            )
            assert world.view.primary == "pg1"

    run(story())


class Told:
    """A source that says what it was told."""

    def __init__(self, *members: DcsMember) -> None:
        self.members, self.leader = members, "pg0"
        self.on_change: Callable[[], None]

    def start(self, on_change: Callable[[], None]) -> None:
        self.on_change = on_change

    async def stop(self) -> None:
        """Nothing is running."""

    def refresh(self) -> None:
        """There is nothing newer."""

    def current(self, *_: object) -> Snapshot:
        return Snapshot(members=self.members, leader=self.leader)


def test_a_leader_that_has_moved_is_nobody_before_it_has_spoken(run: Run) -> None:
    async def story() -> None:
        async with watched() as world:
            old, new, _ = world.servers
            new.recovering = False
            new.answers.clear()
            source = Told(DcsMember(name="pg0", host="127.0.0.1", port=old.port))
            settings = Cluster(source="static", monitor=MonitorSettings(timeout_s=20))
            monitor = Monitor(settings, source=source)
            await monitor.start(NoSubscriber())
            assert monitor.view.primary == "pg0"
            source.members = (DcsMember(name="pg0", host="127.0.0.1", port=new.port),)
            source.on_change()
            assert monitor.view.members[0].port == new.port
            assert monitor.view.primary is None
            new.answers.set()
            async with asyncio.timeout(30):
                while monitor.view.primary is None:  # noqa: ASYNC110 (the views come by themselves)
                    await asyncio.sleep(0.01)
            await monitor.stop()

    run(story())


def test_a_primary_that_goes_by_another_name_is_no_second_primary(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Patroni was set up anew with another `name`, and the lease of the old key runs out later."""

    async def story() -> None:
        async with watched() as world:
            port = world.servers[0].port
            old, new = (DcsMember(name=name, host="127.0.0.1", port=port) for name in ("pg0", "pgA"))
            world.servers[0].started = "1700000000000001"
            source = Told(old)
            monitor = Monitor(Cluster(source="static"), source=source)
            await monitor.start(NoSubscriber())
            assert monitor.view.primary == "pg0"
            source.members, source.leader = (old, new), "pgA"
            source.on_change()
            async with asyncio.timeout(30):
                while monitor.view.primary != "pgA":  # noqa: ASYNC110 (the views come by themselves)
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # both have been asked since
            assert [member.name for member in monitor.view.members] == ["pg0", "pgA"]
            source.members = (new,)
            source.on_change()
            await asyncio.sleep(0.3)
            assert [member.name for member in monitor.view.members] == ["pgA"]
            await monitor.stop()

    run(story())
    assert "ALARM" not in caplog.text


def test_it_forgets_system_and_timeline_when_told(run: Run) -> None:
    async def story() -> None:
        async with watched(interval_s=0.05) as world:
            for server in world.servers:
                await server.stop()
                server.system_id = "8"
            for server in world.servers:
                await server.start()
            await world.until(lambda view: "has the system identifier 8 and the cluster had 7" in view.no_primary, 20)
            world.monitor.forget()
            await world.until(lambda view: view.primary == "pg0" and len(view.readers) == 2, 20)
            assert world.view.system_id == "8"
            before = world.view
            world.monitor.forget()  # for nothing: nobody notices
            assert world.monitor.view is before or world.monitor.view.primary == "pg0"

    run(story())


def test_open_connections_speak_for_a_primary_that_does_not_answer_in_time(run: Run) -> None:
    async def story() -> None:
        async with watched(interval_s=0.05, timeout_s=0.3) as world:
            world.bytes_received = lambda: len(world.asked_about)
            world.servers[0].answers.clear()
            await asyncio.sleep(2)
            assert world.monitor.probes["pg0"].failures > 2
            assert (world.view.primary, set(world.asked_about)) == ("pg0", {"pg0"})
            world.bytes_received = lambda: 7  # open, and silent as well
            await world.until(lambda view: view.primary is None, 20)

    run(story())


def test_a_server_that_hangs_delays_nobody(run: Run) -> None:
    async def story() -> None:
        async with watched(interval_s=0.05, timeout_s=0.3) as world:
            world.servers[1].answers.clear()
            asked = world.servers[2].questions
            took_s = await world.until(lambda view: view.readers == ("pg2",), 20)
            assert took_s > 0.5  # two time-outs of 0.3 s, one alone changes nothing
            assert world.servers[2].questions - asked > 3
            assert world.view.primary == "pg0"
            assert "no answer within 0.3 s" in world.view.member("pg1").reason
            world.servers[1].answers.set()
            await world.until(lambda view: view.readers == ("pg1", "pg2"), 20)

    run(story())


def test_start_does_not_wait_for_ever(run: Run) -> None:
    async def story() -> None:
        start_s = time.monotonic()
        async with watched(lambda world: world.servers[2].answers.clear(), timeout_s=0.3) as world:
            assert time.monotonic() - start_s < 10
            assert (world.view.primary, world.view.readers) == ("pg0", ("pg1",))

    run(story())


def test_stop_cuts_a_question_short(run: Run) -> None:
    async def story() -> None:
        async with watched(timeout_s=30, interval_s=0.02) as world:
            world.servers[0].answers.clear()
            await asyncio.sleep(0.1)
            start_s = time.monotonic()
            await world.monitor.stop()
            assert time.monotonic() - start_s < 10

    run(story())


def test_a_wrong_password_is_said_once_and_retried(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(world: World) -> None:
        for server in world.servers:
            server.password_is_wrong = True

    async def story() -> None:
        async with watched(refuse, interval_s=0.05) as world:
            refused = "password authentication failed"
            await world.until(lambda view: all(refused in member.reason for member in view.members), 20)
            await asyncio.sleep(0.3)
            assert (world.view.primary, world.view.readers) == (None, ())
            for server in world.servers:
                server.password_is_wrong = False
            await world.until(lambda view: view.primary == "pg0" and len(view.readers) == 2, 20)

    run(story())
    said = [record for record in caplog.records if "probe of pg1 failed" in record.getMessage()]
    assert len(said) == 1


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100, b"R\xff\xff\xff\xff"])
def test_something_that_is_not_postgresql(run: Run, greeting: bytes) -> None:
    def replace(world: World) -> None:
        world.servers[2].greeting = greeting

    async def story() -> None:
        async with watched(replace) as world:
            await world.until(lambda view: view.member("pg2").reason.startswith("does not answer"), 3)
            assert (world.view.primary, world.view.readers) == ("pg0", ("pg1",))

    run(story())


def test_answers_that_make_no_sense(run: Run) -> None:
    async def story() -> None:
        async with watched(interval_s=0.05) as world:
            world.servers[1].timeline = "x"
            await world.until(lambda view: "makes no sense" in view.member("pg1").reason, 2)

    run(story())


def test_a_consumer_that_fails_blinds_nobody(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with watched() as world:
            world.views = None  # its append() raises from now on
            await world.servers[2].stop()
            await world.until(lambda view: view.readers == ("pg1",), 3)

    run(story())
    assert "a consumer failed" in caplog.text


def test_suspicion_of_a_stranger_is_nothing(run: Run) -> None:
    async def story() -> None:
        async with watched() as world:
            world.monitor.suspect("pg9")

    run(story())


def test_a_thousand_suspicions_are_few_questions(run: Run) -> None:
    async def story() -> None:
        async with watched(interval_s=30) as world:
            await asyncio.sleep(0.1)
            asked = world.servers[1].questions
            for _ in range(1000):
                world.monitor.suspect("pg1")
                await asyncio.sleep(0)
            await asyncio.sleep(0.1)
            assert 0 < world.servers[1].questions - asked < 30

    run(story())
