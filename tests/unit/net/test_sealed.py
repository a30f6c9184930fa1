"""What lies between a stream and its socket: handshakes of several rounds, records, ends. The codec is a toy."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from net_ground import Recorder, ground, until

from pgrouter.net.codec import CodecError
from pgrouter.net.sealed import secure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from net_ground import Ground

    Run = Callable[[Coroutine[Any, Any, None]], object]

HANDSHAKE, DATA, END, ALERT = b"HDEA"
LONGEST = 16 * 1024  # of a record
FLIP = bytes(each ^ 0x5A for each in range(256))


def record(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("!BI", kind, len(body)) + body.translate(FLIP)


class Envelope:
    """Records with changed bytes, after `rounds` of two messages each; as large as TLS's, and as fussy."""

    def __init__(self, *, client: bool, rounds: int = 2, effort_s: float = 0.0) -> None:
        self.established = False
        self.ended = False
        self.last = 2 * rounds - 1  # number of the last message of the handshake
        self.effort_s = effort_s
        self.kept = b""
        self.out = record(HANDSHAKE, b"\0") if client else b""
        self.opened: list[int] = []

    def open(self, buffer: memoryview, size: int) -> int:
        self.opened.append(size)
        self.kept += bytes(buffer[:size])
        plain = b""
        while len(self.kept) >= 5:
            kind, length = struct.unpack_from("!BI", self.kept)
            if kind not in (HANDSHAKE, DATA, END) or length > LONGEST:
                self.out += record(ALERT)
                raise CodecError("not a record")
            if len(self.kept) < 5 + length:
                break
            body = self.kept[5 : 5 + length].translate(FLIP)
            self.kept = self.kept[5 + length :]
            plain += self._one(kind, body)
        buffer[: len(plain)] = plain
        return len(plain)

    def _one(self, kind: int, body: bytes) -> bytes:
        if kind == HANDSHAKE:
            time.sleep(self.effort_s)
            if body[0] < self.last:
                self.out += record(HANDSHAKE, bytes([body[0] + 1]))
            self.established = body[0] + 1 >= self.last
        elif kind == END:
            self.ended = True
        return body if kind == DATA else b""

    def seal(self, data: bytes) -> bytes:
        return b"".join(record(DATA, data[at : at + LONGEST]) for at in range(0, len(data), LONGEST))

    def output(self) -> bytes:
        out, self.out = self.out, b""
        return out

    def finish(self) -> bytes:
        return record(END)


class Guarded(Recorder):
    """Notes when it is protected."""

    secured = 0

    def on_secured(self) -> int:
        self.secured += 1
        return 0


def both(place: Ground, rounds: int = 2) -> tuple[Guarded, Guarded]:
    """Give two streams with a codec each, connected with one another."""
    one, other = socket.socketpair()
    server, client = place.adopt(one, Guarded), place.adopt(other, Guarded)
    secure(server, Envelope(client=False, rounds=rounds))
    secure(client, Envelope(client=True, rounds=rounds))
    return server, client


def guarded(place: Ground) -> tuple[Guarded, socket.socket]:
    """Give a stream with a server's codec, and the other end of its socket."""
    stream, other = place.pair(Guarded)
    secure(stream, Envelope(client=False))
    return stream, other


SHAKEN = record(HANDSHAKE, b"\0") + record(HANDSHAKE, b"\2")  # what the client says


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_bytes_pass_after_the_handshake(run: Run, rounds: int) -> None:
    async def main() -> None:
        async with ground() as place:
            server, client = both(place, rounds)
            assert (server.send_bytes(b"too early"), client.send_bytes(b"too early")) == (-1, -1)
            await until(lambda: server.secured and client.secured)
            assert client.send_bytes(b"select 1") == 0
            await until(lambda: server.bytes_used == b"select 1")
            assert server.send_bytes(b"1") == 0
            await until(lambda: client.bytes_used == b"1")
            assert (server.secured, client.secured) == (1, 1)
            assert (client.sent, client.received, server.sent, server.received) == (8, 1, 1, 8)

    run(main())


def test_records_in_any_pieces(run: Run) -> None:
    async def main() -> None:
        wire = SHAKEN + b"".join(record(DATA, bytes([n]) * n) for n in range(60))
        for seed in range(5):
            async with ground() as place:
                stream, other = guarded(place)
                rng, at = random.Random(seed), 0  # noqa: S311  (which pieces)
                while at < len(wire):
                    end = at + rng.choice([1, 1, 2, 7, 300])
                    other.send(wire[at:end])
                    at = end
                    await asyncio.sleep(0)
                await until(lambda stream=stream: stream.received == sum(range(60)))
                assert stream.bytes_used == b"".join(bytes([n]) * n for n in range(60))

    run(main())


