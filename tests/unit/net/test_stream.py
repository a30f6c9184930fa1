"""Stream and Poller over real sockets: pieces, backpressure, and all ways to end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from net_ground import Recorder, Relay, ground, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from net_ground import Ground

    Run = Callable[[Coroutine[Any, Any, None]], object]

READ_SIZE = 256 * 1024  # of one recv
HEADROOM = 8 * 1024


def frames(data: bytes) -> int:
    """Use whole frames: four bytes of length, then so many bytes."""
    used = 0
    while len(data) - used >= 4:
        size = 4 + int.from_bytes(data[used : used + 4], "big")
        if len(data) - used < size:
            break
        used += size
    return used


def frame(size: int) -> bytes:
    return struct.pack("!I", size) + bytes(i % 251 for i in range(size))


async def send_all(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


# -- receiving


@pytest.mark.parametrize("size", [0, 1, 100, HEADROOM - 4, HEADROOM, HEADROOM + 1, READ_SIZE, 1_000_000])
@pytest.mark.parametrize("cut", [1, 3, 4, 5, HEADROOM - 1, HEADROOM, HEADROOM + 1])
def test_a_frame_in_two_pieces_comes_whole(run: Run, size: int, cut: int) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair(use=frames)
            data = frame(size) + frame(7)
            await send_all(other, data[:cut])
            await until(lambda: stream.received >= min(cut, len(data)))
            await send_all(other, data[cut:])
            await until(lambda: len(stream.bytes_used) == len(data))
            assert stream.bytes_used == data
            assert stream.buffered == 0

    run(main())


def test_byte_by_byte(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair(use=frames)
            data = frame(50) + frame(0) + frame(3)
            for at in range(len(data)):
                other.send(data[at : at + 1])
                await until(lambda at=at: stream.received == at + 1)
            assert stream.bytes_used == data

    run(main())


def test_what_is_not_used_is_offered_again_on_demand(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            willing = False
            stream, other = place.pair(use=lambda data: len(data) if willing else 0)
            other.send(b"ab")
            await until(lambda: stream.buffered == 2)
            other.send(b"cd")
            await until(lambda: stream.buffered == 4)
            stream.process_partial()
            assert stream.buffered == 4
            willing = True
            stream.process_partial()
            assert (stream.bytes_used, stream.buffered) == (b"abcd", 0)
            stream.process_partial()
            assert stream.bytes_used == b"abcd"

    run(main())


def test_many_streams_do_not_mix_what_they_keep(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            pairs = [place.pair(use=frames) for _ in range(40)]
            data = [frame(100 + 300 * i) for i in range(40)]
            for step in (2, 50, 100, 100_000):
                for (_, other), whole in zip(pairs, data, strict=True):
                    start = {2: 0, 50: 2, 100: 50, 100_000: 100}[step]
                    await send_all(other, whole[start:step])
                await asyncio.sleep(0.005)
            await until(lambda: all(stream.bytes_used for stream, _ in pairs))
            assert [stream.bytes_used for stream, _ in pairs] == data

    run(main())


# -- backpressure


def relay(place: Ground) -> tuple[Relay, socket.socket, Relay, socket.socket]:
    left, writer = place.pair(Relay)
    right, reader = place.pair(Relay)
    left.peer, right.peer = right, left
    return left, writer, right, reader


async def read_exactly(sock: socket.socket, size: int) -> bytearray:
    got = bytearray()
    while len(got) < size:
        got += await asyncio.get_running_loop().sock_recv(sock, min(size - len(got), 1 << 20))
    return got


@pytest.mark.parametrize("backwards", [False, True])
def test_a_slow_reader_stops_its_writer_and_memory_stays_bounded(run: Run, backwards: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        async with ground() as place:
            left, writer, right, reader = relay(place)
            if backwards:
                left, writer, right, reader = right, reader, left, writer
            data = bytes(range(256)) * 65536  # 16 MiB
            sending = asyncio.create_task(send_all(writer, data))
            await until(lambda: left.received > 0)
            seen = -1
            while left.received != seen:  # until nothing moves any more
                seen = left.received
                await asyncio.sleep(0.05)
            assert not sending.done()
            assert left.received - right.sent <= READ_SIZE
            assert left.received < len(data) // 4
            got = await read_exactly(reader, len(data))
            await sending
            assert got == data
            assert right.drained > 0

    run(main())


def test_both_directions_at_once(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            left, one, right, other = relay(place)
            forth, back = bytes(range(256)) * 8192, bytes(range(255, -1, -1)) * 8192
            got = await asyncio.gather(
                send_all(one, forth),
                send_all(other, back),
                read_exactly(other, len(forth)),
                read_exactly(one, len(back)),
            )
            assert (got[2], got[3]) == (forth, back)
            assert (left.received, right.received) == (len(forth), len(back))

    run(main())


def test_a_paused_stream_reads_nothing_until_it_is_resumed(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair()
            stream.pause()
            stream.pause()
            other.send(b"hello")
            await asyncio.sleep(0.02)
            assert stream.received == 0
            stream.resume()
            stream.resume()
            await until(lambda: stream.bytes_used == b"hello")

    run(main())


def stuffed() -> tuple[socket.socket, socket.socket, int]:
    """Give a pair of sockets with more in between than one recv takes, and how much that is."""
    mine, theirs = tcp_pair()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * READ_SIZE)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * READ_SIZE)
    theirs.setblocking(False)
    sent, pause_at = 0, time.monotonic() + 0.2
    while time.monotonic() < pause_at:
        try:
            sent += theirs.send(bytes(READ_SIZE))
        except BlockingIOError:
            time.sleep(0.001)
    assert sent > READ_SIZE
    return mine, theirs, sent


@pytest.mark.parametrize("ended", [False, True])
def test_what_one_recv_leaves_is_read_although_nothing_more_comes(run: Run, ended: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        async with ground() as place:
            mine, theirs, sent = stuffed()
            place.keep(theirs)
            if ended:
                theirs.shutdown(socket.SHUT_WR)
            stream = place.adopt(mine)
            await until(lambda: stream.received == sent)
            assert max(map(len, stream.chunks)) == READ_SIZE
            await until(lambda: len(stream.ends) == ended)

    run(main())


def test_what_came_while_paused_is_read_with_the_end_behind_it(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            mine, theirs = tcp_pair()
            stream = place.adopt(mine)
            place.keep(theirs)
            theirs.send(b"one")
            await until(lambda: stream.bytes_used == b"one")
            stream.pause()
            theirs.send(b" two")
            theirs.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.02)
            assert stream.bytes_used == b"one"
            stream.resume()
            await until(lambda: stream.ends)
            assert stream.bytes_used == b"one two"

    run(main())


# -- the ends


def test_the_peer_closes(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair()
            other.send(b"last words")
            other.close()
            await until(lambda: stream.ends)
            assert (stream.bytes_used, stream.ends) == (b"last words", ["connection closed by peer"])
            assert stream.closed

    run(main())


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


def test_the_peer_resets(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            mine, theirs = tcp_pair()
            stream = place.adopt(mine)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            await until(lambda: stream.ends)
            assert stream.ends == ["connection reset by peer"]

    run(main())


def test_the_end_is_heard_while_paused(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair()
            stream.pause()
            other.send(b"unread")
            await asyncio.sleep(0.01)
            other.close()  # EPOLLHUP, which cannot be switched off
            await until(lambda: stream.ends)
            assert (stream.bytes_used, len(stream.ends)) == (b"unread", 1)

    run(main())


def test_half_a_close_while_paused_does_not_spin(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            mine, theirs = tcp_pair()
            stream = place.adopt(mine)
            place.keep(theirs)
            stream.pause()
            theirs.shutdown(socket.SHUT_WR)
            spent = time.process_time()
            await asyncio.sleep(0.1)
            assert time.process_time() - spent < 0.05
            assert stream.ends == []
            stream.resume()
            await until(lambda: stream.ends)

    run(main())


def test_sending_to_one_who_has_gone_says_so_and_leaves_his_last_words(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair()
            other.send(b"bye")
            other.close()
            assert stream.send_bytes(b"too late") == -1
            assert (stream.broken, stream.closed) == (True, False)
            assert stream.send_bytes(b"again") == -1
            await until(lambda: stream.ends)
            assert stream.bytes_used == b"bye"

    run(main())


def test_the_peer_goes_while_bytes_wait_for_it(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair()
            assert stream.send_bytes(bytes(4_000_000)) == 1
            assert stream.send_bytes(b"more") == 1
            other.close()
            await until(lambda: stream.ends)
            assert stream.closed
            assert stream.drained == 0

    run(main())


def test_close_inside_the_handler(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:

            def use(data: bytes) -> int:
                stream.close()
                return len(data)

            stream, other = place.pair(use=use)
            other.send(b"x")
            await until(lambda: stream.closed)
            stream.close()
            assert (stream.fd, stream.ends, place.bugs) == (-1, [], [])
            assert stream.send_bytes(b"y") == -1

    run(main())


def test_one_closes_another_that_is_ready_in_the_same_round(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            pairs: list[tuple[Recorder, socket.socket]] = []

            def use(data: bytes) -> int:
                for stream, _ in pairs[1:]:
                    stream.close()
                return len(data)

            pairs += [place.pair(use=use if i == 0 else len) for i in range(8)]
            for _, other in pairs:
                other.send(b"x")
            await until(lambda: pairs[0][0].received == 1)
            await asyncio.sleep(0.01)
            assert all(stream.closed and not stream.ends for stream, _ in pairs[1:])
            assert place.bugs == []

    run(main())


def test_a_bug_ends_its_connection_and_no_other(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with ground() as place:

            def use(_data: bytes) -> int:
                raise ZeroDivisionError

            bad, other = place.pair(use=use)
            good, friend = place.pair()
            other.send(b"x")
            friend.send(b"y")
            await until(lambda: good.bytes_used == b"y" and bad.closed)
            assert [type(bug) for bug in place.bugs] == [ZeroDivisionError]
            friend.send(b"z")
            await until(lambda: good.bytes_used == b"yz")

    run(main())
    assert "bug in the handler" in caplog.text


# -- connecting


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_dialling(run: Run, family: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with ground() as place:
            address = ("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "socket")
            options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
            with socket.create_server(address, family=family) as server:
                stream = place.keep(Recorder(place.poller))
                stream.dial(family, server.getsockname(), options)
                await until(lambda: stream.connects)
                with server.accept()[0] as theirs:
                    assert stream.send_bytes(b"hello") == 0
                    assert theirs.recv(10) == b"hello"
                    await asyncio.sleep(0.01)
                kept = stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert kept == (family == socket.AF_INET)
            assert (stream.connects, stream.unreachable) == (1, [])

    run(main())


def test_dialling_where_nobody_listens(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            with socket.socket() as holder:  # bound and not listening: nobody else gets the port
                holder.bind(("127.0.0.1", 0))
                stream = place.keep(Recorder(place.poller))
                stream.dial(socket.AF_INET, holder.getsockname())
                await until(lambda: stream.unreachable)
                assert stream.unreachable == [os.strerror(errno.ECONNREFUSED)]
                assert (stream.connects, stream.closed) == (0, True)

    run(main())


def test_dialling_that_fails_at_once(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with ground() as place:
            stream = place.keep(Recorder(place.poller))
            stream.dial(socket.AF_UNIX, str(tmp_path / "nowhere"))
            assert stream.unreachable == [os.strerror(errno.ENOENT)]
            assert (stream.fd, stream.closed) == (-1, True)

    run(main())


def test_bytes_that_wait_are_counted(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair()
            assert stream.unsent() == 0
            stream.send_bytes(bytes(4_000_000))
            assert stream.unsent() == 4_000_000 - stream.sent
            got = await read_exactly(other, 4_000_000)
            await until(lambda: stream.drained)
            assert (stream.unsent(), stream.sent, len(got)) == (0, 4_000_000, 4_000_000)

    run(main())


def test_more_ready_streams_than_one_round_takes(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            pairs = [place.pair() for _ in range(300)]
            for _, other in pairs:
                other.send(b"x")
            await until(lambda: all(stream.received for stream, _ in pairs))

    run(main())
