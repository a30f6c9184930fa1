"""The data plane of one router: listeners, clients, pools of server connections, and what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.auth.encryption import Encryption
from pgrouter.errors import RouterError
from pgrouter.net import tls
from pgrouter.net.listening import UnixSocket, every_address, tcp_socket
from pgrouter.pool.manager import PoolManager
from pgrouter.proxy.access import Access
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.databases import Databases
from pgrouter.proxy.drain import Shutdown, drain
from pgrouter.proxy.listener import Listener
from pgrouter.proxy.reader import Reader
from pgrouter.proxy.registry import Registry
from pgrouter.proxy.timeouts import Deadlines
from pgrouter.server.connection import ServerConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgrouter.auth.files import AuthFiles
    from pgrouter.config.settings import Admin, Listen, Servers, Settings
    from pgrouter.net.poller import Pollable, Poller
    from pgrouter.planes import ControlPlane
    from pgrouter.routing.catalog import ByRole
    from pgrouter.topology import ClusterView

LOOK_S = 1.0  # how long clients wait, after the process was stopped, for a look at who leads; writes wait longer


class DataPlane:
    """Serves clients, by what the control plane says."""

    def __init__(  # noqa: PLR0913  (what the composition root joins)
        self,
        poller: Poller,
        settings: Settings,
        control: ControlPlane,
        open_console: Callable[[ClientConnection], None],
        *,
        witness: Callable[[ClusterView], None] = lambda _: None,
        pool_shows: Callable[[Sequence[str], str, str, Admin], str] | None = None,
    ) -> None:
        self.poller = poller
        self.settings = settings
        self._control = control
        cluster = control.monitor
        self._reader = Reader(poller)
        self.pools = PoolManager(
            poller, settings.pool, cluster.view, suspect=cluster.suspect, sample=cluster.sample, witness=witness
        )
        self.pools.encryption = _encryption(settings.servers)
        self.pools.share_reads(settings.reads)
        databases = Databases(
            settings.routing,
            control.catalogs,
            close_unused_databases=self._close_unused_databases,
            late=poller.late,
            reader=self._reader,
        )
        self._access = Access(control.files, control.roles)
        self.registry = Registry(settings, self.pools, databases, self._access, open_console, pool_shows)
        self._unix_sockets: list[UnixSocket] = []
        self._listeners = [(number, one) for number, entry in enumerate(settings.listen) for one in self._open(entry)]
        self._protect(settings.listen)

    # -- life

    def start(self, *ticks: Callable[[float], None]) -> list[str]:
        """Listen, and call `ticks` with the time ten times a second; return the addresses, as HOST:PORT."""
        self.pools.start(Deadlines(self.registry).tick, self.registry.tick, *ticks)
        self.poller.on_stall = self._stalled
        for _, listener in self._listeners:
            listener.start()
        return [listener.name for _, listener in self._listeners]

    def reload(self, settings: Settings, files: AuthFiles) -> None:
        """Apply what a running router can change, all of it or nothing.

        Raises:
            ConfigError: a certificate cannot be used.

        """
        encryption = _encryption(settings.servers)
        self._protect(settings.listen)
        self.pools.encryption = encryption
        self.settings = settings
        self.pools.share_reads(settings.reads)
        self._access.reload(files)
        self.registry.reload(settings)
        for _, listener in self._listeners:
            listener.tune()

    async def drain(self, how: Callable[[], Shutdown]) -> None:
        """Stop accepting clients, and wait for those there are, see `proxy.drain`.

        Unix sockets stay open as in PgBouncer, for the console.
        """
        self.pools.pauses.closing = True
        unix = {str(unix_socket.path) for unix_socket in self._unix_sockets}
        for _, listener in self._listeners:
            if listener.name not in unix:
                listener.close()
        await drain(self.registry, how, self.settings.pool.drain_timeout_s)

    def stop(self) -> None:
        """Close every connection."""
        self._close_listeners()
        self._access.close()
        self.pools.stop()
        self._reader.close()

    # -- listeners

    def _open(self, listen: Listen) -> Iterator[Listener]:
        """Listen at every address of an entry."""
        if listen.unix is not None:
            unix_socket = UnixSocket(listen.unix, listen.port, int(listen.unix_mode, 8))
            self._unix_sockets.append(unix_socket)
            yield Listener(self.poller, self.registry, listen, unix_socket.sock)
            return
        for address in every_address(listen.host, listen.port):
            yield Listener(self.poller, self.registry, listen, tcp_socket(address, listen.port))

    def _protect(self, listen: Sequence[Listen]) -> None:
        """Read the certificates of all listeners, and use them from now on."""
        contexts = [
            tls.for_clients(entry.tls, f"listen[{number}].tls") if entry.tls.in_force() != "disable" else None
            for number, entry in enumerate(listen)
        ]
        for number, listener in self._listeners:
            listener.protect(listen[number].tls.in_force(), contexts[number])

    def _close_listeners(self) -> None:
        for _, listener in self._listeners:
            listener.close()
        for unix_socket in self._unix_sockets:
            unix_socket.close()

    # -- what the control plane tells it (planes.CatalogSubscriber; the pools are its ClusterSubscriber)

    def adopt(self, database: str, catalog: ByRole, idle_timeout: Callable[[str], str] | None) -> None:
        """Classify by this catalog from now on; see `planes.CatalogSubscriber`."""
        self.registry.adopt(database, catalog, idle_timeout)

    def watched(self, database: str, *, sign: bool) -> None:
        """Called when a catalog has been checked; `sign`: there may have been DDL."""
        self.registry.databases.watched(database, self.poller.now, sign=sign)

    def in_use(self, database: str) -> bool:
        """Whether a database has clients, and is not paused."""
        return not self.pools.pauses.covers(database) and bool(self.registry.has_clients(database))

    # -- events

    def _close_unused_databases(self) -> None:
        self.pools.close_unused_databases(self.in_use)
        self._control.catalogs.close_unused_databases()

    def _stalled(self, gap_s: float) -> None:
        self.poller.loop.call_later(LOOK_S, self.poller.resume)
        self._control.monitor.look_again(gap_s, self.poller.resume)


def _encryption(servers: Servers) -> Encryption:
    """Return how servers are connected to; certificates are read now."""
    context = None if servers.tls.mode == "disable" else tls.for_servers(servers.tls)
    direct = servers.tls.negotiation == "direct"
    return Encryption(servers.tls.mode, context, servers.require_auth, direct=direct)


def bug(stream: Pollable, error: Exception) -> None:
    """Report a bug in the handler of a connection to its peer; the poller closes it afterwards."""
    if isinstance(stream, ClientConnection):
        stream.violation(RouterError("internal error", detail=type(error).__name__, severity="FATAL"))
    elif isinstance(stream, ServerConnection):
        stream.lose(RouterError("internal error", detail=type(error).__name__))
