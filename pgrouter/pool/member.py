"""The server connections to one member for one database and user, and the one function that changes their state.

Every connection is in `servers` from its dial to its end. Idle ones form a stack: `free` is the top, and `next_idle` of
each one is the one used before it. They are taken from the top and put back there, so that a pool shrinks to what it
needs.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import cython

from pgrouter.errors import NoServer
from pgrouter.pool import growth
from pgrouter.protocol.messages import TERMINATE, query
from pgrouter.server.connection import ServerConnection
from pgrouter.server.states import STATE_NAMES
from pgrouter.session.settings import UNHINDERED

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.server.states import ACTIVE, CLOSED, DIALLING, IDLE_STATE, LOGGING_IN, RESETTING

if TYPE_CHECKING:
    from pgrouter.errors import RouterError
    from pgrouter.pool.pool import Pool
    from pgrouter.topology import Member

log = logging.getLogger("pgrouter.pool")

# After a failed dial the next one waits, twice as long each time; the view usually changes sooner.
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 1.0

TOO_MANY = "53300"  # of the server, a database or a role

_RESET = query("DISCARD ALL")
_ROLLBACK = query("ROLLBACK")
_UNHINDERED = query(UNHINDERED)
IDLE_STATUS = ord("I")
STANDBY = ("in_hot_standby", "on")  # reported at login since PostgreSQL 14


class Totals:
    """Counters of server connections that are closed; `add` adds those of a connection."""

    __slots__ = ("queries", "query_s", "received", "sent", "xact_s", "xacts")

    def __init__(self) -> None:
        self.xacts = 0
        self.queries = 0
        self.received = 0  # bytes from the server
        self.sent = 0
        self.xact_s = 0.0  # linked to a client
        self.query_s = 0.0  # with an outstanding answer

    def add(self, server: ServerConnection | Totals) -> None:
        """Add another's counters."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(server, name))


def refuses_encryption(server: ServerConnection, error: RouterError) -> bool:
    """Whether a login may have failed because it was encrypted, or because it was not (as libpq sees it)."""
    if server.sealed is None:
        return server.login.attempt.tls is None and error.sqlstate == "28000"
    return error.sqlstate == "28000" or not server.sealed.codec.established


