"""What the janitor does to a pool: ends waits that took too long, retries dials, closes what is idle or old."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pgrouter.errors import NoServer, RouterError, ServerLost, WaitTimeout, in_session
from pgrouter.pool.demand import Demand
from pgrouter.pool.kinds import READ
from pgrouter.pool.waiting import NOTHING_ELSE
from pgrouter.server.states import RESETTING

if TYPE_CHECKING:
    from collections import deque

    from pgrouter.pool.limits import Limit
    from pgrouter.pool.member import MemberPool
    from pgrouter.pool.pool import Pool
    from pgrouter.topology import ClusterView

HOPELESS_S = 1.0  # how long a client waits if no member was ever found: the configuration needs to be checked
OUTDATED_S = 1.0  # how long a login waits for the new session defaults after a change of them
RESET_TIMEOUT_S = 15.0  # ROLLBACK and DISCARD ALL of a healthy server take a millisecond

WHOSE = "SHOW POOLS has the pools that take the connections."


def tick(pool: Pool, now: float) -> None:
    """End waits that took too long; retry dials that are due."""
    settings, waiting = pool.settings, pool.waiting
    held_s, wait_s = settings.no_leader_timeout_s, settings.wait_timeout_s
    patience_s = inf if pool.pools.view.mistake is None or pool.paused else HOPELESS_S
    limits = [
        (waiting.writes, wait_s if pool.writer or pool.paused else held_s),
        (waiting.reads, wait_s if pool.paused or pool.eligible(reads=True) else held_s),
        (waiting.logins, wait_s if pool.paused else min(settings.connect_timeout_s, settings.login_timeout_s)),
    ]
    why = _paused if pool.paused else _too_long
    for queue, limit_s in limits:
        while queue and now - queue[0][1] > min(limit_s, patience_s):
            queue.popleft()[0].on_refused(why(pool, queue, limit_s))
    if pool.parameters is not None:  # the known ones will do if no newer ones can be had
        while waiting.logins and now - waiting.logins[0][1] > OUTDATED_S:
            waiting.logins.popleft()[0].on_served(None)
    if pool.last_writer is not None and pool.last_writer.fenced_at:
        pool.last_writer.refuse_held(now - held_s, _no_primary(pool.pools.view, held_s))
    _end_claims(pool, now, wait_s)
    _adjust_size(pool, now)
    if waiting.writes or waiting.reads or waiting.logins:
        pool.grow()


def _adjust_size(pool: Pool, now: float) -> None:
    """Allow the reserve while a client has waited for long, and until nobody waits."""
    settings = pool.settings
    if not (settings.reserve_size and settings.reserve_timeout_s):
        return
    heads = [queue[0][1] for queue in (pool.waiting.writes, pool.waiting.reads) if queue]
    if not heads:
        pool.resize(settings.size)
    elif now - min(heads) > settings.reserve_timeout_s:
        pool.resize(settings.size + settings.reserve_size)


def _end_claims(pool: Pool, now: float, wait_s: float) -> None:
    """End waits for a particular connection that is closed, or took too long."""
    for claim in [claim for claim in pool.waiting.claims if claim[2].closed or now - claim[1] > wait_s]:
        pool.waiting.claims.remove(claim)
        peer, _, connection, instead = claim
        if not connection.closed or instead == NOTHING_ELSE:
            peer.on_refused(_too_long(pool, pool.waiting.writes, wait_s))
            continue
        server = pool.take(Demand(instead == READ), peer)
        if server is not None:
            peer.on_served(server)


def sweep(pool: Pool, now: float) -> None:
    """Close connections that have been idle or alive too long, and dials that take too long."""
    settings = pool.settings
    for member in pool.members.values():
        for server in [s for s in member.idle if now - s.used_at > settings.idle_timeout_s]:
            if len(member.servers) > settings.min_size:
                member.close(server, "server_idle_timeout")
        for server in [s for s in member.idle if now - s.created_at > settings.lifetime_s]:
            member.close(server, "server_lifetime")
        for server in member.idle[: max(0, len(member.servers) - member.size)]:
            member.close(server, "the pool is larger than pool.size")
        _end_dials(member, now, settings.connect_timeout_s)


def _end_dials(member: MemberPool, now: float, timeout_s: float) -> None:
    for server in [s for s in member.servers if s.login is not None and now - s.created_at > timeout_s]:
        server.lose(ServerLost(f"could not connect to server: timeout of {timeout_s:g} s"))
    for server in [s for s in member.servers if s.state == RESETTING and now - s.used_at > RESET_TIMEOUT_S]:
        server.lose(ServerLost("could not be reset in time"))


# -- refusals


def _paused(_pool: Pool, _queue: deque, limit_s: float) -> RouterError:
    return WaitTimeout(
        "canceling statement: no server connection became free in time",
        detail=f"Waited {limit_s:g} seconds (pool.wait_timeout); the database is paused.",
        hint="RESUME on the console lets it go on.",
    )


def _too_long(pool: Pool, queue: deque, limit_s: float) -> RouterError:
    view = pool.pools.view
    if view.mistake is not None:
        return NoServer(f"no server is available: {view.mistake.words}", hint=view.mistake.hint)
    if queue is pool.waiting.writes and pool.writer is None:
        return _no_primary(view, limit_s)
    refusal = _refused(pool, reads=queue is not pool.waiting.writes)
    if refusal is not None:
        return refusal if queue is pool.waiting.logins else in_session(refusal)
    members = pool.eligible(reads=queue is not pool.waiting.writes)
    limit = _blocking(members)
    if queue is not pool.waiting.logins and members:
        return _nothing_free(pool, limit, limit_s)
    if limit is None:
        return _no_server(view, limit_s)
    return WaitTimeout(
        "no server connection became free in time",
        detail=f"Waited {limit_s:g} seconds (pool.connect_timeout); all pools together have reached {limit.setting}.",
        hint=WHOSE,
        sqlstate="53300",
    )


def _nothing_free(pool: Pool, limit: Limit | None, limit_s: float) -> RouterError:
    waited = f"Waited {limit_s:g} seconds (pool.wait_timeout)"
    if limit is None:
        detail = f"{waited} for one of {pool.settings.size} connections."
        hint = "Increase pool.size, or look for long transactions with SHOW SERVERS."
    else:
        detail, hint = f"{waited}; all pools together have reached {limit.setting}.", WHOSE
    return WaitTimeout("canceling statement: no server connection became free in time", detail=detail, hint=hint)


def _refused(pool: Pool, *, reads: bool) -> RouterError | None:
    """Return the last refusal of a member that has too many connections, None: none of them has."""
    return next((member.refusal for member in pool.eligible(reads=reads) if member.refusal is not None), None)


def _blocking(members: list[MemberPool]) -> Limit | None:
    """Return the limit, shared with other pools, that keeps these from growing; None: there is none."""
    if any(len(member.servers) >= member.size for member in members):
        return None
    return next((limit for member in members if (limit := member.places.blocking(member)) is not None), None)


def _no_server(view: ClusterView, limit_s: float) -> RouterError:
    """Return the error that says why each member is unavailable, and for how long."""
    reasons = "; ".join(f"{member.name}: {member.reason}" for member in view.members)
    return NoServer(
        "no server is available",
        detail=f"Nobody could be read from for {limit_s:g} seconds: {reasons or view.no_primary}.",
        hint="Try again; the session and its settings are unharmed. SHOW CLUSTER on the console has the members.",
    )


def _no_primary(view: ClusterView, limit_s: float) -> RouterError:
    why = f" ({view.no_primary})" if view.no_primary else ""
    return NoServer(
        "no primary is available",
        detail=f"The cluster has had no leader that accepts writes for {limit_s:g} seconds{why}.",
        hint="Try again; the session and its settings are unharmed.",
    )
