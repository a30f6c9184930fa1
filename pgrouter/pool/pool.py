"""The pool of one database and user: its connections to all members, and the clients that wait for one of them.

There are two FIFO queues, one for writes and one for reads: a connection that becomes idle serves the client that has
waited longest among those it may serve, in the same call. No client overtakes: it only joins a queue if no eligible
connection is idle.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

import cython

from pgrouter.errors import RouterError, ServerLost
from pgrouter.pool import growth
from pgrouter.pool.balancer import ReadBalancer
from pgrouter.pool.demand import Demand
from pgrouter.pool.member import MemberPool, Totals
from pgrouter.pool.read_order import rotation
from pgrouter.pool.waiting import NOTHING_ELSE, WaitingClients
from pgrouter.server.connection import ServerConnection
from pgrouter.session.consistency import NOWHERE
from pgrouter.session.timeouts import limited

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.pool.kinds import AGAIN, FRESH, OTHER_READ, OTHER_WRITE, OWN, READ, WRITE
    from pgrouter.server.states import ACTIVE, IDLE_STATE

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator, Mapping

    from pgrouter.config.settings import PoolSettings
    from pgrouter.pool.manager import PoolManager
    from pgrouter.server.peer import Peer
    from pgrouter.topology import ClusterView, Member, ReplayPoint

log = logging.getLogger("pgrouter.pool")

# Refusals that a retry cannot fix: authentication (28), no such database (3D), no privilege (42501), nonsense (08P01)
FINAL = ("28", "3D", "42", "08P")

# Parameters that may differ between members and would confuse a client, until the primary has reported them
CLUSTER_PARAMETERS = {"in_hot_standby": "off", "default_transaction_read_only": "off"}


class Pool:
    """One database and user: a member pool per member, the queues, and the parameters that a login reports."""

    def __init__(self, pools: PoolManager, name: str, database: str, user: str, credential: object) -> None:
        self.pools = pools
        self.poller = pools.poller
        self.name = name  # of the database, as clients call it
        self.database = database  # as the servers call it
        self.user = user
        self.members = {}
        self.adjust(pools.settings)
        self.credential = credential
        self.writer = None
        self.last_writer = None  # until another member leads: its connections are cut then
        self.readers = ReadBalancer()
        self.falls_back = True  # reads go to the primary if no reader is available
        self.writes = pools.writes
        self.waiting = WaitingClients()
        self.outdated = False  # `parameters` are from before a change of the servers' defaults
        self.standby = False  # the cluster is a standby cluster: no member takes writes
        self.sequences = False  # its clients use currval or lastval: a writer must not see another client's values
        self.draining = pools.draining  # its clients are closed at the end of their transactions
        self.parameters = None
        self.clients = 0
        self.left_at = self.poller.now  # when the last client left
        self.forgotten = False  # nobody may enter it: there may be another one for this database and user
        self.of_cluster = CLUSTER_PARAMETERS
        self.wait_us = 0
        self.departed = Totals()  # of members that have left
        self.apply(pools.view)

    def __repr__(self) -> str:
        return f"{self.name}/{self.user}"

    def adjust(self, settings: PoolSettings) -> None:
        """Apply this pool's part of these limits, from now on."""
        self.settings = settings.of(self.name, self.user)
        self.hurry(self.pools.limits.contended)
        self.limited = limited(self.settings)
        self.resize(self.settings.size)

    def resize(self, size: int) -> None:
        """Allow so many connections per member, from now on."""
        for pool in self.members.values():
            pool.size = size

    def hurry(self, contended: bool) -> None:  # noqa: FBT001  (called from C)
        """Examine every connection that is released (`contended`: other pools need places), or only old ones."""
        self.tenure_s = -1.0 if contended else self.settings.lifetime_s

    # -- its clients

    def enter(self) -> None:
        """Count another client."""
        self.clients += 1

    def leave(self) -> None:
        """Count a client no more."""
        self.clients -= 1
        self.left_at = self.poller.now

    def forget_if_unused(self, now: float) -> bool:
        """Return whether the pool is forgotten from now on: it has had neither clients nor connections for long.

        At once if no server has ever accepted its role: names that do not exist leave nothing behind.
        """
        if self.clients or any(pool.servers for pool in self.members.values()):
            return False
        self.forgotten = self.parameters is None or now - self.left_at > self.settings.unused_timeout_s
        return self.forgotten

    def drain(self) -> None:
        """Do not let clients start another transaction."""
        self.draining = True

    # -- the cluster

    def apply(self, view: ClusterView) -> None:
        """Apply a view of the cluster: which members get writes and reads, and which connections must end."""
        known = {member.name: member for member in view.members}
        for name, pool in list(self.members.items()):
            member = known.get(name)
            if member is None or (member.host, member.port) != (pool.member.host, pool.member.port):
                if pool in (self.writer, self.last_writer):  # at its new address it counts as another server
                    pool.cut(ServerLost("the server is no longer a member of the cluster", sqlstate="57P01"))
                pool.retire("the member left the cluster")
                del self.members[name]
                for server in pool.servers:
                    self.departed.add(server)
                self.departed.add(pool.closed)
            else:
                pool.member = member
        self.last_writer = self.writer or self.last_writer
        before = [self.writer, *self.readers.pools]
        self.writer = self._pool(view.member(view.primary)) if view.primary else None
        self.standby = view.standby and self.writer is None
        self.share_reads(view)
        for pool in [self.writer, *self.readers.pools]:
            if pool is not None and pool not in before:
                pool.admitted()
        self._end_reign(view)
        for name in view.silent:
            pool = self.members.get(name)
            if pool is not None and pool is not self.last_writer:  # the leader key decides about that one
                pool.cut(ServerLost("the server does not answer"))
        self.wake()

    def _end_reign(self, view: ClusterView) -> None:
        """Fence or cut the connections to the last primary, if it is not the primary now.

        Also if the views in between had no leader: a transaction may still be open there.
        """
        old = self.last_writer
        if old is None:
            return
        name = old.member.name
        demoted = old in self.readers.pools and old is not self.writer
        if view.leader not in (None, name) or view.fenced == name or demoted:
            self.last_writer = None
            old.cut(ServerLost("the server is no longer the leader", sqlstate="57P01"))
        else:
            old.fence(old is not self.writer)

    def _pool(self, member: Member) -> MemberPool:
        pool = self.members.get(member.name)
        if pool is None:
            pool = self.members[member.name] = MemberPool(self, member)
        return pool

    def share_reads(self, view: ClusterView) -> None:
        """Determine which members share the reads."""
        reads = self.pools.reads
        turns = [self._pool(view.member(name)) for name in rotation(view, reads)]
        self.falls_back = reads.primary != "never"
        self.readers.follow(list(dict.fromkeys(turns)), turns, reads.balance == "least_active")
        self.freshen(self.pools.marks)

    def freshen(self, marks: Mapping[str, ReplayPoint]) -> None:
        """Apply how far the replicas have replayed; the primary has everything."""
        for name, pool in self.members.items():
            mark = marks.get(name)
            pool.fresh_s, pool.lsn = mark if mark is not None else (0.0, 0)
        if self.writer is not None:
            self.writer.fresh_s, self.writer.lsn = inf, NOWHERE
        self.readers.refresh()

    def wake(self) -> None:
        """Serve the clients that can be served after a change, and dial for the others."""
        for _, _, server, _ in list(self.waiting.claims):
            if server.state == IDLE_STATE and server.owner is self.writer:
                self.writer.move(server, ACTIVE)
                self.release(server)
        for pool in self.eligible(reads=False) + self.eligible(reads=True):
            while pool.free is not None and self._queue_of(pool) is not None:
                self.release(pool.take())
        self.grow()

    def eligible(self, *, reads: bool) -> list[MemberPool]:
        """Return the member pools that may serve a read or a write now; reads fall back to the primary."""
        writer = [self.writer] if self.writer is not None else []
        if not reads:
            return writer
        return self.readers.pools + writer if self.no_reader() else self.readers.pools

    def no_reader(self) -> cython.bint:
        """Whether reads fall back to the primary: none of the members that share them is available."""
        pool: MemberPool
        for pool in self.readers.pools:
            if not pool.failures or len(pool.servers) != pool.pending or pool is self.writer:
                return False
        return self.falls_back

    # -- taking

    def take(self, demand: Demand, peer: Peer) -> ServerConnection | None:
        """Return an idle connection that meets the demand, now ACTIVE; None: the client is queued.

        Then `on_served` follows, or `on_refused` if it takes too long. Reads go to the replicas in turn; one that has
        no idle connection is passed over this time, and dialled. In a standby cluster everything does: PostgreSQL
        refuses what it cannot do there (25006).
        """
        kind: cython.int = demand.kind
        reads: cython.bint
        server: ServerConnection = None
        if kind > READ:
            server = self.take_certain(demand)
            if server is None and kind == OWN:
                self.waiting.claims.append((peer, self.poller.now, demand.server, NOTHING_ELSE))
                return None
        if kind <= READ or (
            server is None and (kind == AGAIN or (kind == OTHER_WRITE and self.writer is not demand.avoid))
        ):
            reads = kind == READ or self.standby
            if reads and self.readers.pools:
                server = self.readers.take(self.poller.now)
            if server is None and self.writer is not None and (not reads or self.no_reader()):
                server = self.writer.take()
        if server is None:
            self.waiting.add(peer, self.poller.now, demand.reads or self.standby)
            if self.has_room(demand.reads):
                self.grow()
        return server

    def take_certain(self, demand: Demand) -> ServerConnection | None:
        """Return an idle connection that meets a demand of the other kinds; None: there is none that is preferred."""
        server: ServerConnection = None
        if demand.kind == FRESH:
            server = self.readers.take_fresh(demand.must_see_s, demand.must_see_lsn, self.poller.now)
            if server is None and self.writer is not None:
                server = self.writer.take()
        elif demand.kind == OTHER_READ:
            server = self.readers.take_other(demand.avoid, demand.must_see_s, demand.must_see_lsn)
        elif demand.kind == AGAIN or demand.kind == OWN:
            if demand.server.state == IDLE_STATE and demand.server.owner is self.writer:
                server = demand.server
                self.writer.move(server, ACTIVE)
        return server

    def needs_primary(self, wrote_s: cython.double, lsn: cython.longlong) -> cython.bint:
        """Whether no replica is known to have the writes, up to this time and WAL position, that a read must see."""
        if self.readers.any_fresh(wrote_s, lsn):
            return False
        self.pools.sample()
        return True

    def has_room(self, reads: cython.bint) -> cython.bint:
        """Whether a connection could be dialled for a read or a write; true also if it cannot be decided here."""
        pool: MemberPool
        reads = reads or self.standby
        if not reads:
            return self.writer is not None and self.writer.can_dial(self.poller.now)
        for pool in self.readers.pools:
            if pool.failures or pool.can_dial(self.poller.now):
                return True
        return len(self.readers.pools) == 0

    def learns(self) -> cython.bint:
        """Whether a new connection could report the session defaults: one to the primary, if there is one."""
        if self.writer is None:
            return self.has_room(True)
        return self.writer.pending > 0 or self.writer.can_dial(self.poller.now)

    def must_wait(self) -> cython.bint:
        """Whether a login has to wait for a server: none is connected, or what is known of them is out of date."""
        pool: MemberPool
        if self.parameters is None:
            return True
        if self.outdated:
            return self.learns()
        for pool in self.members.values():  # noqa: SIM110  (a generator is an object)
            if pool.servers:
                return False
        return True  # the database, or the role, may be gone

    def exchange(self, server: ServerConnection, custom: object, peer: Peer, reads: cython.bint):
        """Exchange a connection for an idle one on which no other custom settings were set; None: wait for `on_served`.

        If there is none, one is dialled, in place of this one if there is no room for both.
        """
        pool: MemberPool = server.owner
        other: ServerConnection
        for other in reversed(pool.idle):
            if other.session.custom is None or other.session.custom <= custom:
                pool.move(other, ACTIVE)
                self.release(server)
                return other
        full: cython.bint = len(pool.servers) >= pool.size or not pool.places.has_room(pool)
        if full:
            pool.close(server, "it has met custom settings of another session")
        self.waiting.claims.append((peer, self.poller.now, pool.dial(), READ if reads else WRITE))
        if not full:
            self.release(server)  # last: the client that gets it may want another one, too
        return None

    def wait_login(self, peer: Peer) -> None:
        """Queue a client until `parameters` are known: `on_served` with no server, or `on_refused`."""
        self.waiting.logins.append((peer, self.poller.now))
        self.grow()

    def forget(self, peer: Peer) -> None:
        """Remove a client that has gone from the queues."""
        self.waiting.forget(peer)

    def grow(self) -> None:
        """Dial as many connections as there are waiting clients, within the limits."""
        growth.grow(self)

    # -- releasing

    def release(self, server: ServerConnection):
        """Release a connection at a sync point, with no outstanding answers and no peer: the only way to be idle."""
        pool: MemberPool = server.owner
        now: cython.double = self.poller.now
        server.read_on()  # its last client may have been slow to read
        if server.cancels:
            return  # a cancel request may still hit it: `cancelled` releases it later
        if (
            server.close_when_idle or server.outstanding.uncertain or now - server.created_at > self.tenure_s
        ) and pool.ends(server):
            self.grow()
        elif server.session.dirty:
            pool.reset(server)
        else:
            waiter = self.waiting.claimant(server, server.owner is self.writer) if self.waiting.claims else None
            if waiter is None:
                waiter = self.next_waiter(pool)
            if waiter is None:
                server.used_at = now
                pool.move(server, IDLE_STATE)
            else:
                peer: Peer = waiter[0]
                since: cython.double = waiter[1]
                self.wait_us += cython.cast(cython.longlong, (now - since) * 1e6)
                peer.on_served(server)

    def cancelled(self, server: ServerConnection) -> None:
        """A cancel request has been handled; release the connection if its client has left meanwhile."""
        server.cancels -= 1
        free = not server.cancels and not server.closed and server.peer is None and server.state == ACTIVE
        if free and server.at_sync and not server.outstanding.count:
            self.release(server)

    def next_waiter(self, pool: MemberPool) -> tuple | None:
        """Dequeue the client that has waited longest among those that this member may serve."""
        if not self.waiting.is_queued():
            return None
        queue = self._queue_of(pool)
        return queue.popleft() if queue is not None else None

    def _queue_of(self, pool: MemberPool) -> deque | None:
        reads = self.waiting.reads
        writes = self.waiting.writes
        if pool is not self.writer:
            return reads if reads and pool in self.readers.pools else None
        if reads and pool in self.eligible(reads=True) and not (writes and writes[0][1] <= reads[0][1]):
            return reads
        return writes or None

    # -- logins

    def login(self, attempt: object) -> object:
        """Start a login conversation with a server."""
        return self.pools.server_login(self.database, self.user, self.credential, attempt)

    def welcome(self, server: ServerConnection) -> None:
        """A server has reported its parameters: client logins can continue with them."""
        if server.owner is self.writer:
            told = dict(server.hello.parameters)
            self.of_cluster = {name: told.get(name, value) for name, value in CLUSTER_PARAMETERS.items()}
        parameters = tuple((name, self.of_cluster.get(name, value)) for name, value in server.hello.parameters)
        self.outdated = False
        if parameters != self.parameters:  # the same object as long as they are equal: much is cached by it
            self.parameters = parameters
        while self.waiting.logins:
            self.waiting.logins.popleft()[0].on_served(None)

    # -- trouble

    def dial_failed(self, pool: MemberPool, error: RouterError) -> None:
        """A connection could not be made: final refusals go to the waiting clients; otherwise the janitor retries."""
        self.pools.suspect(pool.member.name)
        if error.sqlstate.startswith(FINAL):
            self.refuse(error)
        self.wake()  # reads may have to go to the primary now

    def defaults_changed(self, pool: MemberPool) -> None:
        """The defaults of new sessions differ from those of a member's connections: these are closed when idle."""
        pool.retire("the server's defaults have changed")
        self.outdated = True

    def server_lost(self, pool: MemberPool) -> None:
        """An established connection was lost: the member should be probed, and reads may have to go to the primary."""
        self.pools.suspect(pool.member.name)
        self.wake()

    def refuse(self, error: RouterError) -> None:
        """Refuse clients that no other member can serve: a single replica may not have a role or a database yet."""
        for queue, reads in self.waiting.queues():
            if all(pool.failures for pool in self.eligible(reads=reads)):
                waiting = list(queue)
                queue.clear()
                for peer, _ in waiting:
                    peer.on_refused(error)

    def servers(self) -> Iterator[ServerConnection]:
        """Yield every server connection, of all members."""
        for pool in self.members.values():
            yield from pool.servers