def test_much_in_both_directions_with_slow_readers(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            server, client = both(place)
            await until(lambda: server.secured and client.secured)
            forth, back = bytes(range(256)) * 16384, bytes(range(255, -1, -1)) * 8192  # 4 and 2 MiB
            client.pause()
            assert server.send_bytes(back) == 1
            assert server.unsent() > 0
            assert client.send_bytes(forth) == 1
            assert client.send_bytes(b"more") == 1
            await until(lambda: server.received == len(forth) + 4)
            assert server.unsent() > 0
            client.resume()
            await until(lambda: client.received == len(back))
            assert (server.bytes_used, client.bytes_used) == (forth + b"more", back)
            assert (server.unsent(), client.unsent(), server.drained) == (0, 0, 1)
            assert (server.sent, client.sent) == (len(back), len(forth) + 4)

    run(main())


def test_a_full_buffer_and_what_is_kept_of_a_record_fit(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = guarded(place)
            other.send(SHAKEN)
            await until(lambda: stream.secured)
            data = bytes(range(251)) * 8000
            wire = record(DATA, b"x")[:-1] + b"x".translate(FLIP) + Envelope(client=True).seal(data)
            await asyncio.get_running_loop().sock_sendall(other, wire)
            await until(lambda: stream.received == 1 + len(data))
            assert stream.bytes_used == b"x" + data

    run(main())


def test_bytes_sent_ahead_in_plain_end_the_stream(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair(Guarded, use=lambda _: 0)
            other.send(b"select 'injected'")
            await until(lambda: stream.buffered)
            secure(stream, Envelope(client=False))
            other.send(SHAKEN + record(DATA, b"x"))
            await until(lambda: stream.ends)
            assert (stream.ends, stream.secured) == (["unprotected bytes were sent before the handshake"], 0)
            assert stream.bytes_used == b""

    run(main())


def test_a_handshake_that_has_begun_unasked(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:

            def use(data: bytes) -> int:
                if stream.sealed is None:
                    secure(stream, Envelope(client=False), data)
                return len(data)

            stream, other = place.pair(Guarded, use=use)
            other.send(SHAKEN[:4])
            await until(lambda: stream.received)
            assert stream.secured == 0
            other.send(SHAKEN[4:] + record(DATA, b"hello"))
            await until(lambda: stream.bytes_used.endswith(b"hello"))

    run(main())


def test_what_was_sent_before_comes_first_and_as_it_is(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = place.pair(Guarded)
            data = bytes(4_000_000)
            assert stream.send_bytes(data) == 1
            secure(stream, Envelope(client=True))
            got = bytearray()
            while len(got) < len(data) + 6:
                got += await asyncio.get_running_loop().sock_recv(other, 1 << 20)
            assert got == data + record(HANDSHAKE, b"\0")

    run(main())


def test_the_peer_says_that_nothing_more_will_come(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            server, client = both(place)
            await until(lambda: server.secured and client.secured)
            client.send_bytes(b"bye")
            client.close()
            await until(lambda: server.ends)
            assert (server.bytes_used, server.ends) == (b"bye", ["connection closed by peer"])

    run(main())


def test_the_end_is_said_although_the_socket_stays_open(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = guarded(place)
            other.send(SHAKEN + record(DATA, b"bye") + record(END))
            await until(lambda: stream.ends)
            assert (stream.bytes_used, stream.ends) == (b"bye", ["connection closed by peer"])
            assert other.recv(1000) == record(HANDSHAKE, b"\1") + record(HANDSHAKE, b"\3") + record(END)

    run(main())


@pytest.mark.parametrize("before", [b"", SHAKEN])
def test_what_cannot_be_opened_ends_the_stream_with_an_alert(run: Run, before: bytes) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = guarded(place)
            other.send(before)
            await until(lambda: stream.secured == bool(before))
            other.send(b"GET / HTTP/1.1\r\n")
            await until(lambda: stream.ends)
            assert stream.ends == ["not a record"]
            assert record(ALERT) in other.recv(1000)

    run(main())


@pytest.mark.parametrize("sent", [b"", SHAKEN[:7], SHAKEN])
def test_the_socket_just_ends(run: Run, sent: bytes) -> None:
    async def main() -> None:
        async with ground() as place:
            stream, other = guarded(place)
            other.send(sent)
            other.close()
            await until(lambda: stream.ends)
            assert stream.ends == ["connection closed by peer"]
            assert stream.closed

    run(main())


def test_a_crowd_of_handshakes_leaves_time_for_others(run: Run) -> None:
    """At most one in a round that is late anyway, first come, first served."""

    async def main() -> None:
        async with ground() as place:
            rounds: Counter[float] = Counter()

            class Counting(Envelope):
                def open(self, buffer: memoryview, size: int) -> int:
                    rounds[place.poller.now] += 1
                    return super().open(buffer, size)

            crowd = [place.pair(Guarded) for _ in range(30)]
            for stream, other in crowd:
                secure(stream, Counting(client=False, rounds=1, effort_s=0.003))
                other.send(record(HANDSHAKE, b"\0"))
            bystander, friend = place.pair()
            friend.send(b"x")
            await until(lambda: bystander.received)
            assert sum(stream.secured for stream, _ in crowd) < 10
            await until(lambda: all(stream.secured for stream, _ in crowd))
            assert max(rounds.values()) == 1

    run(main())


def test_a_stream_that_is_closed_while_its_handshake_waits(run: Run) -> None:
    async def main() -> None:
        async with ground() as place:
            crowd = [place.pair(Guarded) for _ in range(10)]
            for stream, other in crowd:
                secure(stream, Envelope(client=False, rounds=1, effort_s=0.003))
                other.send(record(HANDSHAKE, b"\0"))
            await until(lambda: any(stream.secured for stream, _ in crowd))
            for stream, _ in crowd[5:]:
                stream.close()
            await until(lambda: all(stream.secured for stream, _ in crowd[:5]))
            await asyncio.sleep(0.02)
            assert place.bugs == []

    run(main())
