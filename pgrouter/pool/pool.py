"""The pools of one database and user over all members, and the clients that wait for one of their connections.

Two queues, one for connections that may be written to and one for reads, each first in, first out: a connection that
becomes free serves whoever has waited longest among those it may serve, in the same call. Nobody overtakes: a queue is
only entered when nothing eligible is idle.
"""

from __future__ import annotations

import logging
from collections import deque
from math import inf
from typing import TYPE_CHECKING

import cython

from pgrouter.errors import NoServer, RouterError, ServerLost, WaitTimeout
from pgrouter.pool.balancer import ReadBalancer
from pgrouter.pool.member import MemberPool, Totals
from pgrouter.pool.read_order import rotation
from pgrouter.server.connection import ServerConnection
from pgrouter.session.consistency import NOWHERE
from pgrouter.session.timeouts import limited

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.server.states import ACTIVE, IDLE_STATE, RESETTING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgrouter.config.settings import PoolSettings
    from pgrouter.pool.manager import PoolManager
    from pgrouter.server.peer import Peer
    from pgrouter.topology import ClusterView, Member, ReplayPoint

log = logging.getLogger("pgrouter.pool")

# What a claim is for, when the connection is not to be had: any other will do for this
NOTHING_ELSE, READ, WRITE = range(3)

HOPELESS_S = 1.0  # how long anybody waits where nobody was ever found, for the configuration has to be looked at
OUTDATED_S = 1.0  # how long a login waits for what sessions begin with after a change of the servers' defaults
RESET_TIMEOUT_S = 15.0  # ROLLBACK and DISCARD ALL of a healthy server take a millisecond

# Refusals that another try cannot mend: authentication (28), no such database (3D), no privilege (42501)
FINAL_CLASSES = ("28", "3D", "42")

# What may differ between members and would only confuse a client of the cluster, until the primary says it
CLUSTER_PARAMETERS = {"in_hot_standby": "off", "default_transaction_read_only": "off"}