class MemberPool:
    """Connections of one database and user to one member."""

    def __init__(self, pool: Pool, member: Member) -> None:
        self.pool = pool
        self.member = member
        self.size = pool.settings.size  # maximum number of connections
        self.places = pool.pools.limits.on(member.name)  # the limits that it shares with other pools
        self.limits = self.places.limits_of(pool.name, pool.user)
        self.servers = {}  # the oldest first; the values mean nothing
        self.free = None  # the idle one that was used last
        self.free_count = 0
        self.pending = 0  # dialling or logging in
        self.failures = 0
        self.refusal = None  # the server's, if it had too many connections at the last dial
        self.deficit = 0  # turns in which it had no idle connection
        self.doubted = set()  # idle connections that are being checked for being alive
        self.cutting = False  # we are closing the connections
        self.fenced_at = 0.0  # since when no transaction may start here; 0: not fenced
        self.retry_at = 0.0
        self.fresh_s = 0.0  # it has all that was answered before this time, see `cluster.freshness`; 0: unknown
        self.lsn = 0  # and the WAL up to this position
        self.closed = Totals()

    def __repr__(self) -> str:
        return f"{self.member.name} {self.pool}"

    # -- states

    @property
    def idle(self) -> list[ServerConnection]:
        """The idle connections, the longest idle first."""
        server: ServerConnection = self.free
        servers: list = []
        while server is not None:
            servers.append(server)
            server = server.next_idle
        servers.reverse()
        return servers

    def move(self, server: ServerConnection, state: cython.int) -> int:
        """Change a connection's state: the only place, besides `take`, where that happens."""
        old: cython.int = server.state
        if old == IDLE_STATE:
            self.unstack(server)
        elif (old == DIALLING or old == LOGGING_IN) and state != DIALLING and state != LOGGING_IN:
            self.pending -= 1
        server.state = state
        if state == IDLE_STATE:
            server.next_idle = self.free
            self.free = server
            self.free_count += 1
        elif state == CLOSED:
            self.servers.pop(server, None)
            self.closed.add(server)
            self.places.closed(self, logged_in=old != DIALLING and old != LOGGING_IN)
        return 0

    def unstack(self, server: ServerConnection) -> int:
        """Remove an idle connection from the stack, wherever it is."""
        above: ServerConnection = None
        at: ServerConnection = self.free
        while at is not None and at is not server:
            above = at
            at = at.next_idle
        if above is None:
            self.free = server.next_idle
        else:
            above.next_idle = server.next_idle
        server.next_idle = None
        self.free_count -= 1
        return 0

    def count(self, state: int) -> int:
        """Count the connections in a state."""
        return sum(server.state == state for server in self.servers)

    def take(self) -> ServerConnection | None:
        """Return the idle connection that was used last, now ACTIVE; None if there is none."""
        server: ServerConnection = self.free
        if server is not None:
            self.free = server.next_idle
            server.next_idle = None
            server.state = ACTIVE
            self.free_count -= 1
        return server

    def is_fresh(self, wrote_s: cython.double, lsn: cython.longlong) -> cython.bint:
        """Whether it has what was answered at that time, and the WAL up to that position."""
        return wrote_s < self.fresh_s and lsn <= self.lsn

    # -- growing

    def can_dial(self, now: cython.double) -> cython.bint:
        """Whether this pool has room for another connection, and the member has not just failed."""
        return len(self.servers) < self.size and now >= self.retry_at

    def dial_spare(self) -> ServerConnection | None:
        """Dial if no other pool has to give way for it."""
        return self.dial() if self.places.has_room(self) else None

    def dial_needed(self) -> ServerConnection | None:
        """Dial, in place of another pool's idle connection if need be; None: that follows in its turn."""
        return self.dial() if self.places.admit(self) else None

    def is_wanted(self) -> bool:
        """Whether clients wait for another connection, and there is room for it in this pool."""
        return len(self.servers) < self.size and growth.wants(self.pool, self)

    def longest_idle(self) -> ServerConnection | None:
        """Return the idle connection at the bottom of the stack."""
        server: ServerConnection = self.free
        while server is not None and server.next_idle is not None:
            server = server.next_idle
        return server

    def dial(self, attempt=None) -> ServerConnection:
        """Start a new connection, and return it; `server_ready` or `server_closed` follows.

        `attempt`: how it is protected, see `auth.encryption`; None: as the settings say.
        """
        pool = self.pool
        if attempt is None:
            attempt = pool.pools.encryption.at(self.member.host)
        server = ServerConnection(pool.poller, self, pool.login(attempt), attempt)
        self.servers[server] = None
        self.pending += 1
        self.places.opened(self)
        pool.pools.dial(self, server)
        return server

    def admitted(self) -> None:
        """The member is back in the cluster view: it has answered, so no earlier failure delays a dial."""
        self.failures = 0
        self.retry_at = 0.0
        self.refusal = None

    # -- what server connections report

    def server_ready(self, server: ServerConnection) -> None:
        """Logged in: the connection joins the pool, unless it is for writes and the server reports to be a standby."""
        if self is self.pool.writer and STANDBY in server.hello.parameters:
            server.lose(NoServer("the server is a standby now"))
            return
        self.admitted()
        self.places.accepted(self)
        server.session.profile = self.pool.pools.profiles.empty
        self.move(server, ACTIVE)
        self.pool.welcome(server)
        self.pool.release(server)

    def server_closed(self, server: ServerConnection, error: RouterError) -> None:
        """The connection is gone, for whatever reason."""
        was = server.state
        self.move(server, CLOSED)
        if was in (DIALLING, LOGGING_IN):
            if was == LOGGING_IN and server.login.attempt.then is not None and refuses_encryption(server, error):
                log.info("S-%d %s: %s; tried otherwise", server.connection_id, self, error.message)
                other = self.dial(server.login.attempt.then)
                self.pool.waiting.claim_other(server, other)
                return
            self.failures += 1
            self.retry_at = self.pool.poller.now + min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(self.failures, 10))
            self.refusal = error if error.sqlstate == TOO_MANY else None
            if self.refusal is not None and self.places.refused(self, error):
                self.retry_at = self.pool.poller.now  # as soon as another one is closed
            log.warning("S-%d %s: login failed: %s", server.connection_id, self, error.message)
            self.pool.dial_failed(self, error)
        else:
            log.info("S-%d %s: closed: %s (%s)", server.connection_id, self, error.message, STATE_NAMES[was])
            if was != RESETTING or server in self.doubted:
                self.doubted.discard(server)
                if not self.cutting:
                    self.doubt()
                self.pool.server_lost(self)
            else:
                self.pool.wake()  # its place is free, and reads may have to go to the primary

    def doubt(self) -> None:
        """Check that all idle connections are alive: what has ended one may have ended all.

        A backend that was told to terminate (SIGTERM, SIGQUIT) no longer answers a Sync.
        """
        server: ServerConnection
        for server in self.idle:
            self.move(server, RESETTING)
            self.doubted.add(server)
            server.used_at = server.asked_at = self.pool.poller.now
            server.at_sync = False
            server.sync()

    def server_promoted(self, server: ServerConnection) -> None:
        """The server is no longer a standby (in_hot_standby, PostgreSQL 14): under load, the first sign of that."""
        log.info("S-%d %s: in_hot_standby has changed", server.connection_id, self)
        self.pool.pools.suspect(self.member.name)

    def server_free(self, server: ServerConnection) -> None:
        """A reset, or the check by `doubt`, has ended."""
        if server in self.doubted:
            self.doubted.discard(server)
            self.move(server, ACTIVE)
            self.pool.release(server)
            return
        server.session.reset(self.pool.pools.profiles.empty)
        self.move(server, ACTIVE)
        self.pool.release(server)

    # -- giving back

    def reset(self, server: ServerConnection) -> None:
        """Discard the last client's session state before another client gets it; `server_free` follows."""
        self.move(server, RESETTING)
        server.resume()  # its last client may have been slow to read
        server.used_at = self.pool.poller.now
        clean = server.at_sync and server.status == IDLE_STATUS
        if server.outstanding.skipping:
            server.sync()  # after an error the server ignores everything else
        if not clean:
            owes = server.outstanding.count > 0
            server.inject(_ROLLBACK)  # also of the implicit transaction of a batch that its client never ended
            if owes:  # maybe an error, after which the ROLLBACK is ignored, too
                server.sync()
                server.inject(_ROLLBACK)
        server.inject(_UNHINDERED)
        server.inject(_RESET)

    def close(self, server: ServerConnection, why: str, *, cut: bool = False) -> None:
        """Close a connection with no outstanding answers; `cut`: without Terminate: it has got part of a message."""
        log.debug("S-%d %s: closing: %s", server.connection_id, self, why)
        if not cut:
            server.send_bytes(TERMINATE)
        self.move(server, CLOSED)
        server.close()

    def ends(self, server: ServerConnection) -> bool:
        """Close a connection that is released if it has to end; whether it has."""
        if server.close_when_idle or server.outstanding.uncertain:
            why = "doomed"
        elif self.pool.poller.now - server.created_at > self.pool.settings.lifetime_s:
            why = "server_lifetime"
        elif self.places.gives_way(self, server):
            why = "it is another pool's turn"
        else:
            return False
        self.close(server, why)
        return True

    def retire(self, why: str) -> None:
        """Close the idle connections; the others are closed when they become idle."""
        for server in list(self.servers):
            if server.state == IDLE_STATE:
                self.close(server, why)
            else:
                server.close_when_idle = True

    def fence(self, on: bool) -> None:  # noqa: FBT001 (called from C)
        """Hold new transactions of linked clients (a pinned session, a pipeline), or resume them."""
        if not on and not self.fenced_at:
            return
        self.fenced_at = (self.fenced_at or self.pool.poller.now) if on else 0.0
        for server in list(self.servers):
            server.fenced = on
            if not on and server.peer is not None:
                server.peer.on_waiting()

    def refuse_held(self, before: float, error: RouterError) -> None:
        """Answer the held messages of linked clients with an error, if they have been held since before that time."""
        if self.fenced_at > before:
            return
        for server in list(self.servers):
            if server.peer is not None and server.peer.stream.buffered and server.at_rest():
                server.peer.on_refused(error)

    def cut(self, error: RouterError) -> None:
        """Close every connection now: nothing may reach this member any more."""
        self.cutting = True
        for server in list(self.servers):
            server.lose(error)
        self.cutting = False
