"""Limits on server connections that pools share, on each member: of all, of a database, of a user.

When a limit is reached and a pool needs a connection, an idle connection of another pool is closed for it: the one that
was idle for longest. If all are at work, the pool joins a queue, by time of arrival, and has a place in its turn: when
a connection under that limit is released whose own pool has nobody waiting, or has more connections and nobody who has
waited for longer. So a busy pool cannot starve a small one, and no pool has to log in again for each transaction.

A server that refuses a connection (53300) sets a limit, too: the number of connections that there are then. Once a
second it is found out whether there may be more.

Source: PgBouncer's objects.c, evict_connection() and evict_user_connection().
"""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from pgrouter.pool import growth
from pgrouter.protocol.messages import read_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.config.settings import PoolSettings
    from pgrouter.errors import RouterError
    from pgrouter.net.poller import Poller
    from pgrouter.pool.member import MemberPool
    from pgrouter.server.connection import ServerConnection

TENURE_S = 0.1  # the last connection of a pool is not taken from it before: logging in costs as much as 10 transactions
PROBE_S = 1.0  # between two attempts to exceed the limit that a server has told
EXIT_S = 0.5  # a server may take this long to end a session that was closed
LOOK = 100  # at so many of the pools that wait, when a connection is released

# Which limit a server means by 53300 depends on where it says so; the words may be in any language.
ROUTINES = {"InitializeSessionUserId": "user", "CheckMyDatabase": "database"}


class Key(NamedTuple):
    """What a limit is about: a member, a user or a database on it."""

    kind: str
    name: str


class Limit:
    """One limit on one member: how many connections there may be, and how many there are."""

    def __init__(self, key: Key, maximum: int) -> None:
        self.key = key
        self.maximum = maximum  # by the configuration; 0: none
        self.used = 0
        self.pools: dict[MemberPool, None] = {}  # those that have connections
        self.waiting: set[MemberPool] = set()
        self.told: int | None = None  # by the server: it has refused another one; None: it has not
        self.probe_at = 0.0  # when one more may be tried
        self.closed_at = -inf

    @property
    def setting(self) -> str:
        """The setting's name, and its value."""
        kind = {"database": "db"}.get(self.key.kind, self.key.kind)
        return f"pool.max_{kind}_connections ({self.maximum})"

    def is_full(self, now: float) -> bool:
        """Whether there may be no more connections."""
        if 0 < self.maximum <= self.used:
            return True
        return self.told is not None and self.used >= self.told + (now >= self.probe_at)

    def refused(self, now: float) -> bool:
        """Called when the server has refused a connection, which is not counted any more; whether the limit is reached.

        A session that was closed just before may not have ended: then the next attempt may succeed.
        """
        self.told = self.used + (now - self.closed_at < EXIT_S)
        self.probe_at = now + PROBE_S
        return self.used >= self.told

    def accepted(self) -> None:
        """Called when the server has accepted a connection."""
        if self.told is not None and self.used > self.told:
            self.told = None

    def victim(self, pool: MemberPool) -> ServerConnection | None:
        """Return the connection that was idle for longest, except the pool's own; first those above min_size."""
        best = None
        for other in self.pools:
            server = other.longest_idle() if other is not pool else None
            if server is not None:
                order = (len(other.servers) <= other.pool.settings.min_size, server.used_at)
                if best is None or order < best[0]:
                    best = order, server
        return best[1] if best is not None else None


