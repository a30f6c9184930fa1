"""The event loop that waits in the poller: asyncio gets its turn whenever it has something to do, and only then."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from net_ground import READ, Recorder, ground, until

from pgrouter.net.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from net_ground import Ground

    Run = Callable[[Coroutine[Any, Any, None]], object]

FAR_S = 10.0  # the next timer, when nobody calls the loop
SOON_S = 5.0


async def soon(future: asyncio.Future[None]) -> float:
    """Wait for it with no timer near; it must not take until that timer. Gives the seconds that it took."""
    before = time.monotonic()
    await asyncio.wait_for(future, FAR_S)
    took = time.monotonic() - before
    assert took < SOON_S
    return took


def done(future: asyncio.Future[None]) -> Callable[[bytes], int]:
    """Give a handler that ends the future."""

    def use(data: bytes) -> int:
        future.set_result(None)
        return len(data)

    return use


def test_what_a_handler_schedules_runs_after_its_round(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            future = asyncio.get_running_loop().create_future()
            _, other = place.pair(use=done(future))
            other.send(b"x")
            await soon(future)

    run(main())


def test_a_timer_of_a_handler_is_not_forgotten_over_a_later_one(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            loop = asyncio.get_running_loop()
            future = loop.create_future()

            def use(data: bytes) -> int:
                loop.call_later(0.05, future.set_result, None)
                return len(data)

            _, other = place.pair(use=use)
            other.send(b"x")
            assert await soon(future) >= 0.04

    run(main())


def ping_pong(place: Ground) -> Recorder:
    """Two streams that send each other the same byte for ever; gives one of them."""
    streams: list[Recorder] = []

    def use(number: int) -> Callable[[bytes], int]:
        def answer(data: bytes) -> int:
            streams[number].send_bytes(data)
            streams[number].chunks.clear()
            return len(data)

        return answer

    for number, sock in enumerate(socket.socketpair()):
        streams.append(place.adopt(sock, use=use(number)))
    streams[0].send_bytes(b"x")
    return streams[0]


def test_traffic_without_end_starves_neither_timers_nor_tasks_nor_threads(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            ball = ping_pong(place)
            steps = 0

            async def walk() -> None:
                nonlocal steps
                while True:
                    await asyncio.sleep(0)
                    steps += 1

            walking = asyncio.create_task(walk())
            before = time.monotonic()
            await asyncio.sleep(0.1)
            assert time.monotonic() - before < SOON_S
            walking.cancel()
            assert steps > 10
            assert ball.received > 10
            assert await asyncio.to_thread(sum, range(1000)) == 499500

    run(main())


def test_while_there_is_only_traffic_asyncio_does_not_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float | None] = []

    async def main() -> None:
        async with ground() as place:
            selector = asyncio.get_running_loop()._selector
            select = selector.select
            ball = ping_pong(place)
            monkeypatch.setattr(selector, "select", lambda timeout: (turns.append(timeout), select(timeout))[1])
            await asyncio.sleep(0.2)
            assert ball.received > 100
            assert len(turns) < ball.received / 10

    run(main())


def test_another_thread_calls_the_loop(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = threading.Timer(0.05, loop.call_soon_threadsafe, [future.set_result, None])
        timer.start()
        await soon(future)
        timer.join()

    run(main())


def test_a_signal_calls_the_loop(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, future.set_result, None)
        timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
        timer.start()
        await soon(future)
        timer.join()
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main())


def test_asyncios_own_sockets_are_served_beside_streams(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            ping_pong(place)

            async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(await reader.readline())
                await writer.drain()
                writer.close()

            async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"hello\n")
                assert await reader.readline() == b"hello\n"
                writer.close()

    run(main())


def test_a_bug_does_not_cost_the_others_of_its_round_their_events(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:

            def fail(_data: bytes) -> int:
                raise ZeroDivisionError

            pairs = [place.pair(use=fail if i % 2 else len) for i in range(10)]
            for _, other in pairs:
                other.send(b"x")
            await until(lambda: all(stream.received == 1 for stream, _ in pairs))
            assert [stream.closed for stream, _ in pairs] == [bool(i % 2) for i in range(10)]
            assert len(place.bugs) == 5

    run(main())


def test_time_passes_when_nothing_happens(run: Run) -> None:
    async def main() -> None:
        before = time.monotonic()
        await asyncio.sleep(0.05)
        assert 0.05 <= time.monotonic() - before < SOON_S

    run(main())


def test_the_loop_closes_its_poller() -> None:
    loop = Loop()
    stream = Recorder(loop.poller)
    mine, theirs = socket.socketpair()
    stream.attach(mine, READ)
    stream.close()
    theirs.close()
    loop.close()
    loop.close()
    with pytest.raises(ValueError, match="closed"):
        stream.poller.register(stream, 0, READ)


def test_a_thread_works_while_the_poller_waits(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def work() -> None:
            sum(range(3_000_000))  # longer than the turn that a new thread gets at once
            loop.call_soon_threadsafe(future.set_result, None)

        thread = threading.Thread(target=work)
        thread.start()
        await soon(future)
        thread.join()

    run(main())


def test_a_thread_of_the_loop_ends_with_its_work(run: Run) -> None:
    async def main() -> None:
        before = threading.active_count()
        thread = await asyncio.to_thread(threading.current_thread)
        thread.join(SOON_S)
        assert threading.active_count() == before

    run(main())


def test_what_is_done_aside_keeps_nobody_waiting(run: Run) -> None:
    async def go() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        first, second = loop.create_future(), loop.create_future()
        begun = threading.Event()
        may_end = threading.Event()

        def work() -> int:
            begun.set()
            assert may_end.wait(FAR_S)
            return threading.get_ident()

        loop.poller.aside(work, first.set_result)
        loop.poller.aside(threading.get_ident, second.set_result)
        await until(begun.is_set)
        assert not first.done()
        may_end.set()
        await asyncio.wait_for(second, FAR_S)
        assert first.result() == second.result() != threading.get_ident()
        await until(lambda: threading.active_count() == 1)

    run(go())


class Clock:
    """Time that can be skipped."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.skipped_s

    def skip(self, seconds: float) -> None:
        self.skipped_s += seconds


