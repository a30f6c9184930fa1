"""One prober and one scripted PostgreSQL: whatever happens to the connection, in whatever state, it asks again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import FATAL, ScriptedServer, message

from pgrouter.cluster.probe import LEAST_PAUSE_S, QUERY, Prober, State
from pgrouter.config.settings import MonitorSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from pgrouter.cluster.health import Probe
    from pgrouter.cluster.refusal import Refusal

NOTICE = message(b"N", b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0")


class Asked:
    """A scripted server, its prober, and what came of the questions."""

    def __init__(self, timeout_s: float, pace_s: float) -> None:
        self.server = ScriptedServer()
        self.outcomes: list[tuple[float, Probe]] = []
        self.pause_s = pace_s
        self.then: Callable[[Probe], None] = lambda _: None
        self._settings = MonitorSettings(timeout_s=timeout_s)
        self.prober: Prober

    async def open(self) -> None:
        await self.server.start()
        self.prober = Prober(("127.0.0.1", self.server.port), self._settings, self)

    def on_address(self, address: str) -> None:
        pass

    def pace_s(self) -> float:
        return self.pause_s

    def vouch(self, refusal: Refusal, *, silent: bool) -> float:  # noqa: ARG002
        return 0.0

    def on_probe(self, probe: Probe) -> None:
        self.outcomes.append((time.monotonic(), probe))
        self.then(probe)

    @property
    def failures(self) -> list[str]:
        return [probe.error for _, probe in self.outcomes if probe.failures]

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110 (what it waits for is inside the prober)
                await asyncio.sleep(0.002)

    async def until_state(self, state: State) -> None:
        """Wait for a state, also one that does not last."""
        async with asyncio.timeout(20):
            while self.prober._state is not state:  # noqa: ASYNC110 (the same)
                await asyncio.sleep(0)

    async def outcome(self, number: int) -> Probe:
        """Wait for the outcome of that number, from 1."""
        await self.until(lambda: len(self.outcomes) >= number)
        return self.outcomes[number - 1][1]


def left_in_the_loop() -> tuple[set[int], list[asyncio.TimerHandle], set[asyncio.Task[Any]]]:
    """Give the sockets, timers and other tasks of the running loop."""
    loop: Any = asyncio.get_running_loop()
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]
    return set(loop._selector.get_map()), timers, asyncio.all_tasks() - {asyncio.current_task()}


@contextlib.asynccontextmanager
async def asked(timeout_s: float = 10.0, pace_s: float = 30.0, *, start: bool = True) -> AsyncIterator[Asked]:
    """Have the server asked; in the end nothing may be left of the prober."""
    world = Asked(timeout_s, pace_s)
    await world.open()
    if start:
        world.prober.start()
        assert (await world.outcome(1)).failures == 0
    try:
        yield world
    finally:
        await world.prober.stop()
        world.server.answers.set()
        world.server.reads.set()
        await world.server.stop()
        async with asyncio.timeout(10):
            while asyncio.all_tasks() - {asyncio.current_task()}:  # noqa: ASYNC110 (the server's side ends)
                await asyncio.sleep(0.01)
        assert left_in_the_loop() == (nothing_but_the_loop(), [], set())


def nothing_but_the_loop() -> set[int]:
    loop: Any = asyncio.get_running_loop()
    return {loop._ssock.fileno()}


Run = "Callable[[Coroutine[Any, Any, None]], None]"


def test_a_kept_connection_that_dies_while_idle_is_replaced_at_once(run: Run) -> None:
    async def story() -> None:
        async with asked() as world:
            world.server.terminate()
            await world.outcome(2)  # long before the pace
            world.server.say(message(b"E", FATAL))
            world.server.terminate()
            await world.outcome(3)
            assert world.server.logins == 3
            assert not world.failures

    run(story())


def test_a_word_that_nobody_asked_for_makes_it_ask_but_not_too_often(run: Run) -> None:
    async def story() -> None:
        async with asked() as world:
            await asyncio.sleep(0.05)
            assert len(world.outcomes) == 1
            begun_s = time.monotonic()
            for _ in range(200):
                world.server.say(NOTICE)
                await asyncio.sleep(0.001)
            await world.outcome(2)
            await world.until_state(State.PAUSING)
            assert len(world.outcomes) == world.server.questions < 3 + (time.monotonic() - begun_s) / LEAST_PAUSE_S
            assert world.server.logins == 1
            assert not world.failures

    run(story())


def test_a_kept_connection_that_dies_in_a_question_is_replaced_within_the_same_probe(run: Run) -> None:
    async def story() -> None:
        async with asked() as world:
            world.server.hangs_up_s = 0.05
            world.prober.hurry()
            await world.outcome(2)
            assert (world.server.logins, world.server.questions, len(world.outcomes)) == (2, 3, 2)
            assert not world.failures

    run(story())


def test_a_fresh_connection_that_dies_in_a_question_is_a_failure(run: Run) -> None:
    async def story() -> None:
        async with asked(start=False, pace_s=0.1) as world:
            world.server.hangs_up_s = 0.0
            world.prober.start()
            first = await world.outcome(1)
            assert (first.failures, first.silences, first.report) == (1, 0, None)
            assert "closed the connection" in first.error
            second = await world.outcome(2)
            assert (second.failures, second.report is None) == (0, False)
            assert world.outcomes[1][0] - world.outcomes[0][0] > 0.09

    run(story())


def test_a_server_that_refuses_is_not_asked_too_often(run: Run) -> None:
    async def story() -> None:
        async with asked(pace_s=0.0) as world:
            await world.server.stop()
            await world.until(lambda: len(world.failures) > 3)
            moments = [moment_s for moment_s, probe in world.outcomes if probe.failures]
            assert min(b - a for a, b in pairwise(moments)) > 0.045
            await world.server.start()
            await world.until(lambda: not world.outcomes[-1][1].failures)

    run(story())


def test_hurry_during_a_question_is_one_more_question_after_it(run: Run) -> None:
    async def story() -> None:
        async with asked() as world:
            world.server.answers.clear()
            world.prober.hurry()
            await world.until(lambda: world.server.questions == 2)
            for _ in range(10):
                world.prober.hurry()
                await asyncio.sleep(0.001)
            assert (world.server.questions, len(world.outcomes)) == (2, 1)
            world.server.answers.set()
            await world.outcome(3)
            await asyncio.sleep(0.1)
            assert (world.server.questions, len(world.outcomes)) == (3, 3)

    run(story())


def test_hurry_while_it_dials_and_out_of_the_outcome(run: Run) -> None:
    async def story() -> None:
        async with asked(start=False) as world:
            world.then = lambda _: world.prober.hurry() if len(world.outcomes) < 4 else None
            world.server.answers.clear()
            world.prober.hurry()  # not yet
            world.prober.start()
            await world.until(lambda: world.server.logins == 1)
            world.prober.hurry()
            world.server.answers.set()
            await world.outcome(4)
            await asyncio.sleep(0.1)
            assert (world.server.questions, len(world.outcomes), world.server.logins) == (4, 4, 1)

    run(story())


def test_no_answer_while_dialing(run: Run) -> None:
    async def story() -> None:
        async with asked(timeout_s=1.0, start=False) as world:
            world.server.answers.clear()
            begun_s = time.monotonic()
            world.prober.start()
            probe = await world.outcome(1)
            assert (probe.failures, probe.silences, probe.error) == (1, 1, "no answer within 1 s")
            assert world.outcomes[0][0] - begun_s > 0.99
            world.server.answers.set()
            world.prober.hurry()
            assert (await world.outcome(2)).failures == 0

    run(story())


def test_no_answer_to_a_question_closes_the_connection_and_cancels_nothing(run: Run) -> None:
    async def story() -> None:
        async with asked(timeout_s=1.0) as world:
            world.server.answers.clear()
            world.prober.hurry()
            probe = await world.outcome(2)
            assert (probe.failures, probe.silences, probe.error) == (1, 1, "no answer within 1 s")
            world.server.answers.set()
            await world.until(lambda: world.server.ends == 1)
            world.prober.hurry()
            assert (await world.outcome(3)).failures == 0
            assert (world.server.logins, world.server.cancels) == (2, 0)

    run(story())


def test_one_time_out_holds_for_the_question_and_the_dialing_after_it(run: Run) -> None:
    async def story() -> None:
        async with asked(timeout_s=3.0) as world:
            world.server.answers.clear()
            world.server.hangs_up_s = 2.0
            begun_s = time.monotonic()
            world.prober.hurry()
            await world.until(lambda: world.server.logins == 2)  # and that one gets no answer
            probe = await world.outcome(2)
            assert (probe.failures, probe.silences) == (1, 1)
            assert 2.9 < world.outcomes[1][0] - begun_s < 4.5

    run(story())


def test_an_answer_that_comes_byte_by_byte(run: Run) -> None:
    async def story() -> None:
        async with asked() as world:
            world.server.in_pieces = True
            for number in range(2, 12):
                world.prober.hurry()
                probe = await world.outcome(number)
                assert (probe.failures, probe.report.timeline, probe.streams) == (0, 1, True)
            assert len(world.outcomes) == world.server.questions == 11

    run(story())


def test_a_question_that_the_socket_does_not_take_at_once(run: Run) -> None:
    async def story() -> None:
        async with asked() as world:
            await asking_with_the_way_full(world)
            assert world.prober._writing
            world.server.reads.set()
            assert (await world.outcome(3)).failures == 0
            assert not world.prober._writing
            world.prober.hurry()
            assert (await world.outcome(4)).failures == 0
            assert (world.server.logins, world.server.questions) == (1, 4)

    run(story())


def test_the_connection_dies_while_the_socket_does_not_take_the_question(run: Run) -> None:
    async def story() -> None:
        async with asked() as world:
            await asking_with_the_way_full(world)
            world.server.terminate()
            await world.until(lambda: world.server.logins == 2)
            world.server.reads.set()
            assert (await world.outcome(3)).failures == 0
            assert not world.prober._writing

    run(story())


def test_a_consumer_that_fails_is_told_again(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with asked(start=False, pace_s=0.02) as world:
            world.then = lambda _: {}["a bug"]
            world.prober.start()
            await world.outcome(3)
            await world.server.stop()
            await world.until(lambda: len(world.failures) > 1)

    run(story())
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) > 4
    assert all("a consumer failed" in record.getMessage() and record.exc_info for record in said)


def test_a_question_over_a_kept_connection_takes_no_task_and_watches_no_other_sockets(run: Run) -> None:
    async def story() -> None:
        async with asked() as world:
            before = left_in_the_loop()[0]
            assert world.prober._fd in before
            tasks: list[int] = []
            world.then = lambda _: tasks.append(len(asyncio.all_tasks()))
            others = len(left_in_the_loop()[2])  # the server's
            for number in range(2, 6):
                world.prober.hurry()
                await world.outcome(number)
                assert left_in_the_loop()[0] == before
            assert tasks == [others + 1] * 4

    run(story())


async def pausing(world: Asked) -> None:
    await world.outcome(1)


async def pausing_after_a_failure(world: Asked) -> None:
    await world.server.stop()
    await world.until(lambda: bool(world.failures))


async def dialing(world: Asked) -> None:
    world.server.answers.clear()
    world.server.terminate()
    await world.until_state(State.DIALING)
    await world.until(lambda: world.server.logins == 2)


async def dialing_just_now(world: Asked) -> None:
    world.server.terminate()
    await world.until_state(State.DIALING)


async def asking(world: Asked) -> None:
    world.server.answers.clear()
    world.prober.hurry()
    await world.until(lambda: world.server.questions == 2)


async def asking_with_the_way_full(world: Asked) -> None:
    """Have a long question stuck half-way, while the server does not read; the second one, over a kept connection."""
    world.server.reads.clear()
    world.prober.hurry()  # this one gets the server to where it waits before it reads the next
    await world.outcome(2)
    world.prober.query = QUERY + b"--" + b"x" * 16_000_000
    world.prober.hurry()
    await world.until(lambda: world.prober._writing)
    await asyncio.sleep(0.1)
    assert world.prober._state is State.ROUTER_ASKS


async def about_to_ask(world: Asked) -> None:
    world.prober.hurry()


async def about_to_hear(world: Asked) -> None:
    world.prober.hurry()
    await world.until(lambda: world.server.questions == 2)


async def about_to_lose_it(world: Asked) -> None:
    world.server.terminate()


@pytest.mark.parametrize(
    "get_there",
    [
        pausing,
        pausing_after_a_failure,
        dialing,
        dialing_just_now,
        asking,
        asking_with_the_way_full,
        about_to_ask,
        about_to_hear,
        about_to_lose_it,
    ],
)
def test_stop_leaves_nothing_behind(run: Run, get_there: Callable[[Asked], Coroutine[Any, Any, None]]) -> None:
    async def story() -> None:
        async with asked(timeout_s=30) as world:
            await get_there(world)
            begun_s = time.monotonic()
            await world.prober.stop()
            assert time.monotonic() - begun_s < 5
            said = len(world.outcomes)
            assert world.prober._state is State.STOPPED
            world.prober.hurry()
            await world.prober.stop()  # a second time is nothing
            await asyncio.sleep(0.1)
            assert len(world.outcomes) == said
            assert world.server.cancels == 0

    run(story())


def test_stop_before_start_is_nothing(run: Run) -> None:
    async def story() -> None:
        async with asked(start=False) as world:
            await world.prober.stop()

    run(story())
