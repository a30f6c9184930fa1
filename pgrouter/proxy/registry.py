"""What all clients of a router share, and what happens to a client off the data path.

The registry has every client; it admits them, finds their pools, handles lost servers (`proxy.server_loss`), and
decides how a server is cleaned up after its client (`left`).
"""

from __future__ import annotations

import hmac
import logging
import math
from functools import lru_cache
from typing import TYPE_CHECKING

import cython

from pgrouter.errors import RouterError, ShuttingDown
from pgrouter.logs.handler import EVERY
from pgrouter.net.sockopt import socket_options
from pgrouter.pool.pool import Pool
from pgrouter.protocol import messages
from pgrouter.proxy.batch import RouteCounts
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.client_peer import ClientPeer
from pgrouter.proxy.crowd import Crowd
from pgrouter.proxy.database_names import DatabaseNames
from pgrouter.proxy.databases import UNWATCHED_S
from pgrouter.proxy.derivations import Derivations
from pgrouter.proxy.error_counts import BY_ROUTER, ErrorCounts
from pgrouter.proxy.responder import FailedTransactionResponder
from pgrouter.proxy.server_loss import tell
from pgrouter.proxy.session_sync import IS_SUPERUSER, SessionSync
from pgrouter.proxy.startup_template import StartupTemplate
from pgrouter.proxy.strangers import Strangers
from pgrouter.routing.policy import PLAIN, ROUTE_SETTING, facts_of
from pgrouter.routing.statement import Effect
from pgrouter.routing.usage import log_slower_than
from pgrouter.server.connection import ServerConnection
from pgrouter.session.consistency import demands
from pgrouter.session.refusals import forbidden_by
from pgrouter.session.settings import milliseconds, strings_are_unusual

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgrouter.auth.client import ClientIdentity
    from pgrouter.config.settings import Admin, Settings
    from pgrouter.pool.manager import PoolManager
    from pgrouter.proxy.access import Access
    from pgrouter.proxy.databases import Databases
    from pgrouter.routing.catalog import ByRole

log = logging.getLogger("pgrouter.client")

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.server.states import RESETS

IDLE = ord("I")

TEMPLATES = 256  # startup packets that are cached
TRAITS = 1024
REPORTED = 1000  # settings that are remembered as reported to a client: PostgreSQL reports some fifteen

_GONE = object()  # in place of a client that has left, as the owner of a server's sequence values


def _no_shows(words, user, member, admin) -> str:  # noqa: ARG001  (the interface's)
    return "SELECT"


class SessionTraits:
    """What a session's settings imply in its pool and at its listener; shared by all sessions with the same."""

    def __init__(self, client: ClientConnection, registry: Registry) -> None:
        group: Pool = client.session.pool
        limits = group.settings
        settings = {name.lower(): value for name, value in group.parameters} | dict(client.session.profile.values)
        if limits.route != "auto":
            settings.setdefault(ROUTE_SETTING, limits.route)
        facts = facts_of(settings, mode=client.mode, pinned=limits.mode == "session")
        database = registry.databases.get(group.database)
        self.parameters = group.parameters
        self.unusual_strings = strings_are_unusual(settings)
        self.facts = PLAIN if facts == PLAIN else facts
        self.consistency, self.must_see_lsn = demands(settings, registry.settings.routing.read_consistency)
        self.database = database
        self.statements = database.statements(None if client.session.profile.names else group.user)
        self.shared = database.shared
        self.keeps_server = limits.mode == "session"
        self.forbidden = forbidden_by(limits)
        self.prepared_statements = limits.prepared_statements
        self.idle_ms = milliseconds(settings.get("idle_session_timeout") or database.idle_timeout(group.user))
        self.welcome = None  # what a client gets at the end of its login, except its cancel key


