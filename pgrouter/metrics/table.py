"""Every metric of the router's own: name, type, help, labels, and where its values come from. So has docs/metrics.md.

Names follow Prometheus' rules: base units, `_total` for what only grows. What SHOW STATS, POOLS, CLUSTER, ROUTES and
CACHE show is counted once, in the objects that these look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pgrouter.metrics.snapshot import BUILD, MemberNumbers, PoolNumbers, Snapshot
from pgrouter.pool.waiting import BOUNDS_S
from pgrouter.proxy.retry import LOST, REFUSED, REPLANNED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Labels = tuple[str, ...]
Value = tuple[Labels, float]
Histogram = tuple[Labels, tuple[tuple[str, int], ...], float]  # cumulative counts up to a bound, and the sum


class Metric(NamedTuple):
    """One metric; `values` yields the labels' values and the number, of a histogram its buckets and sum."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels
    values: Callable[[Snapshot], Iterable[Value | Histogram]]


# -- where values come from


def one(number: Callable[[Snapshot], float]) -> Callable[[Snapshot], Iterable[Value]]:
    """Give the only value."""
    return lambda snapshot: (((), number(snapshot)),)


def of_pools(number: Callable[[PoolNumbers], float]) -> Callable[[Snapshot], Iterable[Value]]:
    """Give a value per database and user."""
    return lambda snapshot: (((pool.database, pool.user), number(pool)) for pool in snapshot.pools)


def of_pools_by(
    names: Iterable[str], number: Callable[[PoolNumbers, str], float]
) -> Callable[[Snapshot], Iterable[Value]]:
    """Give a value per database and user, and name."""
    names = tuple(names)
    return lambda snapshot: (
        ((pool.database, pool.user, name), number(pool, name)) for pool in snapshot.pools for name in names
    )


def of_members(number: Callable[[MemberNumbers], float | None]) -> Callable[[Snapshot], Iterable[Value]]:
    """Give a value per member; None: it is not known, and left out."""
    return lambda snapshot: (
        ((numbers.member.name,), value) for numbers in snapshot.members if (value := number(numbers)) is not None
    )


def _of_members_by_state(snapshot: Snapshot) -> Iterator[Value]:
    for numbers in snapshot.members:
        for state, names in SERVER_STATES.items():
            yield (numbers.member.name, state), sum(numbers.servers[name] for name in names)


def _roles(snapshot: Snapshot) -> Iterator[Value]:
    for numbers in snapshot.members:
        for role in ("primary", "replica", "unknown"):
            yield (numbers.member.name, role), float(numbers.member.role == role)


def _waits(snapshot: Snapshot) -> Iterator[Histogram]:
    for pool in snapshot.pools:
        if any(pool.waits):  # most pools never had a client that waited
            total, buckets = 0, []
            for bound, count in zip((*map(_bound, BOUNDS_S), "+Inf"), pool.waits, strict=True):
                total += count
                buckets.append((bound, total))
            yield (pool.database, pool.user), tuple(buckets), pool.done.wait_time / 1e6


def _bound(bound_s: float) -> str:
    return repr(bound_s)


def _counts(counts: Callable[[Snapshot], dict[str, int]]) -> Callable[[Snapshot], Iterable[Value]]:
    return lambda snapshot: (((name,), count) for name, count in sorted(counts(snapshot).items()))


def _routes(snapshot: Snapshot) -> Iterator[Value]:
    for target, reason, count in snapshot.context.app.registry.routes.items():
        yield (target, reason), count


def _retries(snapshot: Snapshot) -> Iterator[Value]:
    counts = dict.fromkeys((LOST, REFUSED, REPLANNED), 0)
    for _target, reason, count in snapshot.context.app.registry.routes.items():
        if reason in counts:
            counts[reason] += count
    for reason, count in counts.items():
        yield (reason,), count


def _errors(snapshot: Snapshot) -> Iterator[Value]:
    yield from sorted(snapshot.context.app.registry.errors.counts.items())


def _held(snapshot: Snapshot) -> int:
    return sum(pool.writes_waiting for pool in snapshot.pools) if snapshot.view.primary is None else 0


