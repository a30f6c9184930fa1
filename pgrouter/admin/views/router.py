"""SHOW ROUTES, CACHE, PREPARED, MEM, VERSION and STATE: what the router knows of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pgrouter
from pgrouter.admin.table import columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.admin.scene import Scene
    from pgrouter.admin.table import Row

ROUTES = columns("target reason count:int")
CACHE = columns("item value:int")
PREPARED = columns("id:int users:int servers:int text")
MEM = columns("name size:int used:int free:int memtotal:int")
VERSION = columns("version")
STATE = columns("key value")

# The console that ours stands in for: tools look for a version at least as new as the columns that they read.
PGBOUNCER_VERSION = "1.25.0"
BUILD = "compiled" if pgrouter.COMPILED else "not compiled"


def routes(scene: Scene) -> Iterator[Row]:
    """Count routed batches by target and reason, the most frequent first."""
    yield from scene.app.hub.routes.items()


def cache(scene: Scene) -> Iterator[Row]:
    """Give how the cache of classified statements does."""
    statements = scene.app.hub.statements
    yield "statements", statements.size
    yield "used_bytes", statements.used_bytes
    yield "max_bytes", scene.app.hub.settings.routing.cache_bytes
    yield "hits", statements.hits
    yield "misses", statements.misses
    yield "evictions", statements.evictions


def prepared(scene: Scene) -> Iterator[Row]:
    """Give the shared statements that clients hold or servers have parsed; `servers` counts the latter."""
    known = {}
    holders: dict[int, int] = {}
    for client in scene.app.hub.clients.values():
        known.update((shared.ident, shared) for shared in client.prepared.values())
    for group in scene.app.pools.groups.values():
        for server in group.servers():
            for ident, shared in server.prepared.items():
                known[ident] = shared
                holders[ident] = holders.get(ident, 0) + 1
    for ident, shared in sorted(known.items()):
        text = shared.body.partition(b"\0")[0].decode("utf-8", "replace")
        yield ident, shared.users, holders.get(ident, 0), text


def mem(scene: Scene) -> Iterator[Row]:
    """Give what the caches take: size of one entry, entries, free ones, bytes in all (estimated)."""
    statements = scene.app.hub.statements
    used = statements.size
    yield "statement_cache", statements.used_bytes // used if used else 0, used, 0, statements.used_bytes
    total = sum(len(shared.encode()) for *_, shared in prepared(scene))
    count = len(scene.app.hub.shared)
    yield "prepared_statement_cache", total // count if count else 0, count, 0, total


def version(_scene: Scene) -> Iterator[Row]:
    """Name the program and what its console speaks."""
    yield (f"PgBouncer {PGBOUNCER_VERSION}/pgrouter {pgrouter.__version__} ({BUILD})",)


def state(scene: Scene) -> Iterator[Row]:
    """Say whether clients are served; `draining` and `leader` are ours."""
    view = scene.app.monitor.view
    yield "active", "yes"
    yield "paused", "no"
    yield "suspended", "no"
    yield "draining", "yes" if scene.app.hub.draining else "no"
    yield "leader", view.leader or ""
    yield "primary", view.primary or view.no_primary
    yield "dcs_reachable", "yes" if view.dcs_reachable else "no"
    yield "view", str(view.number)
