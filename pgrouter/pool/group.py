"""The pools of one database and user over all members, and the clients that wait for one of their connections.

Two queues, one for connections that may be written to and one for reads, each first in, first out: a connection that
becomes free serves whoever has waited longest among those it may serve, in the same call. Nobody overtakes: a queue is
only entered when nothing eligible is idle.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import cython

from pgrouter.errors import NoServer, RouterError, ServerLost, WaitTimeout
from pgrouter.pool.member import MemberPool, Totals
from pgrouter.server.connection import ServerConnection
from pgrouter.server.states import ACTIVE, IDLE_STATE, RESETTING
from pgrouter.session.deadlines import limited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.config.settings import Pool as PoolSettings
    from pgrouter.pool.pools import Pools
    from pgrouter.server.connection import Peer
    from pgrouter.topology import ClusterView, Member

log = logging.getLogger("pgrouter.pool")

MOST_MISSED = 200  # reads that a replica catches up with after it had no free connection

RESET_TIMEOUT_S = 15.0  # ROLLBACK and DISCARD ALL of a healthy server take a millisecond

# Refusals that another try cannot mend: authentication (28), no such database (3D), no privilege (42501)
FINAL_CLASSES = ("28", "3D", "42")

# What differs between members and would only confuse a client of the cluster
CLUSTER_PARAMETERS = {"in_hot_standby": "off", "default_transaction_read_only": "off"}


class Group:
    """One database and user: a pool per member, the queues, and what a login is told."""

    def __init__(self, pools: Pools, database: str, user: str, credential: object) -> None:
        self.pools = pools
        self.poller = pools.poller
        self.database = database
        self.user = user
        self.members = {}
        self.adjust(pools.settings)
        self.credential = credential
        self.writer = None
        self.last_writer = None  # until another leads: its connections are cut then
        self.readers = []
        self.turn = 0
        self.behind = False  # a replica was passed over and has to catch up
        self.waiting_writes = deque()
        self.waiting_reads = deque()
        self.waiting_logins = deque()
        self.claims = []  # (client, since, connection): who waits for that very one
        self.sequences = False  # its clients ask for currval or lastval: no writer is to find another's values
        self.queued = False  # somebody may be waiting for a connection
        self.parameters = None
        self.wait_us = 0
        self.departed = Totals()  # of members that have left
        self.apply(pools.view)

    def __repr__(self) -> str:
        return f"{self.database}/{self.user}"

    def adjust(self, settings: PoolSettings) -> None:
        """Take what is ours of these limits; they hold from now on."""
        self.settings = settings.of(self.database, self.user)
        self.lifetime_s = settings.lifetime_s  # asked for each time a connection is given back
        self.limited = limited(self.settings)
        for pool in self.members.values():
            pool.size = self.settings.size

    # -- the cluster

    def apply(self, view: ClusterView) -> None:
        """Follow the cluster: who may be written to, who may be read from, whose connections must end."""
        known = {member.name: member for member in view.members}
        for name, pool in list(self.members.items()):
            member = known.get(name)
            if member is None or (member.host, member.port) != (pool.member.host, pool.member.port):
                if pool in (self.writer, self.last_writer):  # at its new address it is another server to write to
                    pool.cut(ServerLost("the server is no longer a member of the cluster", sqlstate="57P01"))
                pool.retire("the member left the cluster")
                del self.members[name]
                for server in pool.servers:
                    self.departed.add(server)
                self.departed.add(pool.closed)
            else:
                pool.member = member
        self.last_writer = self.writer or self.last_writer
        before = [self.writer, *self.readers]
        self.writer = self._pool(view.member(view.primary)) if view.primary else None
        self.readers = [self._pool(known[name]) for name in view.readers if name in known]
        self.turn = self.turn % len(self.readers) if self.readers else 0
        for pool in self.members.values():
            pool.missed = 0
        for pool in [self.writer, *self.readers]:
            if pool is not None and pool not in before:
                pool.admitted()
        old = self.last_writer
        if old is not None and view.leader not in (None, old.member.name):
            # Also when the views between had no leader: a transaction may still be open on the old one.
            self.last_writer = None
            old.cut(ServerLost("the server is no longer the leader", sqlstate="57P01"))
        self.wake()

    def _pool(self, member: Member) -> MemberPool:
        pool = self.members.get(member.name)
        if pool is None:
            pool = self.members[member.name] = MemberPool(self, member)
        return pool

    def wake(self) -> None:
        """Serve who can be served after a change, and dial for the others."""
        for pool in self.eligible(reads=False) + self.eligible(reads=True):
            while pool.idle and self._queue_of(pool) is not None:
                self.give(pool.take())
        self.grow()

    def eligible(self, *, reads: bool) -> list[MemberPool]:
        """Give the pools that may serve a read or a write now; reads fall back to the primary."""
        writer = [self.writer] if self.writer is not None else []
        if not reads:
            return writer
        return self.readers + writer if self._no_reader() else self.readers

    def _no_reader(self) -> bool:
        return all(pool.failures and len(pool.servers) == pool.pending for pool in self.readers)

    # -- taking

    def take(self, reads: cython.bint) -> ServerConnection | None:
        """Give a free connection, now ACTIVE, or None: then the caller waits (`wait`).

        Reads go round the replicas; one that has nothing free is passed over for this time, and dialled.
        """
        if not (reads and self.readers):
            return self.writer.take() if self.writer is not None else None
        step: cython.Py_ssize_t
        pool: MemberPool
        pools: list = self.readers
        size: cython.Py_ssize_t = len(pools)
        first: cython.Py_ssize_t = self.turn
        if self.behind:
            pool = self.catch_up()
            if pool is not None:
                return pool.take()
        self.turn = first + 1 if first + 1 < size else 0
        pool = pools[first]
        if pool.idle:
            return pool.take()
        pool.missed = min(pool.missed + 1, MOST_MISSED)
        self.behind = True
        if not pool.pending and pool.can_dial(self.poller.now):
            pool.dial()
        for step in range(1, size):
            pool = pools[(first + step) % size]
            if pool.idle:
                return pool.take()
        return self.writer.take() if self.writer is not None and self._no_reader() else None

    def take_again(self, wrote: ServerConnection) -> ServerConnection | None:
        """Give the connection that a client wrote to last, if that is free, else any for a write, as `take` does."""
        if wrote.state == IDLE_STATE and wrote.owner is self.writer:
            wrote.owner.move(wrote, ACTIVE)
            return wrote
        return self.take(False)

    def take_other(self, lost: MemberPool) -> ServerConnection | None:
        """Give a free connection for a read that was lost with one of `lost`'s, whose others may be dead as well."""
        pool: MemberPool
        for pool in self.readers:
            if pool is not lost and pool.idle:
                return pool.take()
        return None

    def catch_up(self) -> MemberPool | None:
        """Give a replica that was passed over for want of a free connection, until it has served what it missed."""
        pool: MemberPool
        behind: cython.bint = False
        for pool in self.readers:
            if pool.missed and pool.idle:
                pool.missed -= 1
                return pool
            behind = behind or pool.missed > 0
        self.behind = behind
        return None

    def wait(self, peer: Peer, reads: cython.bint) -> int:
        """Queue a client until a connection is free: `on_served`, or `on_refused` when it took too long."""
        self.enqueue(peer, reads)
        if self.has_room(reads):
            self.grow()
        return 0

    def enqueue(self, peer: Peer, reads: cython.bint) -> int:
        """Put a client at the end of a queue, without a dial for its sake."""
        queue = self.waiting_reads if reads else self.waiting_writes
        queue.append((peer, self.poller.now))
        self.queued = True
        return 0

    def has_room(self, reads: cython.bint) -> cython.bint:
        """Whether a connection could be dialled for a read or a write; where that hangs on more, it may be."""
        pool: MemberPool
        if not reads:
            return self.writer is not None and self.writer.can_dial(self.poller.now)
        for pool in self.readers:
            if pool.failures or pool.can_dial(self.poller.now):
                return True
        return len(self.readers) == 0

    def claim(self, peer: Peer, server: ServerConnection) -> ServerConnection | None:
        """Give this very connection, now ACTIVE, if it is free; else queue for it, as `wait` does."""
        if server.state == IDLE_STATE:
            server.owner.move(server, ACTIVE)
            return server
        self.claims.append((peer, self.poller.now, server))
        return None

    def wait_login(self, peer: Peer) -> None:
        """Queue a client until `parameters` are known: `on_served` with no server, or `on_refused`."""
        self.waiting_logins.append((peer, self.poller.now))
        self.grow()

    def forget(self, peer: Peer) -> None:
        """Take a client that has gone out of the queues."""
        for queue in (self.waiting_writes, self.waiting_reads, self.waiting_logins, self.claims):
            for entry in list(queue):
                if entry[0] is peer:
                    queue.remove(entry)

    def grow(self) -> None:
        """Dial as many connections as clients wait for, within the limits."""
        now = self.poller.now
        for queue, reads in ((self.waiting_writes, False), (self.waiting_reads, True), (self.waiting_logins, True)):
            pools = self.eligible(reads=reads)
            missing = len(queue) if queue is not self.waiting_logins else min(len(queue), 1)
            missing -= sum(pool.pending for pool in pools)
            while missing > 0:
                able = [pool for pool in pools if pool.can_dial(now)]
                if not able:
                    break
                min(able, key=lambda pool: (pool.failures > 0, len(pool.servers))).dial()
                missing -= 1

    # -- giving

    def give(self, server: ServerConnection):
        """Take a connection back that owes nothing, is at a sync point and has no peer: the only way to be free."""
        pool: MemberPool = server.owner
        now: cython.double = self.poller.now
        server.resume()  # its last client may have been slow to read
        if server.cancels:
            return  # a cancel request may still hit it: `cancelled` gives it again
        if server.dirty:
            pool.reset(server)
        elif server.doomed or server.owed.uncertain or now - server.created_at > self.lifetime_s:
            pool.close(server, "doomed" if server.doomed else "server_lifetime")
            self.grow()
        else:
            waiter = self.claimant(server) if self.claims else None
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
        """A cancel request has arrived; if the connection became free meanwhile, it is free now."""
        server.cancels -= 1
        free = not server.cancels and not server.closed and server.peer is None and server.state == ACTIVE
        if free and server.at_sync and not server.owed.count:
            self.give(server)

    def claimant(self, server: ServerConnection) -> tuple | None:
        """Take out who has waited longest for this very connection."""
        for claim in self.claims:
            if claim[2] is server:
                self.claims.remove(claim)
                return claim
        return None

    def next_waiter(self, pool: MemberPool) -> tuple | None:
        """Take out who has waited longest among those that this pool may serve."""
        if not self.queued:
            return None
        if not (self.waiting_writes or self.waiting_reads):
            self.queued = False
            return None
        queue = self._queue_of(pool)
        return queue.popleft() if queue is not None else None

    def _queue_of(self, pool: MemberPool) -> deque | None:
        reads = self.waiting_reads
        writes = self.waiting_writes
        if pool is not self.writer:
            return reads if reads and pool in self.readers else None
        if reads and pool in self.eligible(reads=True) and not (writes and writes[0][1] <= reads[0][1]):
            return reads
        return writes or None

    # -- logins

    def login(self) -> object:
        """Begin a login conversation with a server."""
        return self.pools.server_login(self.database, self.user, self.credential)

    def welcome(self, server: ServerConnection) -> None:
        """A server has told its parameters: clients can be told theirs."""
        parameters = tuple((name, CLUSTER_PARAMETERS.get(name, value)) for name, value in server.hello.parameters)
        if parameters != self.parameters:  # the same object as long as they are the same: much is remembered by it
            self.parameters = parameters
        while self.waiting_logins:
            self.waiting_logins.popleft()[0].on_served(None)

    # -- trouble

    def dial_failed(self, pool: MemberPool, error: RouterError) -> None:
        """A connection could not be made: final refusals go to who waits, the rest is tried again by the janitor."""
        self.pools.suspect(pool.member.name)
        if error.sqlstate[:2] in FINAL_CLASSES:
            self.refuse(error)
        self.wake()  # reads may have to go to the primary now

    def server_lost(self, pool: MemberPool) -> None:
        """An established connection ended by itself: somebody should look at that member."""
        self.pools.suspect(pool.member.name)
        self.grow()

    def refuse(self, error: RouterError) -> None:
        """End the waits that no other member can end: a replica alone may not know a role or a database yet."""
        for queue, reads in ((self.waiting_writes, False), (self.waiting_reads, True), (self.waiting_logins, True)):
            if all(pool.failures for pool in self.eligible(reads=reads)):
                waiting = list(queue)
                queue.clear()
                for peer, _ in waiting:
                    peer.on_refused(error)

    # -- janitor

    def tick(self, now: float) -> None:
        """End waits that took too long; dial again where that is due."""
        settings = self.settings
        held_s, wait_s = settings.no_leader_timeout_s, settings.wait_timeout_s
        limits = [
            (self.waiting_writes, wait_s if self.writer else held_s),
            (self.waiting_reads, wait_s if self.eligible(reads=True) else held_s),
            (self.waiting_logins, min(settings.connect_timeout_s, settings.login_timeout_s)),
        ]
        for queue, limit_s in limits:
            while queue and now - queue[0][1] > limit_s:
                queue.popleft()[0].on_refused(self._too_long(queue, limit_s))
        for claim in [claim for claim in self.claims if claim[2].closed or now - claim[1] > wait_s]:
            self.claims.remove(claim)
            claim[0].on_refused(self._too_long(self.waiting_writes, wait_s))
        if self.waiting_writes or self.waiting_reads or self.waiting_logins:
            self.grow()

    def _too_long(self, queue: deque, limit_s: float) -> RouterError:
        if queue is self.waiting_writes and self.writer is None:
            return NoServer(
                "no primary is available",
                detail=f"The cluster has had no leader that accepts writes for {limit_s:g} seconds.",
                hint="Try again; the session and its settings are unharmed.",
            )
        if queue is self.waiting_logins or not self.eligible(reads=True):
            detail = f"None of the members could be reached in {limit_s:g} seconds."
            return NoServer("no server is available", detail=detail)
        return WaitTimeout(
            "canceling statement: no server connection became free in time",
            detail=f"Waited {limit_s:g} seconds (pool.wait_timeout) for one of {self.settings.size} connections.",
            hint="Increase pool.size, or look for long transactions with SHOW SERVERS.",
        )

    def sweep(self, now: float) -> None:
        """Close what has been idle or alive too long, and dials that take too long."""
        settings = self.settings
        for pool in self.members.values():
            for server in [s for s in pool.idle if now - s.used_at > settings.idle_timeout_s]:
                if len(pool.servers) > settings.min_size:
                    pool.close(server, "server_idle_timeout")
            for server in [s for s in pool.idle if now - s.created_at > settings.lifetime_s]:
                pool.close(server, "server_lifetime")
            late = [s for s in pool.servers if s.login is not None and now - s.created_at > settings.connect_timeout_s]
            for server in late:
                server.lose(ServerLost(f"could not connect to server: timeout of {settings.connect_timeout_s:g} s"))
            stuck = [s for s in pool.servers if s.state == RESETTING and now - s.used_at > RESET_TIMEOUT_S]
            for server in stuck:
                server.lose(ServerLost("could not be reset in time"))

    def servers(self) -> Iterator[ServerConnection]:
        """Give every server connection, of all members."""
        for pool in self.members.values():
            yield from pool.servers