# Our states of a server connection, and PgBouncer's
SERVER_STATES = {
    "active": ("active", "being_canceled"),
    "idle": ("idle",),
    "login": ("new", "login"),
    "reset": ("tested",),
}
WAITERS = {"read": "reads_waiting", "write": "writes_waiting", "login": "logins_waiting"}
POOL = ("database", "user")
MEMBER = ("member",)

METRICS = (
    Metric("pgrouter_build_info", "gauge", "The program; always 1.", ("version", "compiled", "python"),
           lambda _: ((BUILD, 1),)),
    Metric("pgrouter_start_time_seconds", "gauge", "When the router started, in seconds since 1970.", (),
           one(lambda now: now.process.started)),
    Metric("pgrouter_cpu_seconds_total", "counter", "CPU time that the router has used.", (),
           one(lambda now: now.process.cpu_s)),
    Metric("pgrouter_resident_memory_bytes", "gauge", "Memory that the router takes.", (),
           one(lambda now: now.process.memory)),
    Metric("pgrouter_draining", "gauge", "Whether the router accepts no more clients.", (),
           one(lambda now: now.context.app.pools.draining)),
    # Clients
    Metric("pgrouter_clients", "gauge", "Clients by what they do: active: they have a server.", ("state",),
           _counts(lambda now: now.clients)),
    Metric("pgrouter_clients_max", "gauge", "pool.max_clients.", (),
           one(lambda now: now.context.app.registry.settings.pool.max_clients)),
    Metric("pgrouter_pinned_clients", "gauge", "Clients that keep their server past the transaction, by the reason.",
           ("reason",), _counts(lambda now: now.pins)),
    Metric("pgrouter_logins_total", "counter", "Logins that were completed.", (),
           one(lambda now: now.context.app.registry.logins)),
    Metric("pgrouter_errors_total", "counter",
           "Errors that clients got: source server, router, or login (one that failed).", ("source", "sqlstate"),
           _errors),
    # Pools
    Metric("pgrouter_pools", "gauge", "Pools: a database and user each.", (), one(lambda now: len(now.pools))),
    Metric("pgrouter_pool_clients", "gauge", "Clients of a pool.", POOL, of_pools(lambda pool: pool.clients)),
    Metric("pgrouter_pool_waiting_clients", "gauge", "Clients that wait for a server, by what for.",
           (*POOL, "kind"), of_pools_by(WAITERS, lambda pool, kind: getattr(pool, WAITERS[kind]))),
    Metric("pgrouter_pool_max_wait_seconds", "gauge", "How long the oldest waiting client has waited.", POOL,
           of_pools(lambda pool: pool.max_wait_s)),
    Metric("pgrouter_pool_servers", "gauge", "Server connections of a pool, to all members, by state.",
           (*POOL, "state"), of_pools_by(SERVER_STATES, lambda pool, state: pool.count(*SERVER_STATES[state]))),
    Metric("pgrouter_pool_size", "gauge", "Most server connections to each member: pool.size.", POOL,
           of_pools(lambda pool: pool.size)),
    Metric("pgrouter_pool_transactions_total", "counter", "Transactions.", POOL,
           of_pools(lambda pool: pool.done.xact_count)),
    Metric("pgrouter_pool_queries_total", "counter", "Queries.", POOL, of_pools(lambda pool: pool.done.query_count)),
    Metric("pgrouter_pool_received_bytes_total", "counter", "Bytes from clients.", POOL,
           of_pools(lambda pool: pool.done.received)),
    Metric("pgrouter_pool_sent_bytes_total", "counter", "Bytes to clients.", POOL,
           of_pools(lambda pool: pool.done.sent)),
    Metric("pgrouter_pool_transaction_seconds_total", "counter", "Time that clients had a server.", POOL,
           of_pools(lambda pool: pool.done.xact_time / 1e6)),
    Metric("pgrouter_pool_query_seconds_total", "counter", "Time that servers had something to answer.", POOL,
           of_pools(lambda pool: pool.done.query_time / 1e6)),
    Metric("pgrouter_pool_wait_seconds", "histogram",
           "How long clients have waited for a server; from a pool's first client that had to wait.", POOL, _waits),
    # Routing
    Metric("pgrouter_routed_total", "counter", "Batches of statements by where they went, and why.",
           ("target", "reason"), _routes),
    Metric("pgrouter_retries_total", "counter", "Batches that ran a second time, unseen by their clients.", ("reason",),
           _retries),
    Metric("pgrouter_statement_cache_statements", "gauge", "Classified statements in the cache.", (),
           one(lambda now: now.cache["statements"])),
    Metric("pgrouter_statement_cache_bytes", "gauge", "Memory that they take.", (),
           one(lambda now: now.cache["used_bytes"])),
    Metric("pgrouter_statement_cache_hits_total", "counter", "Statements that were found in the cache.", (),
           one(lambda now: now.cache["hits"])),
    Metric("pgrouter_statement_cache_misses_total", "counter", "Statements that had to be parsed.", (),
           one(lambda now: now.cache["misses"])),
    Metric("pgrouter_statement_cache_evictions_total", "counter", "Statements that made room for others.", (),
           one(lambda now: now.cache["evictions"])),
    Metric("pgrouter_prepared_statements", "gauge", "Prepared statements that clients share.", (),
           one(lambda now: now.prepared)),
    # The cluster
    Metric("pgrouter_writable", "gauge", "Whether writes go somewhere; if not, they are held.", (),
           one(lambda now: now.view.primary is not None)),
    Metric("pgrouter_readers", "gauge", "Replicas that may be read from.", (), one(lambda now: len(now.view.readers))),
    Metric("pgrouter_held_writes", "gauge", "Clients whose writes are held because there is no primary.", (),
           one(_held)),
    Metric("pgrouter_without_primary_seconds_total", "counter", "Time without a primary, in all.", (),
           one(lambda now: now.context.app.monitor.reigns.vacant_s(now.context.now))),
    Metric("pgrouter_leader_changes_total", "counter", "How often another member was named leader.", (),
           one(lambda now: now.context.app.monitor.reigns.changes)),
    Metric("pgrouter_dcs_reachable", "gauge", "Whether the source of leaders answers.", (),
           one(lambda now: now.view.dcs_reachable)),
    Metric("pgrouter_cluster_paused", "gauge", "Whether Patroni is in maintenance mode.", (),
           one(lambda now: now.view.paused)),
    Metric("pgrouter_cluster_timeline", "gauge", "The newest timeline that a primary was seen on.", (),
           one(lambda now: now.view.timeline)),
    Metric("pgrouter_member_up", "gauge", "Whether a member answers probes.", MEMBER,
           of_members(lambda numbers: numbers.up)),
    Metric("pgrouter_member_role", "gauge", "1 for the role that a member reports.", (*MEMBER, "role"), _roles),
    Metric("pgrouter_member_writable", "gauge", "Whether a member gets writes.", MEMBER,
           of_members(lambda numbers: numbers.member.writable)),
    Metric("pgrouter_member_readable", "gauge", "Whether a member may be read from as a replica.", MEMBER,
           of_members(lambda numbers: numbers.member.readable)),
    Metric("pgrouter_member_lag_bytes", "gauge", "How far a member's replay is behind the primary.", MEMBER,
           of_members(lambda numbers: numbers.member.lag_bytes)),
    Metric("pgrouter_member_lag_seconds", "gauge", "Time since it was last known to have everything.", MEMBER,
           of_members(lambda numbers: numbers.member.lag_s)),
    Metric("pgrouter_member_servers", "gauge", "Server connections to a member by state.", (*MEMBER, "state"),
           _of_members_by_state),
    Metric("pgrouter_member_transactions_total", "counter", "Transactions on a member; on a replica they are reads.",
           MEMBER, of_members(lambda numbers: numbers.done.xact_count)),
    Metric("pgrouter_member_queries_total", "counter", "Queries on a member.", MEMBER,
           of_members(lambda numbers: numbers.done.query_count)),
)  # fmt: skip
