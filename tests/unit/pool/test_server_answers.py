"""A server connection that hears what it should not: it is lost with a reason, and nobody else notices."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from pool_ground import Client, World

from pgrouter.protocol.requests import EXECUTE, FORWARD, QUERY, SYNC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., World]


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


FATAL = message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0")


class Linked:
    """A client linked to a server whose other end is the test's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = Client(world, 1)
        self.client.ask(reads=False)
        world.log_in_all()
        self.server = self.client.held
        ours, self.screen = socket.socketpair()
        ours.setblocking(False)
        self.screen.setblocking(False)
        self.client.stream.attach(ours, 1)  # EPOLLIN
        self.far_end = world.far_ends[0]
        self.troubles: list[dict] = []
        world.loop.set_exception_handler(lambda _loop, context: self.troubles.append(context))

    def hears(self, data: bytes, *, then_closes: bool = False) -> None:
        """Let the server send, and the loop run."""
        self.far_end.sendall(data)
        if then_closes:
            self.far_end.close()
        self.world.loop.run_until_complete(asyncio.sleep(0.02))
        assert self.troubles == []

    def close(self) -> None:
        """Let go of the client's socket."""
        self.client.stream.close()
        self.screen.close()


@pytest.fixture
def linked(world: Make) -> Iterator[Linked]:
    """Give a client at work."""
    one = Linked(world())
    yield one
    one.close()


@pytest.mark.parametrize("kind", [b"2", b"T", b"Z", b"D", b"d", b"C", b"E", b"?", b"\0"])
def test_a_message_that_nobody_asked_for_ends_the_connection(linked: Linked, kind: bytes) -> None:
    linked.hears(message(kind, b"I" if kind == b"Z" else b"SERROR\0\0"))
    assert linked.server.closed
    assert "unexpected message" in linked.client.refused.message


@pytest.mark.parametrize("kind", [b"1", b"3", b"V", b"s"])
def test_the_wrong_answer_ends_the_connection(linked: Linked, kind: bytes) -> None:
    linked.server.outstanding.push(QUERY, FORWARD)
    linked.hears(message(kind))
    assert linked.server.closed
    assert "unexpected message" in linked.client.refused.message


@pytest.mark.parametrize("length", [0, 3, 0x40000000, 0xFFFFFFFF])
def test_an_impossible_length_ends_the_connection(linked: Linked, length: int) -> None:
    linked.server.outstanding.push(QUERY, FORWARD)
    linked.hears(b"D" + struct.pack("!I", length))
    assert (linked.server.closed, linked.client.refused.sqlstate) == (True, "08P01")


def test_last_words_are_the_reason(linked: Linked) -> None:
    linked.server.outstanding.push(QUERY, FORWARD)
    linked.hears(FATAL, then_closes=True)
    assert (linked.client.refused.sqlstate, linked.server.closed) == ("57P01", True)
    assert "administrator command" in linked.client.refused.message


def test_last_words_in_pieces(linked: Linked) -> None:
    for at in range(0, len(FATAL), 10):
        linked.hears(FATAL[at : at + 10])
        assert not linked.server.closed
    linked.far_end.close()
    linked.world.loop.run_until_complete(asyncio.sleep(0.02))
    assert linked.client.refused.sqlstate == "57P01"


def test_an_end_without_a_word(linked: Linked) -> None:
    linked.hears(b"", then_closes=True)
    assert linked.client.refused.sqlstate == "08006"


def test_a_server_that_dies_while_it_is_free_is_no_clients_business(linked: Linked) -> None:
    linked.client.release()
    linked.hears(FATAL, then_closes=True)
    assert (linked.client.refused, linked.server.closed, linked.world.suspects) == (None, True, ["a"])


def test_a_standby_that_is_one_no_more_is_looked_at(linked: Linked) -> None:
    linked.hears(message(b"S", b"TimeZone\0UTC\0"))
    assert linked.world.suspects == []
    linked.hears(message(b"S", b"in_hot_standby\0off\0"))
    assert (linked.world.suspects, linked.client.refused, linked.server.closed) == (["a"], None, False)


def test_notices_and_parameters_come_at_any_time(linked: Linked) -> None:
    noise = message(b"N", b"SNOTICE\0\0") + message(b"S", b"TimeZone\0UTC\0") + message(b"A", b"\0\0\0\1c\0p\0")
    linked.hears(noise)
    linked.server.outstanding.push(EXECUTE, FORWARD)
    linked.server.outstanding.push(SYNC, FORWARD)
    answer = message(b"D", b"\0\0") + noise + message(b"C", b"SELECT 1\0")
    linked.hears(noise + answer)
    assert not linked.server.closed
    assert linked.server.outstanding.count == 1
    assert linked.screen.recv(4096) == noise + noise + answer
