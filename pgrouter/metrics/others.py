"""The same numbers under the names of other programs' exporters, so that their dashboards and alerts go on working.

Sources: pgbouncer_exporter of the Prometheus community (pgbouncer_*; pgbouncer_lists_items is jbub's), CloudNativePG's
pooler (cnpg_pgbouncer_*), pgpool2_exporter (pgpool2_*). What the router does not have is 0, as a column of its console.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pgrouter.admin.views.router import PGBOUNCER_VERSION
from pgrouter.metrics.snapshot import PoolNumbers, Snapshot
from pgrouter.metrics.table import POOL, Labels, Metric, Value, of_pools, one

Values = Callable[[Snapshot], Iterable[Value]]


# -- columns of PgBouncer's console


def _none(_pool: PoolNumbers) -> int:
    return 0


POOL_COLUMNS: dict[str, Callable[[PoolNumbers], float]] = {
    "cl_active": lambda pool: pool.clients - pool.waiting,
    "cl_waiting": lambda pool: pool.waiting,
    "cl_active_cancel_req": _none,
    "cl_waiting_cancel_req": _none,
    "sv_active": lambda pool: pool.count("active"),
    "sv_active_cancel": _none,
    "sv_being_canceled": lambda pool: pool.count("being_canceled"),
    "sv_idle": lambda pool: pool.count("idle"),
    "sv_used": _none,
    "sv_tested": lambda pool: pool.count("tested"),
    "sv_login": lambda pool: pool.count("new", "login"),
    "maxwait": lambda pool: int(pool.max_wait_s),
    "maxwait_us": lambda pool: int(pool.max_wait_s * 1e6) % 1_000_000,
    "pool_mode": lambda pool: {"session": 1, "transaction": 2, "statement": 3}[pool.mode],
}
LISTS: dict[str, Callable[[Snapshot], float]] = {
    "databases": lambda now: len(now.databases),
    "users": lambda now: len({pool.user for pool in now.pools}),
    "pools": lambda now: len(now.pools),
    "free_clients": lambda _: 0,
    "used_clients": lambda now: now.clients.total() - now.clients["login"],
    "login_clients": lambda now: now.clients["login"],
    "free_servers": lambda now: now.servers["idle"],
    "used_servers": lambda now: now.servers.total() - now.servers["idle"],
    "dns_names": lambda _: 0,
    "dns_zones": lambda _: 0,
    "dns_queries": lambda _: 0,
    "dns_pending": lambda _: 0,
}


def _total(counter: str, factor: float = 1) -> Values:
    return lambda now: (((name,), getattr(done, counter) * factor) for name, done in sorted(now.databases.items()))


def _average(counter: str) -> Values:
    return lambda now: (((name,), getattr(done, counter)) for name, done in sorted(now.averages.items()))


def _databases(number: Callable[[Snapshot, str], float]) -> Values:
    """Give a value per database, labelled as in SHOW DATABASES."""

    def values(now: Snapshot) -> Iterator[Value]:
        primary = now.view.member(now.view.primary) if now.view.primary else None
        host, port = (primary.host, str(primary.port)) if primary is not None else ("", "")
        pool = now.context.app.registry.settings.pool
        for name in sorted(now.databases):
            yield (name, host, port, name, "", pool.of(name, "").mode), number(now, name)

    return values


# -- pgbouncer_exporter

_DATABASE = ("name", "host", "port", "database", "force_user", "pool_mode")
_STATS = (  # counter, name, factor, help
    ("query_count", "queries_pooled_total", 1, "Total number of SQL queries pooled"),
    ("query_time", "queries_duration_seconds_total", 1e-6, "Time that servers had queries to execute"),
    ("received", "received_bytes_total", 1, "Bytes received from clients"),
    ("sent", "sent_bytes_total", 1, "Bytes sent to clients"),
    ("wait_time", "client_wait_seconds_total", 1e-6, "Time spent by clients waiting for a server"),
    ("xact_count", "sql_transactions_pooled_total", 1, "Total number of SQL transactions pooled"),
    ("xact_time", "server_in_transaction_seconds_total", 1e-6, "Time that clients had a server"),
    ("client_parse_count", "client_parses_total", 1, "Parse messages received from clients"),
    ("server_parse_count", "server_parses_total", 1, "Parse messages sent to servers"),
    ("bind_count", "binds_total", 1, "Statements readied for execution with a Bind message"),
)
_POOLS = (  # column, name, help
    ("cl_active", "client_active_connections", "Clients that are not waiting"),
    ("cl_active_cancel_req", "client_active_cancel_connections", "Clients whose cancel request is with a server"),
    ("cl_waiting", "client_waiting_connections", "Clients that wait for a server"),
    ("cl_waiting_cancel_req", "client_waiting_cancel_connections", "Cancel requests that wait"),
    ("sv_active", "server_active_connections", "Servers linked to a client"),
    ("sv_active_cancel", "server_active_cancel_connections", "Servers that forward a cancel request"),
    ("sv_being_canceled", "server_being_canceled_connections", "Servers that wait for cancel requests to end"),
    ("sv_idle", "server_idle_connections", "Servers ready for a client"),
    ("sv_used", "server_used_connections", "Servers that have to be checked"),
    ("sv_tested", "server_testing_connections", "Servers that are being reset"),
    ("sv_login", "server_login_connections", "Servers that are logging in"),
)
_LIST_NAMES = {
    "dns_names": "cached_dns_names",
    "dns_zones": "cached_dns_zones",
    "dns_queries": "in_flight_dns_queries",
}

PGBOUNCER = (
    Metric("pgbouncer_up", "gauge", "The pgbouncer scrape succeeded", (), one(lambda _: 1)),
    Metric("pgbouncer_version_info", "gauge", "The version of the console", ("version",),
           lambda _: (((PGBOUNCER_VERSION,), 1),)),
    Metric("pgbouncer_config_max_client_connections", "gauge", "pool.max_clients", (),
           one(lambda now: now.context.app.registry.settings.pool.max_clients)),
    Metric("pgbouncer_config_max_user_connections", "gauge", "pool.max_user_connections", (),
           one(lambda now: now.context.app.registry.settings.pool.max_user_connections)),
    *(Metric(f"pgbouncer_stats_{name}", "counter", told, ("database",), _total(counter, factor))
      for counter, name, factor, told in _STATS),
    *(Metric(f"pgbouncer_pools_{name}", "gauge", told, POOL, of_pools(POOL_COLUMNS[column]))
      for column, name, told in _POOLS),
    Metric("pgbouncer_pools_client_maxwait_seconds", "gauge", "Age of the oldest waiting client", POOL,
           of_pools(lambda pool: pool.max_wait_s)),
    Metric("pgbouncer_databases_pool_size", "gauge", "Maximum number of server connections", _DATABASE,
           _databases(lambda now, name: now.context.app.registry.settings.pool.of(name, "").size)),
    Metric("pgbouncer_databases_reserve_pool", "gauge", "Maximum number of additional connections", _DATABASE,
           _databases(lambda now, name: now.context.app.registry.settings.pool.of(name, "").reserve_size)),
    Metric("pgbouncer_databases_max_connections", "gauge", "Maximum number of connections", _DATABASE,
           _databases(lambda now, name: now.context.app.registry.settings.pool.of(name, "").max_db_connections)),
    Metric("pgbouncer_databases_current_connections", "gauge", "Server connections", _DATABASE,
           _databases(lambda now, name: now.connections[name])),
    Metric("pgbouncer_databases_paused", "gauge", "1 if this database is paused", _DATABASE,
           _databases(lambda _now, _name: 0)),
    Metric("pgbouncer_databases_disabled", "gauge", "1 if this database is disabled", _DATABASE,
           _databases(lambda _now, _name: 0)),
    *(Metric(f"pgbouncer_{_LIST_NAMES.get(name, name)}", "gauge", f"Count of {name}", (), one(number))
      for name, number in LISTS.items()),
    Metric("pgbouncer_lists_items", "gauge", "Number of items in SHOW LISTS", ("list",),
           lambda now: (((name,), number(now)) for name, number in LISTS.items())),
)  # fmt: skip

# -- CloudNativePG

_CNPG_STATS = ("server_assignment_count", "xact_count", "query_count", "received", "sent", "xact_time", "query_time",
               "wait_time")  # fmt: skip
_CNPG_POOLS = {column: column for column in POOL_COLUMNS} | {"sv_being_canceled": "sv_wait_cancels"}

CNPG = (
    Metric("cnpg_pgbouncer_up", "gauge", "1 if pgbouncer is up, 0 otherwise.", (), one(lambda _: 1)),
    Metric("cnpg_pgbouncer_last_collection_error", "gauge", "1 if the last collection ended with error.", (),
           one(lambda _: 0)),
    *(Metric(f"cnpg_pgbouncer_stats_total_{name}", "gauge", f"total_{name} of SHOW STATS.", ("database",), _total(name))
      for name in _CNPG_STATS),
    *(Metric(f"cnpg_pgbouncer_stats_avg_{'recv' if name == 'received' else name}", "gauge",
             f"Average {name} of SHOW STATS.", ("database",), _average(name)) for name in _CNPG_STATS),
    *(Metric(f"cnpg_pgbouncer_pools_{name}", "gauge", f"{column} of SHOW POOLS.", POOL, of_pools(POOL_COLUMNS[column]))
      for column, name in _CNPG_POOLS.items()),
    Metric("cnpg_pgbouncer_pools_cl_cancel_req", "gauge", "cl_cancel_req of older versions.", POOL, of_pools(_none)),
    Metric("cnpg_pgbouncer_pools_load_balance_hosts", "gauge", "Always 0.", POOL, of_pools(_none)),
    *(Metric(f"cnpg_pgbouncer_lists_{name}", "gauge", f"Count of {name}.", (), one(number))
      for name, number in LISTS.items()),
)  # fmt: skip

# -- pgpool2_exporter

_NODE = ("hostname", "port", "role")


def _nodes(number: Callable[[Snapshot, int], float]) -> Values:
    def values(now: Snapshot) -> Iterator[Value]:
        for at, numbers in enumerate(now.members):
            member = numbers.member
            labels: Labels = (member.host, str(member.port), "primary" if member.role == "primary" else "standby")
            yield labels, number(now, at)

    return values


def _frontends(now: Snapshot) -> Iterator[Value]:
    for pool in now.pools:
        yield (pool.user, pool.database), pool.clients


def _most(now: Snapshot) -> int:
    most: int = now.context.app.registry.settings.pool.max_clients
    return most


def _used(now: Snapshot) -> int:
    return now.clients.total() - now.clients["login"]


PGPOOL = (
    Metric("pgpool2_up", "gauge", "Whether the Pgpool-II server is up", (), one(lambda _: 1)),
    Metric("pgpool2_last_scrape_error", "gauge", "Whether the last scrape resulted in an error", (), one(lambda _: 0)),
    Metric("pgpool2_frontend_total", "gauge", "Most clients", (), one(_most)),
    Metric("pgpool2_frontend_used", "gauge", "Clients", ("username", "database"), _frontends),
    Metric("pgpool2_frontend_used_ratio", "gauge", "Clients, of the most there may be", (),
           one(lambda now: _used(now) / _most(now))),
    Metric("pgpool2_backend_total", "gauge", "Server connections", (), one(lambda now: now.servers.total())),
    Metric("pgpool2_backend_used", "gauge", "Server connections in use", (),
           one(lambda now: now.servers.total() - now.servers["idle"])),
    Metric("pgpool2_backend_used_ratio", "gauge", "Those in use, of all", (),
           one(lambda now: 1 - now.servers["idle"] / max(1, now.servers.total()))),
    Metric("pgpool2_pool_nodes_status", "gauge", "Backend node status (1 for up, 0 for down)", _NODE,
           _nodes(lambda now, at: now.members[at].up)),
    Metric("pgpool2_pool_nodes_select_cnt", "gauge", "Queries on each backend", _NODE,
           _nodes(lambda now, at: now.members[at].done.query_count)),
    Metric("pgpool2_pool_nodes_replication_delay", "gauge", "Replication delay in bytes", _NODE,
           _nodes(lambda now, at: now.members[at].member.lag_bytes or 0)),
    Metric("pgpool2_pool_backend_stats_status", "gauge", "Backend node status (1 for up, 0 for down)", _NODE,
           _nodes(lambda now, at: now.members[at].up)),
    Metric("pgpool2_pool_backend_stats_select_cnt", "gauge", "Queries on each backend", _NODE,
           _nodes(lambda now, at: now.members[at].done.query_count)),
)  # fmt: skip

OTHERS = {"pgbouncer": PGBOUNCER, "cnpg": CNPG, "pgpool": PGPOOL}
