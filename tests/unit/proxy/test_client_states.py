"""The states of a client: where its bytes go, and what leaves each of them."""

from __future__ import annotations

import select
import struct
from typing import TYPE_CHECKING

import pytest

from pgrouter.errors import RouterError, ServerLost
from pgrouter.pool.kinds import AGAIN, FRESH, OWN, READ, WRITE
from pgrouter.proxy.client_states import BLOCKED, CONGESTED, IDLE, LINKED, RESPONDING, SKIPPING, WAITING
from pgrouter.proxy.responder import Responder
from pgrouter.server.states import ACTIVE, FORWARDING, ROUTER_ASKS

if TYPE_CHECKING:
    import socket

    from support.desk import Desk

    from pgrouter.proxy.client import ClientConnection
    from pgrouter.server.connection import ServerConnection


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!I", 4 + len(body)) + body


def query(sql: str) -> bytes:
    return message("Q", sql.encode() + b"\0")


READ_QUERY, WRITE_QUERY = query("select 1"), query("insert into t values (1)")
PARSE, BIND = message("P", b"\0select 1\0\0\0"), message("B", b"\0\0\0\0\0\0\0\0")
EXECUTE, SYNC, FLUSH = message("E", b"\0\0\0\0\0"), message("S"), message("H")
READY_IDLE = message("Z", b"I")


class Seat:
    """A client with a socket, whose servers are the test's."""

    def __init__(self, desk: Desk, mode: str = "split") -> None:
        self.desk = desk
        self.client: ClientConnection = desk.session(mode=mode)
        self.screen: socket.socket = desk.plug(self.client)

    def sends(self, data: bytes) -> None:
        """Let bytes of the client arrive."""
        if data:
            self.screen.sendall(data)
            self.client.on_event(select.EPOLLIN)

    def gets(self) -> bytes:
        """Return what the client has been sent."""
        try:
            return self.screen.recv(1 << 20)
        except BlockingIOError:
            return b""

    def server(self, member: str) -> tuple[ServerConnection, socket.socket]:
        """Add a server connection, not idle yet, and return the other end of its socket, too."""
        server = self.desk.server(self.client.session.pool, member, ACTIVE)
        server.session.profile = self.client.session.profile
        return server, self.desk.plug(server)

    def frees(self, member: str) -> tuple[ServerConnection, socket.socket]:
        """Add one that is idle."""
        server, far_end = self.server(member)
        self.client.session.pool.release(server)
        return server, far_end


@pytest.fixture
def seat(desk: Desk) -> Seat:
    return Seat(desk)


@pytest.mark.parametrize(
    ("data", "state", "kept", "answer"),
    [
        (b"", IDLE, 0, b""),
        (READ_QUERY[:3], IDLE, 3, b""),
        (READ_QUERY[:-1], IDLE, len(READ_QUERY) - 1, b""),
        (PARSE + BIND + EXECUTE, IDLE, len(PARSE + BIND + EXECUTE), b""),
        (SYNC, IDLE, 0, READY_IDLE),
        (SYNC + SYNC, IDLE, 0, READY_IDLE * 2),
        (FLUSH, IDLE, 0, b""),
        (message("d", b"stray"), IDLE, 0, b""),
        (message("d", b"stray")[:6], SKIPPING, 0, b""),
        (message("c") + SYNC, IDLE, 0, READY_IDLE),
        (READ_QUERY, WAITING, len(READ_QUERY), b""),
        (WRITE_QUERY, WAITING, len(WRITE_QUERY), b""),
        (PARSE + BIND + EXECUTE + SYNC, WAITING, len(PARSE + BIND + EXECUTE + SYNC), b""),
        (PARSE + FLUSH, WAITING, len(PARSE + FLUSH), b""),
        (SYNC + READ_QUERY, WAITING, len(READ_QUERY), READY_IDLE),
    ],
)
def test_where_the_first_bytes_lead(seat: Seat, data: bytes, state: int, kept: int, answer: bytes) -> None:
    seat.sends(data)
    assert (seat.client.state, seat.client.buffered, seat.gets()) == (state, kept, answer)


@pytest.mark.parametrize("data", [message("X"), b"\x01\0\0\0\4", message("Q")[:1] + b"\0\0\0\1"])
def test_some_bytes_end_the_connection(seat: Seat, data: bytes) -> None:
    seat.sends(data)
    assert seat.client.closed


def test_a_batch_in_single_bytes_is_the_same_batch(seat: Seat) -> None:
    server, far_end = seat.frees("pg2")
    data = PARSE + BIND + EXECUTE + SYNC
    for i in range(len(data) - 1):
        seat.sends(data[i : i + 1])
        assert seat.client.state == IDLE
        assert seat.client.buffered == i + 1
    seat.sends(data[-1:])
    assert (seat.client.state, seat.client.link.server) == (LINKED, server)
    assert far_end.recv(4096) == data


@pytest.mark.parametrize(
    ("sql", "member", "kind"),
    [("select 1", "pg2", READ), ("insert into t values (1)", "pg1", WRITE), ("select 1 for update", "pg1", WRITE)],
)
def test_a_free_server_is_linked_at_once(seat: Seat, sql: str, member: str, kind: int) -> None:
    servers = {name: seat.frees(name) for name in ("pg1", "pg2")}
    seat.sends(query(sql))
    server, far_end = servers[member]
    assert (seat.client.state, seat.client.link.server, seat.client.dispatcher.demand.kind) == (LINKED, server, kind)
    assert far_end.recv(4096) == query(sql)


