"""The table of all views of SHOW. PgBouncer's columns come first under their own names, the router's own after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgrouter.admin.views import cluster, config, connections, pools, router, stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Column, Row


class View(NamedTuple):
    """Columns, the function that yields the rows, and a description.

    Between two rows anything may happen to the objects shown, as a long answer is generated in parts. A view that takes
    long to find its next row yields None meanwhile.
    """

    columns: tuple[Column, ...]
    rows: Callable[[Context], Iterable[Row | None]]
    about: str


VIEWS = {
    "CLUSTER": View(cluster.CLUSTER, cluster.cluster, "the members, who leads, who gets writes and reads, and why"),
    "POOLS": View(pools.POOLS, pools.pools, "clients and server connections per database and user"),
    "CLIENTS": View(connections.CLIENTS, connections.clients, "client connections"),
    "SERVERS": View(connections.SERVERS, connections.servers, "server connections"),
    "SOCKETS": View(connections.SOCKETS, connections.sockets, "all connections, and how many bytes wait in them"),
    "ACTIVE_SOCKETS": View(connections.SOCKETS, connections.active_sockets, "those in which bytes wait"),
    "STATS": View(stats.STATS, stats.stats, "totals and averages per database, times in microseconds"),
    "STATS_TOTALS": View(stats.STATS_TOTALS, stats.stats_totals, "totals per database since the start"),
    "STATS_AVERAGES": View(stats.STATS_AVERAGES, stats.stats_averages, "averages per database of the last minutes"),
    "TOTALS": View(stats.TOTALS, stats.all_totals, "totals and averages of all databases together"),
    "ROUTES": View(router.ROUTES, router.routes, "how many batches went where, and why"),
    "CACHE": View(router.CACHE, router.cache, "the cache of classified statements"),
    "PREPARED": View(router.PREPARED, router.prepared, "prepared statements that clients share"),
    "EVENTS": View(router.EVENTS, router.events, "leader changes, members, reloads, pauses: the last ones"),
    "DATABASES": View(pools.DATABASES, pools.databases, "databases that have pools"),
    "USERS": View(pools.USERS, pools.users, "users that have pools or clients"),
    "LISTS": View(pools.LISTS, pools.lists, "how many of everything"),
    "PEERS": View(pools.PEERS, pools.no_peers, "other routers to which cancel requests are passed on: none"),
    "PEER_POOLS": View(pools.PEER_POOLS, pools.no_peers, "connections to those: none"),
    "DNS_HOSTS": View(router.DNS_HOSTS, router.dns_hosts, "host names that were looked up"),
    "DNS_ZONES": View(router.DNS_ZONES, router.dns_zones, "DNS zones that are watched: none"),
    "CONFIG": View(config.CONFIG, config.config, "settings, their defaults, and whether RELOAD takes them"),
    "MEM": View(router.MEM, router.mem, "memory that the caches take"),
    "STATE": View(router.STATE, router.state, "whether clients are served"),
    "VERSION": View(router.VERSION, router.version, "the program's version"),
}
