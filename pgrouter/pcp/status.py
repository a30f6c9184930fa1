"""A router's state as Pgpool-II reports it: the rows of its SHOW commands, which PCP reports, too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from pgrouter.admin.stats import Counters, member_totals
from pgrouter.clock import wall
from pgrouter.pcp.history import Checks, ProbeCounts
from pgrouter.pcp.nodes import Node, nodes, status_of
from pgrouter.pcp.parameters import Parameter, parameters
from pgrouter.server.states import ACTIVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.cluster.monitor import Monitor
    from pgrouter.config.settings import Settings
    from pgrouter.net.poller import Poller
    from pgrouter.pool.manager import PoolManager
    from pgrouter.pool.pool import Pool
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.proxy.registry import Registry
    from pgrouter.server.connection import ServerConnection
    from pgrouter.topology import Member

VERSION = "4.7.2 (tasukiboshi)"  # whose columns these are
MOST_ROWS = 250  # of clients and of server connections: the console's SHOW CLIENTS and SHOW SERVERS have all

Row = tuple[str, ...]


class App(Protocol):
    """What this needs of the application."""

    settings: Settings
    poller: Poller
    monitor: Monitor
    pools: PoolManager
    registry: Registry


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks: what others' clients are called and where they come from is not shown to everybody."""

    user: str = ""
    sees_all: bool = False
    member: str = ""  # that answers, so the node that reads of this session go to at this moment

    def sees(self, user: str) -> bool:
        """Whether it may see the addresses of that user's clients, as in pg_stat_activity."""
        return self.sees_all or user == self.user


