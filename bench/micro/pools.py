"""What it costs to take a server connection from the pools and to give it back."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

from bench.micro.clock import best_ns
from pgrouter.config.settings import PoolSettings
from pgrouter.net.loop import Loop
from pgrouter.net.stream import Stream
from pgrouter.pool.demand import Demand
from pgrouter.pool.pool import Pool
from pgrouter.server.peer import Peer
from pgrouter.session.settings import Profiles
from pgrouter.topology import ClusterView, Member

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.pool.member import MemberPool
    from pgrouter.server.connection import ServerConnection

NAMES = ("a", "b", "c")


class Ground:
    """What a group asks of all pools; servers here log in as soon as they are dialled, and are nobody."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.poller = self.loop.poller
        self.settings = PoolSettings()
        self.profiles = Profiles()
        members = tuple(Member(name=name, host="127.0.0.1", port=1) for name in NAMES)
        self.view = ClusterView(members=members, leader="a", primary="a", readers=("b", "c"))
        self.dialled: list[ServerConnection] = []
        self.sockets: list[socket.socket] = []
        self.group = Pool(self, "postgres", "postgres", "postgres", None)

    def suspect(self, name: str) -> None:
        """Nobody fails here."""

    def server_login(self, _database: str, _user: str, _credential: object) -> Iterator[bytes]:
        """Begin a login that never says anything."""
        yield b""

    def dial(self, _pool: MemberPool, server: ServerConnection) -> None:
        """Connect it to nobody."""
        pair = socket.socketpair()
        server.attach(pair[0], 1)
        self.sockets += pair
        self.dialled.append(server)

    def fill(self, *, reads: bool) -> None:
        """Let a client wait until it has been served once, and give back what it got."""
        client = Served(Stream(self.poller))
        server = self.group.take(Demand(reads), client)
        if server is None:
            while self.dialled:
                fresh = self.dialled.pop()
                fresh.login = None
                fresh.hello = SimpleNamespace(parameters=(("server_version", "17"),), pid=1, key=b"k")
                fresh.owner.server_ready(fresh)
            server = client.got
        if server is None:
            raise RuntimeError("the pool gave no server")
        self.group.release(server)

    def close(self) -> None:
        """Let go of everything."""
        for server in list(self.group.servers()):
            server.close()
        for end in self.sockets:
            end.close()
        self.loop.close()


class Served(Peer):
    """A client that notes what it is given."""

    got: ServerConnection | None

    def on_served(self, server: ServerConnection | None) -> int:
        """A connection, after waiting."""
        self.got = server
        return 0


def take_and_give_ns(*, reads: bool) -> float:
    """Give the nanoseconds of taking an idle server connection and giving it back, the Python call included."""
    ground = Ground()
    try:
        for _ in range(4):
            ground.fill(reads=reads)
        take, release = ground.group.take, ground.group.release
        demand, client = Demand(reads), Served(Stream(ground.poller))
        return best_ns(lambda: release(take(demand, client)), 20_000)
    finally:
        ground.close()
