"""A router without sockets: real registry, pools and connections around a clock that the test owns."""

from __future__ import annotations

import select
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pgrouter.admin.context import Context
from pgrouter.admin.history import History
from pgrouter.admin.stats import Sampler
from pgrouter.auth.files import AuthFiles
from pgrouter.cluster.reigns import Reigns
from pgrouter.config.settings import Cluster, MemberAddress, MonitorSettings, Settings
from pgrouter.net.loop import Loop
from pgrouter.planes import NoRoles
from pgrouter.pool.manager import PoolManager
from pgrouter.proxy.access import Access
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.client_info import ClientInfo
from pgrouter.proxy.databases import Databases
from pgrouter.proxy.operator import Operator
from pgrouter.proxy.registry import Registry
from pgrouter.server.connection import ServerConnection
from pgrouter.server.states import ACTIVE, IDLE_STATE
from pgrouter.topology import ClusterView, Member, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.cluster.health import Probe
    from pgrouter.net.poller import Poller
    from pgrouter.pool.pool import Pool
    from pgrouter.proxy.drain import Shutdown

SECRET = "s3" + "cret"
WALL = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC

VIEW = ClusterView(
    number=7,
    members=(
        Member(name="pg1", host="10.0.0.1", port=5432, role=Role.PRIMARY, leader=True, writable=True, timeline=3),
        Member(
            name="pg2",
            host="10.0.0.2",
            port=5433,
            role=Role.REPLICA,
            readable=True,
            timeline=3,
            lag_bytes=4096,
            state="streaming",
            tags=(("zone", "b"), ("clonefrom", "true")),
        ),
        Member(name="pg3", host="10.0.0.3", port=5432, reason="it does not answer"),
    ),
    leader="pg1",
    primary="pg1",
    readers=("pg2",),
    no_primary="",
)


@dataclass
class Watch:
    """The monitor, as far as the console asks it."""

    view: ClusterView = VIEW
    source_name: str = "static"
    dcs_since_s: float = 0.0
    leader_since_s: float = 0.0
    reigns: Reigns = field(default_factory=lambda: Reigns(1000.0))
    probes: dict[str, Probe] = field(default_factory=dict)
    forgets: int = 0

    def forget(self) -> None:
        self.forgets += 1


@dataclass
class Desk:
    """The application, as far as the console asks it."""

    poller: Poller
    pools: PoolManager
    registry: Registry
    operator: Operator
    sampler: Sampler
    history: History
    seconds: list[float]  # the clock
    monitor: Watch = field(default_factory=Watch)
    reloads: int = 0
    changes: list[tuple[str, str]] = field(default_factory=list)
    stops: list[Shutdown] = field(default_factory=list)
    plugs: list[socket.socket] = field(default_factory=list)

    def reload(self) -> str:
        """Count reloads."""
        self.reloads += 1
        return "RELOAD"

    def change(self, key: str, value: str) -> None:
        """Note a changed setting."""
        self.changes.append((key, value))

    def shut_down(self, how: Shutdown) -> None:
        """Note how to stop."""
        self.stops.append(how)

    @property
    def stopping(self) -> bool:
        """Whether it is to stop."""
        return bool(self.stops)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds[0] += seconds
        self.poller.update_clock()

    def context(self, client: ClientConnection | None = None) -> Context:
        """Look at it now."""
        return Context(self, client, self.poller.now, WALL)

    def client(
        self, user: str = "alice", database: str = "app", *, console: bool = False, mode: str = "split"
    ) -> ClientConnection:
        """Log a client in."""
        client = ClientConnection(self.poller, self.registry, mode)
        client.info = ClientInfo(user, database, "192.0.2.7", 40000, "psql")
        if not console:
            client.session.pool = self.pools.group(database, user, None)
        self.registry.admit(client)
        return client

    def session(self, *, mode: str = "split") -> ClientConnection:
        """Log a client in, with a socket and a session."""
        client = self.client(mode=mode)
        pool, profile = client.session.pool, self.registry.profiles.empty
        first = self.server(pool, "pg1", ACTIVE)
        first.hello = SimpleNamespace(parameters=(("server_version", "17.0"),), pid=4711, key=b"1234")
        pool.welcome(first)
        first.owner.close(first, "only its parameters are wanted", cut=True)
        client.follow(profile, profile)
        self.registry.logged_in(client, self.registry.traits_of(client))
        return client

    def stranger(self) -> ClientConnection:
        """Accept a client that has not said a word."""
        client = ClientConnection(self.poller, self.registry, "split")
        self.registry.arrived(client)
        return client

    def server(self, group: Pool, member: str, state: int = IDLE_STATE) -> ServerConnection:
        """Add a server connection to a pool."""
        pool = group.members[member]
        server = ServerConnection(self.poller, pool, None)
        server.state = ACTIVE
        pool.servers[server] = None
        pool.move(server, state)
        return server

    def plug(self, client: ClientConnection | ServerConnection) -> socket.socket:
        """Give a connection a socket, and get the other end."""
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        theirs.settimeout(0)
        client.attach(ours, select.EPOLLIN)
        self.plugs += [ours, theirs]
        return theirs


@contextmanager
def opened(*, real_clock: bool = False) -> Iterator[Desk]:
    """Open a router with nobody in it; `real_clock`: time passes by itself."""
    seconds = [1000.0]
    loop = Loop() if real_clock else Loop(clock=lambda: seconds[0])
    poller = loop.poller
    settings = Settings(
        cluster=Cluster(
            source="static",
            members=(MemberAddress(name="pg1", host="10.0.0.1"),),
            monitor=MonitorSettings(password=SECRET),
        )
    )
    pools = PoolManager(poller, settings.pool, VIEW)
    pools.dial = lambda _pool, _server: None  # type: ignore[method-assign]  # nobody is there
    access = Access(AuthFiles.load(settings.auth), NoRoles())
    registry = Registry(settings, pools, Databases(settings.routing), access, lambda _client: None)
    history = History(VIEW, poller.clock, wall=lambda: WALL)
    desk = Desk(poller, pools, registry, Operator(registry, history.note), Sampler(pools, poller.now), history, seconds)
    yield desk
    for plug in desk.plugs:
        plug.close()
    loop.close()