class Status:
    """Builds the rows of each SHOW command."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.history = ProbeCounts(lambda: app.monitor.view, lambda: app.monitor.probes, self._status_name)
        self.views = {
            "pool_nodes": self.pool_nodes,
            "pool_processes": self.pool_processes,
            "pool_pools": self.pool_pools,
            "pool_version": self.pool_version,
            "pool_status": self.pool_status,
            "pool_cache": self.pool_cache,
            "pool_health_check_stats": self.pool_health_check_stats,
            "pool_backend_stats": self.pool_backend_stats,
        }

    # -- nodes

    def nodes(self) -> list[Node]:
        """Return all nodes."""
        monitor = self._app.monitor
        pooled = {member.name: self._pooled(member.name) for member in monitor.view.members}
        return nodes(monitor.view, monitor.probes, self._app.pools.reads, monitor.detached, pooled)

    def _pooled(self, name: str) -> int:
        groups = self._app.pools.groups.values()
        return sum(len(group.members[name].servers) for group in groups if name in group.members)

    def _status_name(self, member: Member) -> str:
        """Return the part of a member's status that is worth a time: whether it is down."""
        monitor = self._app.monitor
        return status_of(monitor.probes.get(member.name), member.name in monitor.detached, 1).name

    @property
    def max_lag_s(self) -> float:
        """Return the limit to replicas' delay in time; 0: none."""
        return self._app.pools.reads.max_lag_s

    def checks(self, node: Node) -> Checks:
        """Return what was seen of a node's probes."""
        return self.history.of(node.name)

    def queries(self, name: str) -> int:
        """Return how many statements a member got from clients since the start."""
        done = Counters()
        for group in self._app.pools.groups.values():
            if name in group.members:
                done = done.plus(member_totals(group.members[name]))
        return done.query_count

    def delay(self, node: Node) -> str:
        """Return a node's delay: in bytes, or in seconds if reads.max_lag is what limits it."""
        if node.is_primary or not self.max_lag_s:
            return "0" if node.is_primary else str(node.lag_bytes)
        return f"{node.lag_s:.6f} second{'s' if node.lag_s > 1 else ''}"

    def pool_nodes(self, viewer: Viewer) -> Iterator[Row]:
        """Yield a row per node."""
        for node in self.nodes():
            yield (
                str(node.number),
                node.host,
                str(node.port),
                node.status.name.lower(),
                node.pg_status,
                f"{node.share:f}",
                node.role,
                node.pg_role,
                str(0 if node.is_primary and not node.share else self.queries(node.name)),
                "true" if node.name == viewer.member else "false",
                self.delay(node),
                node.replication_state,
                "",
                moment(self.checks(node).changed_s),
            )

    def pool_backend_stats(self, _viewer: Viewer) -> Iterator[Row]:
        """Yield a row per node: statements are counted, and only on a replica it is known that they read."""
        for node in self.nodes():
            queries = self.queries(node.name)
            reads, others = (0, queries) if node.is_primary else (queries, 0)
            yield (*_named(node), *map(str, (reads, 0, 0, 0, 0, others, 0, 0, 0)))

    def pool_health_check_stats(self, _viewer: Viewer) -> Iterator[Row]:
        """Yield a row per node."""
        for node in self.nodes():
            checks = self.checks(node)
            yield (
                *_named(node),
                moment(checks.changed_s),
                *map(str, (checks.count, checks.successes, checks.failures, 0, 0)),
                f"{0:f}",
                *map(str, (0, checks.slowest_ms, checks.fastest_ms)),
                f"{checks.average_ms:f}",
                moment(max(checks.last_success_s, checks.last_failure_s)),
                moment(checks.last_success_s),
                "",
                moment(checks.last_failure_s),
            )

    # -- clients and server connections

    def pool_processes(self, viewer: Viewer) -> Iterator[Row]:
        """Yield a row per client, which stands for the process that it would have there."""
        for client in islice(list(self._app.registry.clients.values()), MOST_ROWS):
            if client.info is None:
                continue
            server = client.link.server
            shown = viewer.sees(client.info.user)
            yield (
                str(client.client_id),
                self._time(client.since),
                "1",
                client.info.database if shown else "",
                client.info.user if shown else "",
                self._time(server.created_at) if server is not None else "",
                "1" if server is not None else "0",
                _state(client),
            )

    def pool_pools(self, viewer: Viewer) -> Iterator[Row]:
        """Yield a row per server connection."""
        known = {node.name: node for node in self.nodes()}
        rows = (
            self._pooled_row(number, group, server, known, viewer)
            for number, group in enumerate(list(self._app.pools.groups.values()))
            for server in list(group.servers())
            if server.owner.member.name in known
        )
        yield from islice(rows, MOST_ROWS)

    def _pooled_row(
        self, number: int, group: Pool, server: ServerConnection, known: dict[str, Node], viewer: Viewer
    ) -> Row:
        client = server.peer.client if server.peer is not None else None
        info = client.info if client is not None else None
        node = known[server.owner.member.name]
        shown = viewer.sees(group.user)
        return (
            str(client.client_id if client is not None else server.connection_id),
            self._time(server.created_at),
            "1",
            str(number),
            str(node.number),
            group.database if shown else "",
            group.user if shown else "",
            self._time(server.created_at),
            self._time(client.since) if client is not None else "",
            "",
            "0",
            "3",
            "0",
            str(server.queries),
            str(server.hello.pid if server.hello is not None else 0),
            "1" if client is not None else "0",
            _state(client) if client is not None else "Idle",
            "0" if node.is_primary else "1",
            (info.address or "[local]") if info is not None and shown else "",
            str(info.port) if info is not None and shown else "",
            "",
        )

    # -- the router

    def pool_version(self, _viewer: Viewer) -> Iterator[Row]:
        """Yield the version whose columns these are."""
        yield (VERSION,)

    def pool_cache(self, _viewer: Viewer) -> Iterator[Row]:
        """Yield that there is no cache of results."""
        yield ("0", "0", "0.00", *("0",) * 6)

    def pool_status(self, _viewer: Viewer) -> Iterator[Row]:
        """Yield each parameter."""
        for parameter in self.parameters():
            yield parameter.name, parameter.number, parameter.about

    def parameters(self) -> list[Parameter]:
        """Return the router's settings under Pgpool-II's names."""
        return parameters(self._app.settings, self.nodes())

    def _time(self, at: float) -> str:
        return moment(wall() - (self._app.poller.now - at))


def moment(seconds: float) -> str:
    """Return a time as Pgpool-II writes it, in local time; "" for never."""
    return datetime.fromtimestamp(int(seconds)).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""  # noqa: DTZ006


def _named(node: Node) -> Row:
    return str(node.number), node.host, str(node.port), node.status.name.lower(), node.role


def _state(client: ClientConnection) -> str:
    server = client.link.server
    if server is None or server.state != ACTIVE:
        return "Connecting" if client.waiting else "Idle"
    if server.outstanding.count:
        return "Execute command"
    return "Idle in transaction" if server.status != ord("I") else "Idle"