def test_after_a_stall_nothing_is_handled_before_somebody_has_looked() -> None:
    async def main() -> None:
        async with ground() as place:
            stalls: list[float] = []
            place.poller.on_stall = stalls.append
            pairs = [place.pair() for _ in range(3)]
            await asyncio.sleep(0.01)
            clock.skip(60)
            for _, other in pairs:
                other.send(b"x")
            await until(lambda: stalls)
            await asyncio.sleep(0.05)  # asyncio goes on
            assert place.poller.paused
            assert [stream.received for stream, _ in pairs] == [0, 0, 0]
            pairs[0][0].close()
            opened = place.pair()[0]  # its socket has the number of the one that was closed
            assert opened.fd >= 0
            place.poller.resume()
            await until(lambda: [stream.received for stream, _ in pairs] == [0, 1, 1])
            assert not opened.closed
            assert opened.received == 0
            assert len(stalls) == 1
            assert 59 < stalls[0] < 65

    clock = Clock()
    with asyncio.Runner(loop_factory=lambda: Loop(clock=clock)) as runner:
        runner.run(main())


@pytest.mark.parametrize(("wait_s", "stalls"), [(0.05, 1), (30.0, 0)])
def test_a_wait_that_was_asked_for_is_no_stall(wait_s: float, stalls: int) -> None:
    async def main() -> None:
        async with ground() as place:
            seen: list[float] = []
            place.poller.on_stall = seen.append
            stream, other = place.pair()
            await asyncio.sleep(0.01)
            timer = asyncio.get_running_loop().call_later(
                wait_s, clock.skip, 0.0
            )  # the only one: the loop waits for it

            def send() -> None:
                clock.skip(20.0)
                other.send(b"x")

            thread = threading.Timer(0.02, send)
            thread.start()
            future = asyncio.get_running_loop().create_future()
            stream.use = done(future)
            place.poller.on_stall = lambda gap_s: (seen.append(gap_s), place.poller.resume())
            await future
            timer.cancel()
            thread.join()
            assert len(seen) == stalls

    clock = Clock()
    with asyncio.Runner(loop_factory=lambda: Loop(clock=clock)) as runner:
        runner.run(main())
