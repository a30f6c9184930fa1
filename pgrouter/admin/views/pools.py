"""SHOW POOLS, DATABASES, USERS, LISTS, PEERS and PEER_POOLS: what is counted per database and user."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pgrouter.admin.result import columns
from pgrouter.admin.views.connections import server_state, split_us

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row
    from pgrouter.pool.pool import Pool

POOLS = columns(
    "database user cl_active:int4 cl_waiting:int4 cl_active_cancel_req:int4 cl_waiting_cancel_req:int4 "
    "sv_active:int4 sv_active_cancel:int4 sv_being_canceled:int4 sv_idle:int4 sv_used:int4 sv_tested:int4 "
    "sv_login:int4 maxwait:int4 maxwait_us:int4 pool_mode load_balance_hosts paused:bool"
)
DATABASES = columns(
    "name host port:int4 database force_user pool_size:int4 min_pool_size:int4 reserve_pool_size:int4 "
    "server_lifetime:int4 pool_mode load_balance_hosts max_connections:int4 current_connections:int4 "
    "max_client_connections:int4 current_client_connections:int4 paused:int4 disabled:int4"
)
USERS = columns(
    "name pool_size reserve_pool_size pool_mode max_user_connections:int4 current_connections:int4 "
    "max_user_client_connections:int4 current_client_connections:int4"
)
LISTS = columns("list items:int4")
PEERS = columns("peer_id:int4 host port:int4 pool_size:int4")
PEER_POOLS = columns(
    "peer_id:int4 cl_active_cancel_req:int4 cl_waiting_cancel_req:int4 sv_active_cancel:int4 sv_login:int4"
)

BALANCE = "round-robin"  # PgBouncer's term for how the router spreads reads


def pools(context: Context) -> Iterator[Row]:
    """Yield a row per database and user; maxwait is how long the oldest waiting client has waited."""
    linked: Counter[int] = Counter()
    for client in context.app.registry.clients.values():
        if client.session.pool is not None and not client.waiting:
            linked[id(client.session.pool)] += 1
    for _, group in sorted(context.app.pools.groups.items()):
        yield _pool(context, group, linked[id(group)])


def _pool(context: Context, group: Pool, cl_active: int) -> Row:
    queues = (group.waiting.logins, group.waiting.reads, group.waiting.writes)
    states = Counter(server_state(server) for server in group.servers())
    oldest = min((queue[0][1] for queue in queues if queue), default=context.now)
    return (
        group.name,
        group.user,
        cl_active - len(group.waiting.logins),
        sum(len(queue) for queue in queues),
        0,
        0,
        states["active"],
        0,
        states["being_canceled"],
        states["idle"],
        0,
        states["tested"],
        states["new"] + states["login"],
        *split_us(context.now - oldest),
        group.settings.mode,
        BALANCE,
        group.paused,
    )


def databases(context: Context) -> Iterator[Row]:
    """Yield a row per name that is listed or was used, with the primary's address, and one for each console name."""
    app = context.app
    settings = app.registry.settings.pool
    clients = Counter(client.info.database for client in app.registry.clients.values() if client.info is not None)
    view = app.monitor.view
    primary = view.member(view.primary) if view.primary else None
    connections: Counter[str] = Counter()
    for group in app.pools.groups.values():
        connections[group.name] += len(list(group.servers()))
    pauses, names = app.pools.pauses, app.registry.names
    for name in sorted(connections.keys() | pauses.databases | pauses.disabled | names.listed):
        mine, entry = settings.of(name, ""), names.get(name)
        yield (
            name,
            primary.host if primary else None,
            primary.port if primary else None,
            (entry.database if entry else "") or name,
            (entry.user if entry else "") or None,
            mine.size,
            mine.min_size,
            mine.reserve_size,
            int(mine.lifetime_s),
            mine.mode,
            BALANCE,
            mine.max_db_connections,
            connections[name],
            mine.max_db_clients,
            clients[name],
            int(pauses.covers(name)),
            int(name in pauses.disabled),
        )
    for name in app.registry.settings.admin.databases:
        yield (name, None, None, name, name, 0, 0, 0, 0, "statement", None, 0, 0, 0, clients[name], 0, 0)


def users(context: Context) -> Iterator[Row]:
    """Yield a row per user that has pools or clients."""
    app = context.app
    settings = app.registry.settings.pool
    clients = Counter(client.info.user for client in app.registry.clients.values() if client.info is not None)
    connections: Counter[str] = Counter()
    for group in app.pools.groups.values():
        connections[group.user] += len(list(group.servers()))
    for name in sorted({*clients, *connections}):
        mine = settings.of("", name)
        limits = mine.max_user_connections, connections[name], mine.max_user_clients, clients[name]
        yield (name, str(mine.size), str(mine.reserve_size), mine.mode, *limits)


def lists(context: Context) -> Iterator[Row]:
    """Yield the counts, under PgBouncer's names; `members` and `prepared_statements` are the router's own."""
    registry, groups = context.app.registry, context.app.pools.groups.values()
    states = Counter(server_state(server) for group in groups for server in group.servers())
    yield "databases", len({group.name for group in groups})
    yield "users", len({group.user for group in groups})
    yield "peers", 0
    yield "pools", len(groups)
    yield "peer_pools", 0
    yield "free_clients", 0
    yield "used_clients", len(registry.clients)
    yield "login_clients", len(registry.logging_in)
    yield "free_servers", states["idle"]
    yield "used_servers", states.total() - states["idle"]
    yield "dns_names", len(list(context.app.pools.resolver.names()))
    yield "dns_zones", 0
    yield "dns_queries", 0
    yield "dns_pending", 0
    yield "members", len(context.app.monitor.view.members)
    yield "prepared_statements", sum(len(database.shared) for database in registry.databases)


def no_peers(_context: Context) -> tuple[Row, ...]:
    """Return the peers of PgBouncer's [peers], and their pools: the router has none."""
    return ()