class Pool:
    """One database and user: a pool per member, the queues, and what a login is told."""

    def __init__(self, pools: PoolManager, database: str, user: str, credential: object) -> None:
        self.pools = pools
        self.poller = pools.poller
        self.database = database
        self.user = user
        self.members = {}
        self.adjust(pools.settings)
        self.credential = credential
        self.writer = None
        self.last_writer = None  # until another leads: its connections are cut then
        self.readers = ReadBalancer()
        self.falls_back = True  # reads go to the primary when no reader can be had
        self.writes = pools.writes
        self.waiting_writes = deque()
        self.waiting_reads = deque()
        self.waiting_logins = deque()
        self.claims = []  # (client, since, connection, or what else: see NOTHING_ELSE): who waits for that very one
        self.outdated = False  # what a login is told was told before the servers' defaults changed
        self.standby = False  # the cluster follows another one: nobody takes writes
        self.sequences = False  # its clients ask for currval or lastval: no writer is to find another's values
        self.queued = False  # somebody may be waiting for a connection
        self.draining = pools.draining  # its clients go at the end of their transactions
        self.parameters = None
        self.of_cluster = CLUSTER_PARAMETERS
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

    def drain(self) -> None:
        """Let no client begin another transaction."""
        self.draining = True

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
            if pool is not None and pool is not self.last_writer:  # whose end is the leader key's to say
                pool.cut(ServerLost("the server does not answer"))
        self.wake()

    def _end_reign(self, view: ClusterView) -> None:
        """Hold or cut what is connected to the member that was written to last, if that is not to be written to now.

        Also when the views between had no leader: a transaction may still be open there.
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
        """Find out who shares the reads."""
        reads = self.pools.reads
        turns = [self._pool(view.member(name)) for name in rotation(view, reads)]
        self.falls_back = reads.primary != "never"
        self.readers.follow(list(dict.fromkeys(turns)), turns, reads.balance == "least_active")
        self.freshen(self.pools.marks)

    def freshen(self, marks: Mapping[str, ReplayPoint]) -> None:
        """Learn how far the replicas have come; the primary has everything."""
        for name, pool in self.members.items():
            mark = marks.get(name)
            pool.fresh_s, pool.lsn = mark if mark is not None else (0.0, 0)
        if self.writer is not None:
            self.writer.fresh_s, self.writer.lsn = inf, NOWHERE
        self.readers.refresh()

    def wake(self) -> None:
        """Serve who can be served after a change, and dial for the others."""
        for _, _, server, _ in list(self.claims):
            if server.state == IDLE_STATE and server.owner is self.writer:
                self.writer.move(server, ACTIVE)
                self.give(server)
        for pool in self.eligible(reads=False) + self.eligible(reads=True):
            while pool.free is not None and self._queue_of(pool) is not None:
                self.give(pool.take())
        self.grow()

    def eligible(self, *, reads: bool) -> list[MemberPool]:
        """Give the pools that may serve a read or a write now; reads fall back to the primary."""
        writer = [self.writer] if self.writer is not None else []
        if not reads:
            return writer
        return self.readers.pools + writer if self.no_reader() else self.readers.pools

    def no_reader(self) -> cython.bint:
        """Whether reads fall back to the primary: none of those that share them can be had."""
        pool: MemberPool
        for pool in self.readers.pools:
            if not pool.failures or len(pool.servers) != pool.pending or pool is self.writer:
                return False
        return self.falls_back

    # -- taking

    def take(self, reads: cython.bint) -> ServerConnection | None:
        """Give a free connection, now ACTIVE, or None: then the caller waits (`wait`).

        Reads go round the replicas; one that has nothing free is passed over for this time, and dialled. In a standby
        cluster everything does: PostgreSQL says what it cannot do there (25006).
        """
        reads = reads or self.standby
        server: ServerConnection = None
        if reads and self.readers.pools:
            server = self.readers.take(self.poller.now)
            if server is not None:
                return server
        if self.writer is None or (reads and not self.no_reader()):
            return None
        return self.writer.take()

    def needs_primary(self, wrote_s: cython.double, lsn: cython.longlong) -> cython.bint:
        """Whether a read that must see what was written then, and up to there, can be sure of that on no replica."""
        if self.readers.any_fresh(wrote_s, lsn):
            return False
        self.pools.sample()
        return True

    def take_fresh(self, wrote_s: cython.double, lsn: cython.longlong) -> ServerConnection | None:
        """Give a free connection for such a read; None: it has to wait for the primary."""
        server: ServerConnection = self.readers.take_fresh(wrote_s, lsn, self.poller.now)
        if server is None and self.writer is not None:
            server = self.writer.take()
        return server

    def take_again(self, wrote: ServerConnection) -> ServerConnection | None:
        """Give the connection that a client wrote to last, if that is free, else any for a write, as `take` does."""
        if wrote.state == IDLE_STATE and wrote.owner is self.writer:
            wrote.owner.move(wrote, ACTIVE)
            return wrote
        return self.take(False)

    def wait(self, peer: Peer, reads: cython.bint) -> int:
        """Queue a client until a connection is free: `on_served`, or `on_refused` when it took too long."""
        self.enqueue(peer, reads)
        if self.has_room(reads):
            self.grow()
        return 0

    def enqueue(self, peer: Peer, reads: cython.bint) -> int:
        """Put a client at the end of a queue, without a dial for its sake."""
        reads = reads or self.standby
        queue = self.waiting_reads if reads else self.waiting_writes
        queue.append((peer, self.poller.now))
        self.queued = True
        return 0

    def has_room(self, reads: cython.bint) -> cython.bint:
        """Whether a connection could be dialled for a read or a write; where that hangs on more, it may be."""
        pool: MemberPool
        reads = reads or self.standby
        if not reads:
            return self.writer is not None and self.writer.can_dial(self.poller.now)
        for pool in self.readers.pools:
            if pool.failures or pool.can_dial(self.poller.now):
                return True
        return len(self.readers.pools) == 0

    def learns(self) -> cython.bint:
        """Whether a new connection could tell what sessions begin with now: one to the primary, if there is one."""
        if self.writer is None:
            return self.has_room(True)
        return self.writer.pending > 0 or self.writer.can_dial(self.poller.now)

    def claim(self, peer: Peer, server: ServerConnection) -> ServerConnection | None:
        """Give this very connection, now ACTIVE, if it is free; else queue for it, as `wait` does."""
        if server.state == IDLE_STATE and server.owner is self.writer:
            server.owner.move(server, ACTIVE)
            return server
        self.claims.append((peer, self.poller.now, server, NOTHING_ELSE))
        return None

    def exchange(self, server: ServerConnection, custom: object, peer: Peer, reads: cython.bint):
        """Give another free connection for this one, that has met no custom settings but these; None: `on_served` will.

        Where there is none, one is made, in place of this one if there is no room for both.
        """
        pool: MemberPool = server.owner
        other: ServerConnection
        for other in reversed(pool.idle):
            if other.custom is None or other.custom <= custom:
                pool.move(other, ACTIVE)
                self.give(server)
                return other
        full: cython.bint = len(pool.servers) >= pool.size
        if full:
            pool.close(server, "it has met custom settings of another session")
        self.claims.append((peer, self.poller.now, pool.dial(), READ if reads else WRITE))
        if not full:
            self.give(server)  # last: whoever gets it may want another one, too
        return None

    def wait_login(self, peer: Peer) -> None:
        """Queue a client until `parameters` are known: `on_served` with no server, or `on_refused`."""
        self.waiting_logins.append((peer, self.poller.now))
        self.grow()

    def forget(self, peer: Peer) -> None:
        """Take a client that has gone out of the queues."""
        for queue in (self.waiting_writes, self.waiting_reads, self.waiting_logins, self.claims):
            for entry in list(queue) if queue else ():
                if entry[0] is peer:
                    queue.remove(entry)

    def grow(self) -> None:
        """Dial as many connections as clients wait for, within the limits."""
        now = self.poller.now
        for queue, reads in ((self.waiting_writes, False), (self.waiting_reads, True), (self.waiting_logins, True)):
            pools = self.eligible(reads=reads and not (self.outdated and self.writer))
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
        server.read_on()  # its last client may have been slow to read
        if server.cancels:
            return  # a cancel request may still hit it: `cancelled` gives it again
        if server.close_when_idle or server.outstanding.uncertain or now - server.created_at > self.lifetime_s:
            pool.close(server, "doomed" if server.close_when_idle else "server_lifetime")
            self.grow()
        elif server.dirty:
            pool.reset(server)
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
        if free and server.at_sync and not server.outstanding.count:
            self.give(server)

    def claimant(self, server: ServerConnection) -> tuple | None:
        """Take out who has waited longest for this very connection."""
        for claim in self.claims:
            if claim[2] is server and (server.owner is self.writer or claim[3] == READ):
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
            return reads if reads and pool in self.readers.pools else None
        if reads and pool in self.eligible(reads=True) and not (writes and writes[0][1] <= reads[0][1]):
            return reads
        return writes or None

    # -- logins

    def login(self) -> object:
        """Begin a login conversation with a server."""
        return self.pools.server_login(self.database, self.user, self.credential)

    def welcome(self, server: ServerConnection) -> None:
        """A server has told its parameters: clients can be told theirs."""
        if server.owner is self.writer:
            told = dict(server.hello.parameters)
            self.of_cluster = {name: told.get(name, value) for name, value in CLUSTER_PARAMETERS.items()}
        parameters = tuple((name, self.of_cluster.get(name, value)) for name, value in server.hello.parameters)
        self.outdated = False
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

    def defaults_changed(self, pool: MemberPool) -> None:
        """New sessions begin with other settings than those of the connections that a member has: they go."""
        pool.retire("the server's defaults have changed")
        self.outdated = True

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
        patience_s = inf if self.pools.view.mistake is None else HOPELESS_S
        limits = [
            (self.waiting_writes, wait_s if self.writer else held_s),
            (self.waiting_reads, wait_s if self.eligible(reads=True) else held_s),
            (self.waiting_logins, min(settings.connect_timeout_s, settings.login_timeout_s)),
        ]
        for queue, limit_s in limits:
            while queue and now - queue[0][1] > min(limit_s, patience_s):
                queue.popleft()[0].on_refused(self._too_long(queue, limit_s))
        if self.parameters is not None:  # what is known will do where nothing newer is to be had
            while self.waiting_logins and now - self.waiting_logins[0][1] > OUTDATED_S:
                self.waiting_logins.popleft()[0].on_served(None)
        if self.last_writer is not None and self.last_writer.fenced_at:
            self.last_writer.refuse_held(now - held_s, self._no_primary(held_s))
        for claim in [claim for claim in self.claims if claim[2].closed or now - claim[1] > wait_s]:
            self.claims.remove(claim)
            if claim[2].closed and claim[3] != NOTHING_ELSE:
                server = self.take(claim[3] == READ)
                if server is not None:
                    claim[0].on_served(server)
                else:
                    self.wait(claim[0], claim[3] == READ)
            else:
                claim[0].on_refused(self._too_long(self.waiting_writes, wait_s))
        if self.waiting_writes or self.waiting_reads or self.waiting_logins:
            self.grow()

    def _too_long(self, queue: deque, limit_s: float) -> RouterError:
        mistake = self.pools.view.mistake
        if mistake is not None:
            return NoServer(f"no server is available: {mistake.words}", hint=mistake.hint)
        if queue is self.waiting_writes and self.writer is None:
            return self._no_primary(limit_s)
        if queue is self.waiting_logins or not self.eligible(reads=True):
            return self._no_server(limit_s)
        return WaitTimeout(
            "canceling statement: no server connection became free in time",
            detail=f"Waited {limit_s:g} seconds (pool.wait_timeout) for one of {self.settings.size} connections.",
            hint="Increase pool.size, or look for long transactions with SHOW SERVERS.",
        )

    def _no_server(self, limit_s: float) -> RouterError:
        """Say of each member why it is of no use, and for how long that has been so."""
        reasons = "; ".join(f"{member.name}: {member.reason}" for member in self.pools.view.members)
        return NoServer(
            "no server is available",
            detail=f"Nobody could be read from for {limit_s:g} seconds: {reasons or self.pools.view.no_primary}.",
            hint="Try again; the session and its settings are unharmed. SHOW CLUSTER on the console has the members.",
        )

    def _no_primary(self, limit_s: float) -> RouterError:
        why = f" ({self.pools.view.no_primary})" if self.pools.view.no_primary else ""
        return NoServer(
            "no primary is available",
            detail=f"The cluster has had no leader that accepts writes for {limit_s:g} seconds{why}.",
            hint="Try again; the session and its settings are unharmed.",
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