class Places:
    """The places for connections on one member, and the pools that wait for one."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._by_key: WeakValueDictionary[Key, Limit] = WeakValueDictionary()
        self._whole = self._limit(Key("member", ""))
        self._waiting: dict[MemberPool, None] = {}  # who came first is first
        self._due = False  # `assign` has been scheduled

    def limits_of(self, database: str, user: str) -> tuple[Limit, ...]:
        """Return the limits of a pool; who is under the first ones of them is under the last one."""
        return self._limit(Key("user", user)), self._limit(Key("database", database)), self._whole

    def _limit(self, key: Key) -> Limit:
        limit = self._by_key.get(key)
        if limit is None:
            limit = self._by_key[key] = Limit(key, self._limits.maximum(key))
        return limit

    def adjust(self) -> None:
        """Apply new settings, from now on."""
        for key, limit in self._by_key.items():
            limit.maximum = self._limits.maximum(key)
        self._schedule()

    # -- what pools ask

    def admit(self, pool: MemberPool) -> bool:
        """Whether a pool may open another connection now, in place of an idle one if need be; if not, it waits."""
        if pool in self._waiting:
            return False
        if any(limit.waiting for limit in pool.limits) or self._make_room(pool) is not None:
            self._wait(pool)
            return False
        return True

    def has_room(self, pool: MemberPool) -> bool:
        """Whether a pool may open another connection, and none has to be closed for it."""
        now = self._limits.poller.now
        return not any(limit.waiting or limit.is_full(now) for limit in pool.limits)

    def blocking(self, pool: MemberPool) -> Limit | None:
        """Return the limit that a pool has reached, None: none of these."""
        now = self._limits.poller.now
        return next((limit for limit in pool.limits if limit.is_full(now)), None)

    def gives_way(self, pool: MemberPool, server: ServerConnection) -> bool:
        """Whether a connection that was released has to be closed because it is another pool's turn."""
        now = self._limits.poller.now
        since = growth.waiting_since(pool.pool, pool)
        for other in islice(self._waiting, LOOK):
            if other is pool or not other.can_dial(now):
                continue
            full = [limit for limit in other.limits if limit.is_full(now)]
            if not full or not all(limit in pool.limits for limit in full):
                continue
            if since == inf:
                return True
            if since < growth.waiting_since(other.pool, other):
                continue
            if len(other.servers) + 1 < len(pool.servers):
                return True
            if not other.servers and now - server.created_at > TENURE_S:
                return True
        return False

    # -- what pools report

    def opened(self, pool: MemberPool) -> None:
        """Count a new connection."""
        for limit in pool.limits:
            limit.used += 1
            limit.pools[pool] = None

    def accepted(self, pool: MemberPool) -> None:
        """Called when the server has accepted a connection."""
        for limit in pool.limits:
            limit.accepted()

    def closed(self, pool: MemberPool, *, logged_in: bool) -> None:
        """Count a connection no more; its place may be another pool's."""
        for limit in pool.limits:
            limit.used -= 1
            if logged_in:
                limit.closed_at = self._limits.poller.now
            if not pool.servers:
                limit.pools.pop(pool, None)
        if self._waiting:
            self._schedule()

    def refused(self, pool: MemberPool, error: RouterError) -> bool:
        """Called when the server has refused a connection: there are too many. Whether one has to be closed first."""
        routine = read_error(getattr(error, "body", b"")).get("R", "")
        kind = ROUTINES.get(routine, "member")
        return next(limit for limit in pool.limits if limit.key.kind == kind).refused(self._limits.poller.now)

    # -- the queue

    def tick(self) -> None:
        """Try again: a limit that the server has told may be over."""
        if self._waiting:
            self._assign()

    @property
    def contended(self) -> bool:
        """Whether a pool waits for a place."""
        return bool(self._waiting)

    def _wait(self, pool: MemberPool) -> None:
        now = self._limits.poller.now
        self._waiting[pool] = None
        full = [limit for limit in pool.limits if limit.is_full(now)]
        for limit in full or [limit for limit in pool.limits if limit.waiting]:
            limit.waiting.add(pool)
        self._limits.contend()

    def _go(self, pool: MemberPool) -> None:
        self._waiting.pop(pool, None)
        for limit in pool.limits:
            limit.waiting.discard(pool)

    def _schedule(self) -> None:
        """Have the places assigned after this round: what has freed one is not done yet."""
        if not self._due:
            self._due = True
            self._limits.poller.loop.call_soon(self._assign)

    def _assign(self) -> None:
        """Give each pool that waits a place, in its turn; one that needs more goes to the end of the queue."""
        self._due = False
        now = self._limits.poller.now
        stuck: set[Limit] = set()
        for pool in list(self._waiting):
            if not pool.is_wanted():
                self._go(pool)
            elif pool.can_dial(now) and stuck.isdisjoint(pool.limits):
                full = self._make_room(pool)
                if full is not None:
                    stuck.add(full)
                    continue
                self._go(pool)
                pool.dial()
                if pool.is_wanted():
                    self._wait(pool)

    def _make_room(self, pool: MemberPool) -> Limit | None:
        """Close idle connections of others until there is room for one of this pool; return the limit that is full."""
        now = self._limits.poller.now
        for limit in pool.limits:
            while limit.is_full(now):
                server = limit.victim(pool)
                if server is None:
                    return limit
                server.owner.close(server, f"another pool needs its place: {pool}")
        return None


class ServerLimits:
    """The limits of all members."""

    def __init__(self, poller: Poller, settings: PoolSettings, contend: Callable[[bool], None]) -> None:
        self.poller = poller
        self.contended = False  # pools wait for a place, or have done so since the last tick
        self._settings = settings
        self._contend = contend  # called when that changes
        self._places: WeakValueDictionary[str, Places] = WeakValueDictionary()  # by the name of the member

    def on(self, member: str) -> Places:
        """Return the places on a member."""
        places = self._places.get(member)
        if places is None:
            places = self._places[member] = Places(self)
        return places

    def contend(self) -> None:
        """Called when a pool begins to wait: from now on each connection that is released may have to give way."""
        if not self.contended:
            self.contended = True
            self._contend(True)

    def maximum(self, key: Key) -> int:
        """Return what the configuration allows."""
        if key.kind == "member":
            return self._settings.max_member_connections
        if key.kind == "database":
            return self._settings.of(key.name, "").max_db_connections
        return self._settings.of("", key.name).max_user_connections

    def adjust(self, settings: PoolSettings) -> None:
        """Apply new settings, from now on."""
        self._settings = settings
        for places in list(self._places.values()):
            places.adjust()

    def tick(self) -> None:
        """Called ten times a second."""
        if not self.contended:
            return
        all_places = list(self._places.values())
        for places in all_places:
            places.tick()
        if not any(places.contended for places in all_places):
            self.contended = False
            self._contend(False)