def test_waiting_ends_with_a_server(seat: Seat) -> None:
    seat.sends(READ_QUERY)
    server, far_end = seat.frees("pg2")
    assert (seat.client.state, seat.client.link.server, seat.client.buffered) == (LINKED, server, 0)
    assert far_end.recv(4096) == READ_QUERY


def test_waiting_ends_with_a_refusal(seat: Seat) -> None:
    seat.sends(WRITE_QUERY)
    seat.client.peer.on_refused(RouterError("nobody", sqlstate="57P03"))
    assert (seat.client.state, seat.client.buffered) == (IDLE, 0)
    answer = seat.gets()
    assert b"C57P03\0" in answer
    assert answer.endswith(READY_IDLE)


def test_waiting_ends_with_the_client(seat: Seat) -> None:
    seat.sends(WRITE_QUERY)
    seat.client.leave()
    assert not seat.client.session.pool.waiting.writes


@pytest.mark.parametrize("held", [ROUTER_ASKS])
def test_a_server_that_has_to_answer_the_router_first_blocks(seat: Seat, held: int) -> None:
    server, far_end = seat.frees("pg2")
    seat.sends(READ_QUERY)
    far_end.recv(4096)
    server.input_state = held
    seat.sends(READ_QUERY)
    assert (seat.client.state, seat.client.buffered) == (BLOCKED, len(READ_QUERY))
    server.input_state = FORWARDING
    assert seat.client.state == LINKED


def test_a_fence_blocks_between_transactions_only(seat: Seat) -> None:
    server, _ = seat.frees("pg1")
    seat.client.session.pin = "LISTEN"
    seat.sends(WRITE_QUERY)
    server.fenced = True
    assert seat.client.state == LINKED  # it runs
    seat.client.link.server = None
    other, _ = seat.server("pg1")
    other.fenced = True
    seat.client.link.begin(other)
    assert seat.client.state == BLOCKED


def test_a_lost_server_is_reported_once(seat: Seat) -> None:
    server, _ = seat.frees("pg1")
    seat.sends(WRITE_QUERY)
    server.lose(ServerLost("gone"))
    assert seat.client.state == IDLE
    answer = seat.gets()
    assert answer.count(b"SERROR\0") == 1
    assert answer.endswith(READY_IDLE)


def test_a_read_that_is_lost_with_its_server_waits_for_another(seat: Seat) -> None:
    server, _ = seat.frees("pg2")
    seat.sends(READ_QUERY)
    server.lose(ServerLost("gone"))
    assert (seat.client.state, seat.client.buffered) == (WAITING, len(READ_QUERY))
    _, far_end = seat.frees("pg1")
    assert far_end.recv(4096) == READ_QUERY
    assert seat.gets() == b""


class Parrot(Responder):
    """Answers with what it gets."""

    def on_message(self, code: int, body: bytes) -> None:
        self.client.send_bytes(bytes((code,)) + body)
        self.end()


def test_a_responder_gets_the_bytes_until_it_ends(seat: Seat) -> None:
    seat.client.responder = Parrot(seat.client)
    assert seat.client.state == RESPONDING
    seat.sends(READ_QUERY + SYNC)
    assert (seat.client.state, seat.gets()) == (IDLE, b"Qselect 1\0" + READY_IDLE)


def test_who_does_not_read_is_not_read(seat: Seat) -> None:
    seat.client.send_bytes(b"x" * (8 << 20))
    assert seat.client.state == CONGESTED
    seat.sends(SYNC)
    assert seat.client.buffered == len(SYNC)


@pytest.mark.parametrize(
    ("wrote", "sequences", "sql", "kind", "reads"),
    [
        (False, False, "select 1", READ, True),
        (False, False, "update t set a = 1", WRITE, False),
        (True, False, "select 1", FRESH, False),
        (True, False, "update t set a = 1", WRITE, False),
        (True, True, "update t set a = 1", AGAIN, False),
        (True, True, "select currval('s')", OWN, False),
    ],
)
def test_what_a_batch_demands(seat: Seat, *, wrote: bool, sequences: bool, sql: str, kind: int, reads: bool) -> None:
    client = seat.client
    if wrote:
        server, _ = seat.server("pg1")
        client.session.note_write(client.poller.update_clock())
        client.session.last_write_server = server
        server.session.sequence_owner = client.session
    client.session.pool.sequences = sequences
    seat.sends(query(sql))
    demand = client.dispatcher.demand
    assert (client.state, demand.kind, demand.reads) == (WAITING, kind, reads)
    waiting, own = client.session.pool.waiting, kind == OWN
    assert [len(waiting.reads), len(waiting.writes), len(waiting.claims)] == [reads, not (reads or own), own]


def test_a_listener_for_replicas_never_takes_the_primary(desk: Desk) -> None:
    """Whatever other clients of the pool ask for: a session there may have been linked to a replica only."""
    seat = Seat(desk, "replica")
    last, _ = seat.server("pg2")
    seat.client.session.last_write_server = last
    seat.client.session.pool.sequences = True
    seat.frees("pg1")
    replica, _ = seat.frees("pg2")
    seat.sends(READ_QUERY)
    assert seat.client.link.server is replica
