"""The numbers of a router at one time, taken in parts: there may be thousands of pools, and more clients."""

from __future__ import annotations

import platform
import resource
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

import pgrouter
from pgrouter.admin.stats import Counters, group_totals, member_totals
from pgrouter.admin.views.connections import server_state

if TYPE_CHECKING:
    from collections.abc import Generator

    from pgrouter.admin.context import Context
    from pgrouter.cluster.health import Probe
    from pgrouter.pool.pool import Pool
    from pgrouter.topology import ClusterView, Member

SOME_CLIENTS = 200  # looked at without a break
UP_AFTER = 1  # failed probes in a row, with which a member is not up
PAGE = resource.getpagesize()


class PoolNumbers(Struct, frozen=True, gc=False):
    """One pool. There may be thousands: the cycle collector, during which clients wait, need not visit these."""

    database: str
    user: str
    mode: str
    size: int
    clients: int
    reads_waiting: int
    writes_waiting: int
    logins_waiting: int
    max_wait_s: float
    servers: dict[str, int]  # by state, in PgBouncer's terms
    done: Counters
    waits: tuple[int, ...]  # see `pool.waiting.BOUNDS_S`

    def count(self, *states: str) -> int:
        """Return the number of server connections in these states."""
        return sum(self.servers.get(state, 0) for state in states)

    @property
    def waiting(self) -> int:
        """All clients that wait."""
        return self.reads_waiting + self.writes_waiting + self.logins_waiting


class MemberNumbers(NamedTuple):
    """One member."""

    member: Member
    up: bool  # it answers probes
    servers: Counter[str]  # connections to it by state
    done: Counters


class Process(NamedTuple):
    """What the router's process takes."""

    cpu_s: float
    memory: int  # resident, bytes
    started: float  # seconds since 1970


class Snapshot(NamedTuple):
    """All of it."""

    context: Context
    view: ClusterView
    pools: list[PoolNumbers]
    servers: Counter[str]  # server connections of all pools by state
    connections: Counter[str]  # the same by database
    databases: dict[str, Counters]
    averages: dict[str, Counters]  # by database, as in SHOW STATS_AVERAGES; empty unless they were asked for
    members: list[MemberNumbers]
    clients: Counter[str]  # by what they do
    pins: Counter[str]  # by reason
    cache: Counter[str]
    prepared: int
    process: Process


def taking(context: Context, *, averages: bool = False) -> Generator[None, None, Snapshot]:
    """Return a snapshot; yields between its parts."""
    app = context.app
    view = app.monitor.view
    pools: list[PoolNumbers] = []
    databases: dict[str, Counters] = {}
    all_servers: Counter[str] = Counter()
    connections: Counter[str] = Counter()
    servers: dict[str, Counter[str]] = {member.name: Counter() for member in view.members}
    done = {member.name: Counters() for member in view.members}
    for group in list(app.pools.groups.values()):
        states: Counter[str] = Counter()
        for name, pool in list(group.members.items()):
            of_member = Counter(map(server_state, pool.servers))
            states += of_member
            if name in servers:
                servers[name] += of_member
                done[name] = done[name].plus(member_totals(pool))
        numbers = _pool(group, states, context.now)
        pools.append(numbers)
        databases[group.name] = databases.get(group.name, Counters()).plus(numbers.done)
        all_servers += states
        connections[group.name] += states.total()
        yield
    members = [
        MemberNumbers(member, _is_up(app.monitor.probes.get(member.name)), servers[member.name], done[member.name])
        for member in view.members
    ]
    means: dict[str, Counters] = {}
    for name, total in databases.items() if averages else ():
        means |= app.sampler.averages(context.now, {name: total})
        yield
    clients, pins = yield from _clients(context)
    cache: Counter[str] = sum((database.counters() for database in app.registry.databases), Counter())
    prepared = sum(len(database.shared) for database in app.registry.databases)
    return Snapshot(
        context=context,
        view=view,
        pools=pools,
        servers=all_servers,
        connections=connections,
        databases=databases,
        averages=means,
        members=members,
        clients=clients,
        pins=pins,
        cache=cache,
        prepared=prepared,
        process=_process(),
    )


def _pool(group: Pool, states: Counter[str], now: float) -> PoolNumbers:
    waiting = group.waiting
    queues = (waiting.reads, waiting.writes, waiting.logins)
    oldest = min((queue[0][1] for queue in queues if queue), default=now)
    return PoolNumbers(
        database=group.name,
        user=group.user,
        mode=group.settings.mode,
        size=group.settings.size,
        clients=group.clients,
        reads_waiting=len(waiting.reads),
        writes_waiting=len(waiting.writes),
        logins_waiting=len(waiting.logins),
        max_wait_s=max(0.0, now - oldest),
        servers=dict(states),
        done=group_totals(group),
        waits=tuple(group.waits.counts),
    )


def _clients(context: Context) -> Generator[None, None, tuple[Counter[str], Counter[str]]]:
    """Count the clients by what they do, and those that keep a server by the reason."""
    registry = context.app.registry
    states, pins = Counter(idle=0, active=0, waiting=0, login=len(registry.logging_in)), Counter[str]()
    for number, client in enumerate(list(registry.clients.values())):
        if not client.closed and client.client_id not in registry.logging_in:
            states["waiting" if client.waiting else "active" if client.link.server is not None else "idle"] += 1
            if client.session.pin is not None:
                pins[client.session.pin] += 1
        if number % SOME_CLIENTS == 0:
            yield
    return states, pins


def _is_up(probe: Probe | None) -> bool:
    return probe is not None and probe.report is not None and probe.failures < UP_AFTER


def _process() -> Process:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return Process(time.process_time(), pages * PAGE, _STARTED)


_STARTED = time.time()

BUILD = (pgrouter.__version__, str(pgrouter.COMPILED).lower(), platform.python_version())
