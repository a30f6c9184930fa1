"""All pools of one router, by database and user: the cluster view that they apply, and the janitor."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgrouter.auth.encryption import PLAIN, Attempt, Encryption
from pgrouter.auth.server import server_login
from pgrouter.config.settings import Reads
from pgrouter.errors import ServerLost
from pgrouter.net.resolver import Resolver
from pgrouter.pool import janitor
from pgrouter.pool.balancer import LastWrite
from pgrouter.pool.limits import ServerLimits
from pgrouter.pool.pool import Pool
from pgrouter.protocol.messages import cancel_request
from pgrouter.server.cancel import CancelConnection
from pgrouter.session.settings import SESSION_TIMERS, Profiles

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

    from pgrouter.config.settings import PoolSettings
    from pgrouter.net.poller import Poller
    from pgrouter.net.sockopt import SocketOptions
    from pgrouter.pool.member import MemberPool
    from pgrouter.server.connection import ServerConnection
    from pgrouter.topology import ClusterView, Member, ReplayPoint

log = logging.getLogger("pgrouter.pool")

TICK_S = 0.1  # how late a deadline may be noticed
SWEEP_TICKS = 10
# A pooled connection is idle because of pooling: an idle session timeout of its role or database must not end it.
# Needs PostgreSQL 14.
SERVER_PARAMETERS = (("options", " ".join(f"-c {name}=0" for name in SESSION_TIMERS)),)
CANCEL_TIMEOUT_S = 10.0  # PgBouncer's cancel_wait_timeout


class PoolManager:
    """Pools by name, user and database on the servers; created when first asked for."""

    def __init__(
        self,
        poller: Poller,
        settings: PoolSettings,
        view: ClusterView,
        *,
        suspect: Callable[[str], None] = lambda _: None,
        sample: Callable[[], None] = lambda: None,
    ) -> None:
        self.poller = poller
        self.settings = settings
        self.view = view
        self.profiles = Profiles()
        self.reads = Reads()
        self.marks: Mapping[str, ReplayPoint] = {}
        self.writes = LastWrite()
        self.suspect = suspect
        self.sample = sample  # called if a read must see a write that no replica may have yet
        self.socket_options: SocketOptions = ()
        self.encryption = Encryption()  # how connections to servers are protected
        self._each_tick: tuple[Callable[[float], None], ...] = ()  # what else runs at each tick
        self.groups: dict[tuple[str, str, str], Pool] = {}
        self.resolver = Resolver(poller.loop, poller.clock)
        self.forgotten = 0  # pools that nobody has used for long
        self.draining = False
        self.limits = ServerLimits(poller, settings, self._contend)
        self._cancels: set[CancelConnection] = set()
        self._janitor: asyncio.TimerHandle | None = None

    def group(self, name: str, user: str, credential: object, database: str = "") -> Pool:
        """Return the pool of a database's name and a user; new connections log in with the newest credential.

        `database` is what the servers call it, if that is another name.
        """
        key = (name, user, database or name)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Pool(self, name, database or name, user, credential)
        elif credential is not None:
            group.credential = credential
        return group

    def apply(self, view: ClusterView) -> None:
        """Apply a new view of the cluster."""
        self.view = view
        for group in list(self.groups.values()):
            try:
                group.apply(view)
            except Exception:  # a bug in one pool must not leave the others with an old leader
                log.exception("bug in following the cluster for %s", group)

    def freshen(self, marks: Mapping[str, ReplayPoint]) -> None:
        """Apply how far the replicas have replayed."""
        self.marks = marks
        for group in self.groups.values():
            group.freshen(marks)

    def close_unused_databases(self, in_use: Callable[[str], bool]) -> None:
        """Close connections to databases without clients: before DROP DATABASE, PostgreSQL waits a moment for that."""
        for group in self.groups.values():
            if not in_use(group.database):
                for pool in group.members.values():
                    pool.retire("nobody uses the database, and one is to be dropped or copied")

    def defaults_changed(self, name: str | None = None) -> None:
        """A member's defaults of new sessions have changed (None: all members'): close older connections when idle."""
        for group in self.groups.values():
            for pool in list(group.members.values()):
                if name in (None, pool.member.name):
                    group.defaults_changed(pool)
            group.grow()

    def found(self, host: str, port: int, address: str) -> None:
        """Dial the members of that host at this address from now on; connections to another are closed when idle."""
        if self.resolver.learn(host, port, address):
            for group in self.groups.values():
                for pool in list(group.members.values()):
                    if (pool.member.host, pool.member.port) == (host, port):
                        pool.retire("the server's name has another address now")

    def received(self, name: str, before_s: float) -> int | None:
        """Return the bytes received over connections to a member opened before that time; None: none is open.

        Such a connection, while it is open, shows that its server has not been restarted since then.
        """
        pools = [pool for group in self.groups.values() if (pool := group.members.get(name)) is not None]
        counts = [s.received for pool in pools for s in pool.servers if s.login is None and s.created_at < before_s]
        return sum(counts) if counts else None

    def make_room(self, name: str, user: str, database: str, *, same: bool) -> None:
        """Close one idle connection to a member, so that the router's own role can connect.

        Preferably one of that role or to that database; `same`: only such a one, since no other would help.
        """
        idle = [
            (user == group.user or database == group.database, pool, pool.idle[0])
            for group in self.groups.values()
            if (pool := group.members.get(name)) is not None and pool.idle
        ]
        for fits, pool, server in sorted(idle, key=lambda each: (not each[0], each[2].used_at)):
            if fits or not same:
                why = "the server has no connection left for the router's own role"
                log.info("S-%d %s: free, is closed: %s", server.connection_id, pool, why)
                pool.close(server, why)
                return

    def reload(self, settings: PoolSettings) -> None:
        """Apply new limits, from now on."""
        self.settings = settings
        self.limits.adjust(settings)
        for group in self.groups.values():
            group.adjust(settings)
            group.wake()

    def drain(self) -> None:
        """Close each client as soon as it is not in a transaction."""
        self.draining = True
        for group in self.groups.values():
            group.drain()

    def share_reads(self, reads: Reads) -> None:
        """Share reads by these settings from now on."""
        self.reads = reads
        for group in self.groups.values():
            group.share_reads(self.view)
            group.wake()

    def _contend(self, contended: bool) -> None:  # noqa: FBT001  (a callback)
        for group in self.groups.values():
            group.hurry(contended)

    # -- services for pools

    def server_login(self, database: str, user: str, credential: object, attempt: Attempt) -> object:
        """Start a login conversation with a server."""
        return server_login(user, database, SERVER_PARAMETERS, credential, attempt)

    def dial(self, pool: MemberPool, server: ServerConnection) -> None:
        """Connect `server` to the member of `pool`, after resolving its host name if it is one."""
        member: Member = pool.member

        def go(address: tuple | None, why: str) -> None:
            if address is None:
                server.lose(ServerLost(why))
            elif not server.closed:
                server.dial(*address, self.socket_options)

        address = self.resolver.known(member.host, member.port)
        if address is not None:
            go(address, "")
        else:
            self.resolver.ask(member.host, member.port, go)

    def cancel(self, server: ServerConnection) -> None:
        """Ask PostgreSQL to cancel what `server` runs; no other client gets it until that has been handled."""
        pool: MemberPool = server.owner
        if server.hello is None:
            return
        try:
            address = server.sock.getpeername()
        except OSError:
            return  # it is gone already
        server.cancels += 1

        def then() -> None:
            self._cancels.discard(connection)
            pool.pool.cancelled(server)

        packet = cancel_request(server.hello.pid, server.hello.key)
        attempt = self.encryption.at(pool.member.host).encrypted() if server.sealed is not None else None
        connection = CancelConnection(self.poller, packet, then, attempt or PLAIN)
        self._cancels.add(connection)
        connection.dial(server.sock.family, address)

    # -- janitor

    def start(self, *each_tick: Callable[[float], None]) -> None:
        """Start the janitor, which also calls these, with the time."""
        self._each_tick = each_tick
        self._janitor = self.poller.loop.call_later(TICK_S, self._clean, 1)

    def _clean(self, ticks: int) -> None:
        self._janitor = self.poller.loop.call_later(TICK_S, self._clean, ticks + 1)
        now = self.poller.update_clock()
        self.limits.tick()
        for group in list(self.groups.values()):
            try:
                janitor.tick(group, now)
                if ticks % SWEEP_TICKS == 0:
                    janitor.sweep(group, now)
            except Exception:  # a bug in one pool must not stop the timeouts of all
                log.exception("bug in the janitor of %s", group)
        if ticks % SWEEP_TICKS == 0:
            self._forget_unused(now)
        for tick in self._each_tick:
            try:
                tick(now)
            except Exception:
                log.exception("bug in %s", tick)
        for connection in [c for c in self._cancels if now - c.since > CANCEL_TIMEOUT_S]:
            connection.on_eof("timeout")

    def _forget_unused(self, now: float) -> None:
        for key, group in list(self.groups.items()):
            if group.forget_if_unused(now):
                del self.groups[key]
                self.forgotten += 1
                log.debug("%s: nobody uses the pool, it is forgotten", group)

    def stop(self) -> None:
        """Close every server connection and stop the janitor."""
        if self._janitor is not None:
            self._janitor.cancel()
        self.resolver.close()
        for connection in list(self._cancels):
            connection.close()
        for server in list(self.servers()):
            server.peer = None
            server.owner.close(server, "shutdown")

    def servers(self) -> Iterator[ServerConnection]:
        """Yield every server connection."""
        for group in self.groups.values():
            yield from group.servers()