class Registry:
    """All clients, and what they share."""

    def __init__(
        self,
        settings: Settings,
        pools: PoolManager,
        databases: Databases,
        access: Access,
        open_console: Callable[[ClientConnection], None],
        pool_shows: Callable[[Sequence[str], str, str, Admin], str] | None = None,
    ) -> None:
        self.pools = pools
        self.pool_shows = pool_shows or _no_shows  # the SQL that answers Pgpool-II's commands
        self.databases = databases
        self.access = access
        self.open_console = open_console
        self.profiles = pools.profiles
        self.crowd = Crowd()
        self.clients = {}  # by their ids, once they have proved who they are
        self.logging_in = {}  # by their ids, until they are logged in
        self.strangers = Strangers()  # those of them that have not proved who they are
        self.derivations = Derivations(pools.poller)
        self.forgotten = 0  # as many of the pools as are forgotten here, too
        self.routes = RouteCounts()
        self.errors = ErrorCounts()
        self.logins = 0  # that were completed
        self.sync = SessionSync(self)
        self.timed_out = set()  # ids of clients whose queries have been cancelled for their query_timeout
        self.idle_limits = {}  # seconds by client id, for clients that have an idle_session_timeout
        self._take(settings)

    def _take(self, settings: Settings) -> None:
        self.settings = settings
        self.max_clients = settings.pool.max_clients
        self.strangers.limit(settings.pool)
        log_slower_than(settings.log.slow_statements_s or math.inf)
        self.tells = settings.log.connections and settings.log.level in ("debug", "info")
        self.pools.socket_options = self.socket_options = socket_options(settings.tcp)
        self.names = DatabaseNames(settings.databases)
        self.application = lru_cache(maxsize=TEMPLATES)(StartupTemplate)
        self.traits = {}

    def reload(self, settings: Settings) -> None:
        """Apply new settings. What they forbid is refused from now on; pinned sessions stay pinned."""
        self._take(settings)
        self.pools.reload(settings.pool)
        for client in self.clients.values():
            if client.session.pool is not None:
                client.link.batch.forbid(forbidden_by(client.session.pool.settings))
                client.session.statements.limit = client.session.pool.settings.prepared_statements

    # -- coming

    def peer_of(self, client: ClientConnection) -> ClientPeer:
        """Return what a new client is for its servers."""
        return ClientPeer(client)

    def arrived(self, client: ClientConnection) -> int:
        """Called when a connection was accepted; it has to log in before the login timeout."""
        self.logging_in[client.client_id] = client
        self.strangers.add(client)
        return 0

    def admit(self, client: ClientConnection) -> cython.bint:
        """Admit a client that has proved who it is unless max_clients are; the console is there for such moments."""
        if len(self.clients) >= self.max_clients and not self.is_console(client.info.database):
            return False
        self.strangers.remove(client)
        self.clients[client.client_id] = client
        return True

    def logged_in(self, client: ClientConnection, traits: SessionTraits | None = None) -> int:
        """Called when a login is complete (the console: without traits). In session mode the first server is kept."""
        if traits is not None:
            if traits.keeps_server:  # the first server is kept, so it must be able to write
                client.session.pin = "session pooling"
                client.session.pinned_at = self.pools.poller.now
            self._learn(client, traits)
            if self.pools.poller.now - traits.database.watched_at > UNWATCHED_S:
                self.databases.entered(client.session.pool.database, self.pools.poller.now)
        self.logging_in.pop(client.client_id, None)
        self.logins += 1
        client.link.idle_at = self.pools.poller.now
        if self.tells:
            log.info("C-%d %s: login", client.client_id, client.info, extra=EVERY)
        return 0

    def traits_of(self, client: ClientConnection) -> SessionTraits:
        """Return what the client's settings imply."""
        key: tuple = (client.session.pool, client.session.profile, client.mode)
        found: SessionTraits = self.traits.get(key)
        if found is None or found.parameters is not client.session.pool.parameters:
            if len(self.traits) >= TRAITS:
                self.traits = {}
            found = self.traits[key] = SessionTraits(client, self)
        return found

    def learn(self, client: ClientConnection) -> int:
        """Called when the session's settings have changed: apply what they imply now."""
        return self._learn(client, self.traits_of(client))

    def _learn(self, client: ClientConnection, traits: SessionTraits) -> int:
        """Apply what the session's settings imply for classifying its statements and for routing them."""
        client.session.statements.unusual_strings = traits.unusual_strings
        client.session.statements.enter(traits.statements, traits.shared)
        client.session.statements.limit = traits.prepared_statements
        client.session.consistency = traits.consistency
        client.session.must_see_lsn = traits.must_see_lsn
        client.link.batch.forbid(traits.forbidden)
        client.link.batch.close_unused_databases = self.databases.close_unused_databases
        if traits.idle_ms:
            self.idle_limits[client.client_id] = traits.idle_ms / 1000
        elif self.idle_limits:
            self.idle_limits.pop(client.client_id, None)
        return client.link.batch.follow(traits.facts)

    def adopt(self, name: str, catalog: ByRole, idle_timeout: Callable[[str], str] | None) -> None:
        """Classify statements of a database by this catalog from now on; new sessions get the timeouts of its roles."""
        database = self.databases.get(name)
        database.adopt(catalog)
        if idle_timeout is not None:
            database.idle_timeout = idle_timeout
        self.traits = {}
        self.databases.tick(self.pools.poller.now)
        for client in self._clients_of(name):
            traits: SessionTraits = self.traits_of(client)
            client.session.statements.enter(traits.statements, traits.shared)

    def has_clients(self, database: str) -> bool:
        """Whether a client is connected to a database."""
        return any(True for _ in self._clients_of(database))

    def _clients_of(self, database: str) -> Iterator[ClientConnection]:
        return (
            one
            for one in self.clients.values()
            if one.session.pool is not None and one.session.pool.database == database
        )

    def is_console(self, database: str) -> cython.bint:
        """Whether this database name is the console."""
        return database in self.settings.admin.databases

    def group(self, database: str, user: str, identity: ClientIdentity) -> Pool:
        """Return the pool of a client, whose own credential, if any, logs in to servers.

        Raises:
            RouterError: 3D000, no entry of `databases` has the name.

        """
        entry = self.names.of(database)
        credential = self.names.credential(database, user, identity, self.access.users)
        return self.pools.group(database, entry.user or user, credential, entry.database)

    def _forget(self) -> None:
        """Let go of what belongs to pools that were forgotten, and of databases without a pool."""
        self.forgotten = self.pools.forgotten
        self.application.cache_clear()
        self.traits = {}
        self.databases.keep({pool.database for pool in self.pools.groups.values()})

    # -- what RESET restores

    def parameter(self, client: ClientConnection, body: bytes) -> bytes | None:
        """Return what the client gets for a ParameterStatus; b"": nothing, as its RESET means the startup value."""
        name, value = messages.read_parameter_status(body)
        key = name.lower()
        if client.peer.watches & RESETS and key in self._reset(client):
            return b""
        touched = client.link.batch.touched
        if client.link.batch.effects & Effect.CODE and (name, value) in client.session.pool.parameters:
            if key in dict(client.session.startup_profile.values) and not (
                touched is not None and key in touched.names
            ):
                self.sync.hush(client, name, value)  # maybe a RESET in code
                return b""
        if len(client.session.reported) < REPORTED or key in client.session.reported:
            client.session.reported[key] = value
        return None

    def restored(self, client: ClientConnection) -> bytes:
        """Return ParameterStatus messages for settings that RESET has changed back to the startup packet's values."""
        spelling = {name.lower(): name for name, _ in client.session.pool.parameters}
        out = b""
        for name, value in self._reset(client).items():
            if name in spelling and client.session.reported.get(name, value) != value:
                client.session.reported[name] = value
                out += messages.parameter_status(spelling[name], value)
        return out

    @staticmethod
    def _reset(client: ClientConnection) -> dict[str, str]:
        startup = {name.lower(): value for name, value in client.session.startup_profile.reported or ()}
        touched = client.link.batch.touched
        server = client.link.server
        if client.link.batch.effects & Effect.DISCARD and (server is None or server.session.discarded):
            return startup
        if touched is None:
            return {}
        acts = touched.resets("role") or touched.resets("session_authorization")
        return {
            name: value for name, value in startup.items() if touched.resets(name) or (acts and name == IS_SUPERUSER)
        }

    # -- errors

    def refuse(self, client: ClientConnection, error: RouterError) -> None:
        """Answer the waiting batch with an error; the session goes on."""
        client.settled()
        if error.closes_client or client.session.pool.parameters is None:
            client.violation(error)
        else:
            self.errors.add(BY_ROUTER, error.sqlstate)
            second, client.link.retry = client.link.retry, None
            inside = second is not None and second.inside and not second.ends  # inside a transaction, which is lost
            client.responder = FailedTransactionResponder(client, error, failed=inside)

    def server_lost(self, client: ClientConnection, server: ServerConnection, error: RouterError) -> None:
        """Report to a client that its server is lost, and what that means."""
        tell(client, server, error)

    # -- cancel

    def cancel(self, client_id: int, key: bytes) -> None:
        """Handle a CancelRequest; a wrong key does nothing, as in PostgreSQL."""
        client = self.clients.get(client_id)
        if client is None or not client.key or not hmac.compare_digest(client.key, key):
            log.info("cancel request with a wrong key for C-%d", client_id)
            return
        if client.waiting:
            client.session.pool.forget(client.peer)
            client.peer.on_refused(RouterError("canceling statement due to user request", sqlstate="57014"))
        elif client.link.server is not None and client.link.server.outstanding.count:
            self.pools.cancel(client.link.server)
        elif client.responder is not None:
            client.responder.cancel()

    # -- leaving

    def drain(self) -> None:
        """Disconnect every client at the end of its transaction: at once if it is in none."""
        self.pools.drain()
        for client in list(self.clients.values()):
            if client.session.pool is not None and (client.idle or client.waiting):
                self.dismiss(client)

    def dismiss(self, client: ClientConnection) -> int:
        """Disconnect an idle client with 57P01; later if it has not read all its answers."""
        if client.pending is None and not (client.link.retry is not None and client.link.retry.inside):
            client.violation(ShuttingDown())
        return 0

    def let_go(self, client: ClientConnection, server: ServerConnection) -> None:
        """Release a replica that has refused the client's batch: it is free once it has answered the rest."""
        server.session.dirty = server.session.dirty or bool(client.link.batch.effects)
        self._introduce(client, server)
        if not server.closed:
            self._free(server)

    def left(self, client: ClientConnection, server: ServerConnection | None) -> None:
        """Clean up after a client: its server is reset and kept if that is safe and cheap, otherwise closed."""
        known = self.clients.pop(client.client_id, None) is not None
        self.logging_in.pop(client.client_id, None)
        self.strangers.remove(client)
        self.idle_limits.pop(client.client_id, None)
        self.sync.hushed.pop(client.client_id, None)
        if client.session.pool is not None:
            client.session.pool.forget(client.peer)
            self.crowd.leave(client.session.pool, client.info.user)
        client.session.statements.forget()
        last: ServerConnection = client.session.last_write_server
        if last is not None and last.session.sequence_owner is client.session:
            last.session.sequence_owner = _GONE
        if server is not None:
            self._take_back(client, server)
        if known and self.tells and client.info is not None:
            log.info("C-%d %s: logout", client.client_id, client.info, extra=EVERY)

    def _take_back(self, client: ClientConnection, server: ServerConnection) -> None:
        client.link.server = None
        server.peer = None
        server.session.changed = None
        if client.link.batch.effects or client.session.pin is not None:
            server.session.dirty = True
        if client.session.leftovers & Effect.TEMP:  # the next client would have its temporary schema, though empty
            server.close_when_idle = True
        self._introduce(client, server)
        if (
            client.link.terminated
            and server.outstanding.count
            and not client.link.streams
            and not server.outstanding.copying
        ):
            server.owner.reset(server)  # what was sent before Terminate is executed, as in PostgreSQL
        elif server.outstanding.count or client.link.streams:
            # It still works for a client that is gone: cancel that, do not wait for it.
            if server.outstanding.count:
                self.pools.cancel(server)
            # No Terminate after half a message: it would be read as the rest of it.
            server.owner.close(server, "client disconnect while server was not ready", cut=client.link.streams)
            server.owner.pool.grow()
        else:
            self._free(server)

    def _introduce(self, client: ClientConnection, server: ServerConnection) -> None:
        """Record custom settings that the server may have met in a transaction that is not read back."""
        effects, touched = client.link.batch.effects, client.link.batch.touched
        names = {name for name in touched.all_names() if "." in name} if touched is not None else set()
        if effects & (Effect.CODE | Effect.CUSTOM):
            names |= self.databases.get(client.session.pool.database).custom
        server.session.meet(frozenset(names))

    @staticmethod
    def _free(server: ServerConnection) -> None:
        if server.outstanding.count or server.status != IDLE or not server.at_sync:
            server.owner.reset(server)
        else:
            server.owner.pool.release(server)

    def tick(self, now: float) -> None:
        """End logins that take too long, continue those that wait for a catalog, and release unused statements."""
        self.databases.tick(now)
        if self.forgotten != self.pools.forgotten:
            self._forget()
        for database in self.databases:
            database.shared.let_go()
        limit_s = self.settings.pool.login_timeout_s
        for client in [c for c in self.logging_in.values() if now - c.since > limit_s or self.strangers.late(c, now)]:
            if client.session.pool is not None and client.session.pool.paused:
                continue  # it waits for RESUME, or pool.wait_timeout
            client.violation(RouterError("canceling authentication due to timeout", sqlstate="57014", severity="FATAL"))

    def slow(self, client: ClientConnection, took_s: float) -> None:
        """Log a statement that took longer than log.slow_statements: without its literals, which may be secret."""
        usage = client.link.batch.verdict.usage
        where = client.link.server.owner.name
        text = usage.text.decode("utf-8", "replace")
        self.log(client, logging.WARNING, "slow statement: %.0f ms on %s: %s", took_s * 1000, where, text)

    def log(self, client: ClientConnection, level: int, text: str, *args: object) -> None:
        """Log a line about a client's connection: its id, its identity, what happened."""
        line = f"C-%d %s: {text}"  # its kind, so it has no words of the client's
        log.log(level, line, client.client_id, client.info or "-", *args)
