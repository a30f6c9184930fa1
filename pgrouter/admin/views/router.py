"""SHOW ROUTES, CACHE, PREPARED, MEM, EVENTS, DNS_HOSTS, DNS_ZONES, VERSION and STATE: the state of the router."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pgrouter
from pgrouter.admin.result import columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row
    from pgrouter.session.prepared import SharedStatement

ROUTES = columns("target reason count:int")
CACHE = columns("item value:int")
PREPARED = columns("id:int users:int servers:int text")
MEM = columns("name size:int4 used:int4 free:int4 memtotal:int4")
DNS_HOSTS = columns("hostname ttl:int addrs")
DNS_ZONES = columns("zonename serial:int count:int4")
EVENTS = columns("id:int time kind member text held_ms:int")
VERSION = columns("version")
STATE = columns("key value")

# The console that this one emulates: tools look for a version at least as new as the columns that they read.
PGBOUNCER_VERSION = "1.26.1"
MANY = 100  # statements that are visited without a break
BUILD = "compiled" if pgrouter.COMPILED else "not compiled"


def routes(context: Context) -> Iterator[Row]:
    """Yield counts of routed batches by target and reason, the most frequent first."""
    yield from context.app.registry.routes.items()


def cache(context: Context) -> Iterator[Row]:
    """Yield the statistics of the cache of classified statements."""
    held = _counters(context)
    yield "statements", held["statements"]
    yield "used_bytes", held["used_bytes"]
    yield "max_bytes", context.app.registry.settings.routing.cache_bytes
    yield "hits", held["hits"]
    yield "misses", held["misses"]
    yield "evictions", held["evictions"]


def _counters(context: Context) -> Counter[str]:
    return sum((database.counters() for database in context.app.registry.databases), Counter())


def prepared(context: Context) -> Iterator[Row | None]:
    """Yield the shared statements that clients hold or servers have parsed; `servers` counts the latter."""
    held: dict[int, SharedStatement] = {}
    servers: Counter[int] = Counter()
    for client in list(context.app.registry.clients.values()):
        for number, shared in enumerate(list(client.session.statements.named.values())):
            held[shared.ident] = shared
            if number % MANY == 0:
                yield None
    for group in list(context.app.pools.groups.values()):
        for server in list(group.servers()):
            held.update((shared.ident, shared) for shared in server.session.prepared.values())
            servers.update(shared.ident for shared in server.session.prepared.values())
        yield None
    for ident in sorted(held):
        shared = held[ident]
        yield ident, shared.users, servers[ident], shared.body.partition(b"\0")[0].decode("utf-8", "replace")


def mem(context: Context) -> Iterator[Row | None]:
    """Yield the memory of the caches: size of one entry, entries, free ones, bytes in total (estimated)."""
    held = _counters(context)
    used, taken = held["statements"], held["used_bytes"]
    yield "statement_cache", taken // used if used else 0, used, 0, taken
    total = 0
    for row in prepared(context):
        if row is None:
            yield None
        else:
            total += len(str(row[-1]).encode())
    count = sum(len(database.shared) for database in context.app.registry.databases)
    yield "prepared_statement_cache", total // count if count else 0, count, 0, total


def dns_hosts(context: Context) -> Iterator[Row]:
    """Yield the host names that have been looked up, for how many seconds that holds, and the address."""
    yield from context.app.pools.resolver.names()


def dns_zones(_context: Context) -> tuple[Row, ...]:
    """Return the zones whose serial numbers are watched: the router watches none."""
    return ()


def events(context: Context) -> Iterator[Row]:
    """Yield the last events, the oldest first."""
    for event in context.app.events:
        moment = datetime.fromtimestamp(event.at, UTC).replace(tzinfo=None)
        held_ms = None if event.held_s is None else round(event.held_s * 1000)
        yield event.number, f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC", event.kind, event.member, event.text, held_ms


def version(_context: Context) -> Iterator[Row]:
    """Yield the version of PgBouncer's console that this one emulates, and the router's own."""
    yield (f"PgBouncer {PGBOUNCER_VERSION}/pgrouter {pgrouter.__version__} ({BUILD})",)


def state(context: Context) -> Iterator[Row]:
    """Yield whether clients are served, as in PgBouncer; what follows, from `draining` on, is the router's own."""
    view = context.app.monitor.view
    paused = context.app.pools.pauses.everything
    yield "active", "no" if paused else "yes"
    yield "paused", "yes" if paused else "no"
    yield "suspended", "no"
    yield "draining", "yes" if context.app.stopping else "no"
    yield "leader", view.leader or ""
    yield "primary", view.primary or view.no_primary
    yield "dcs_reachable", "yes" if view.dcs_reachable else "no"
    yield "view", str(view.number)
    monitor = context.app.monitor
    yield "source", monitor.source_name
    yield "dcs_time", context.time(monitor.dcs_since_s)
    yield "dcs_seconds", str(int(context.now - monitor.dcs_since_s))
    yield "leader_time", context.time(monitor.leader_since_s)
    yield "cluster_paused", "yes" if view.paused else "no"
    yield "standby_cluster", "yes" if view.standby else "no"
    yield "timeline", str(view.timeline)
    yield "system_id", view.system_id
    yield "members", str(len(view.members))
    yield "readers", str(len(view.readers))
