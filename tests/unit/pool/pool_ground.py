"""A group with real pools and real server connections to nobody: the test says when one logs in or dies."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pgrouter.auth.encryption import Encryption
from pgrouter.auth.server import ServerRefused
from pgrouter.config.settings import PoolSettings, Reads
from pgrouter.errors import ServerLost
from pgrouter.net.loop import Loop
from pgrouter.net.stream import Stream
from pgrouter.pool import janitor
from pgrouter.pool.balancer import LastWrite
from pgrouter.pool.demand import Demand
from pgrouter.pool.limits import ServerLimits
from pgrouter.pool.pool import Pool
from pgrouter.server.peer import Peer
from pgrouter.session.settings import Profiles
from pgrouter.topology import ClusterView, Member, ReplayPoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.errors import RouterError
    from pgrouter.pool.member import MemberPool
    from pgrouter.server.connection import ServerConnection

MEMBERS = ("a", "b", "c", "d")


class Client(Peer):
    """Takes what it is given."""

    def __init__(self, world: World, number: int, group: Pool | None = None) -> None:
        Peer.__init__(self, Stream(world.poller))
        self.world = world
        self.group = group or world.group
        self.number = number
        self.held: ServerConnection | None = None
        self.refused: RouterError | None = None

    def ask(self, *, reads: bool) -> bool:
        """Take a connection or queue up; True: got one at once."""
        server = self.group.take(Demand(reads), self)
        if server is None:
            return False
        self.link(server)
        return True

    def link(self, server: ServerConnection) -> None:
        """Work with it."""
        assert self.held is None
        self.held = server
        server.peer = self

    def release(self) -> None:
        """Give it back."""
        server, self.held = self.held, None
        server.peer = None
        self.group.release(server)

    def on_served(self, server: ServerConnection | None) -> int:
        """A connection, after waiting (none: a login may go on)."""
        self.world.served.append(self)
        if server is not None:
            self.link(server)
        return 0

    def on_refused(self, error: RouterError) -> int:
        """No connection."""
        self.refused = error
        return 0

    def on_ready(self) -> int:
        """The server owes nothing: it is kept until `release`."""
        return 0

    def on_server_lost(self, error: RouterError) -> int:
        """The connection died."""
        self.held = None
        self.refused = error
        return 0


class World:
    """A group, the cluster it follows, and a clock; it is what `Group` knows as `Pools`."""

    def __init__(self, **settings: float) -> None:
        self.now = 1000.0
        self.loop = Loop(clock=lambda: self.now)
        self.poller = self.loop.poller
        self.settings = PoolSettings(**settings)
        self.profiles = Profiles()
        self.encryption = Encryption()
        self.reads = Reads()
        self.writes = LastWrite()
        self.marks: dict[str, ReplayPoint] = {}
        self.samples = 0
        self.view = view()
        self.draining = False
        self.suspects: list[str] = []
        self.served: list[Client] = []
        self.dialled: list[ServerConnection] = []
        self.made: list[ServerConnection] = []
        self.far_ends: list[socket.socket] = []
        self.limits = ServerLimits(self.poller, self.settings, self._contend)
        self.groups = [Pool(self, "db", "db", "user", None)]
        self.group = self.groups[0]

    def close(self) -> None:
        """Let go of everything."""
        for server in self.made:
            server.peer = None
            server.close()
        for far_end in self.far_ends:
            far_end.close()
        self.loop.close()

    def add(self, database: str, user: str) -> Pool:
        """Give a second pool."""
        self.groups.append(Pool(self, database, database, user, None))
        return self.groups[-1]

    def turn(self) -> None:
        """Run what was scheduled for after the round."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def _contend(self, contended: bool) -> None:  # noqa: FBT001
        for group in getattr(self, "groups", ()):
            group.hurry(contended)

    # -- what a group asks of the pools

    def sample(self) -> None:
        """Count the demands for positions."""
        self.samples += 1

    def suspect(self, name: str) -> None:
        """Hear that a member should be looked at."""
        self.suspects.append(name)

    def server_login(self, _database: str, _user: str, _credential: object, _attempt: object) -> Iterator[bytes]:
        """Begin a login that never says anything."""
        yield b""

    def dial(self, _pool: MemberPool, server: ServerConnection) -> None:
        """Note a dial; `log_in` or `fail` ends it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        server.attach(ours, 1)  # EPOLLIN
        self.made.append(server)
        self.far_ends.append(theirs)
        self.dialled.append(server)

    # -- what happens

    def apply(self, new: ClusterView) -> None:
        """Let the cluster change."""
        self.view = new
        self.group.apply(new)

    def log_in(self, server: ServerConnection) -> None:
        """The server has said hello."""
        self.dialled.remove(server)
        server.login = None
        standby = "off" if server.owner is server.owner.pool.writer else "on"
        parameters = (("server_version", "17"), ("in_hot_standby", standby))
        server.hello = SimpleNamespace(parameters=parameters, pid=1, key=b"k")
        server.owner.server_ready(server)

    def log_in_all(self, member: str = "") -> None:
        """Every dial (to a member) succeeds."""
        while due := [server for server in self.dialled if member in ("", server.owner.member.name)]:
            self.log_in(due[0])

    def fail(self, server: ServerConnection, sqlstate: str = "08006") -> None:
        """The dial fails."""
        self.dialled.remove(server)
        server.lose(ServerLost("refused", sqlstate=sqlstate))

    def deny(self, server: ServerConnection, words: str, routine: str) -> None:
        """The server has too many connections."""
        self.dialled.remove(server)
        fields = {"S": "FATAL", "V": "FATAL", "C": "53300", "M": words, "R": routine}
        server.lose(ServerRefused(b"".join(f"{key}{value}\0".encode() for key, value in fields.items()) + b"\0"))

    def advance(self, seconds: float) -> None:
        """Let time pass, and the janitor look."""
        self.now += seconds
        self.poller.update_clock()
        self.limits.tick()
        for group in self.groups:
            janitor.sweep(group, self.now)
            janitor.tick(group, self.now)
        self.dialled = [server for server in self.dialled if not server.closed]

    def servers(self) -> list[ServerConnection]:
        """Give every connection that the group knows."""
        return list(self.group.servers())

    def pool(self, name: str) -> MemberPool:
        """Give the pool of a member."""
        return self.group.members[name]


def view(
    primary: str | None = "a", readers: tuple[str, ...] = ("b", "c"), members: tuple[str, ...] = ("a", "b", "c")
) -> ClusterView:
    """Make a view of members at made-up ports."""
    return ClusterView(
        members=tuple(Member(name=name, host="127.0.0.1", port=5000 + ord(name)) for name in members),
        leader=primary,
        primary=primary,
        readers=readers,
    )
