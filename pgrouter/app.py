"""The composition root: settings in, a running router out; reload, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pgrouter.admin.console import Console
from pgrouter.admin.stats import Sampler
from pgrouter.auth.users import UserStore
from pgrouter.cluster.catalogs import Catalogs
from pgrouter.cluster.monitor import Monitor
from pgrouter.cluster.refusal import Refusal
from pgrouter.config.diff import diff, taken
from pgrouter.config.load import load
from pgrouter.errors import ConfigError, RouterError, ShuttingDown
from pgrouter.notify import notify
from pgrouter.pool.manager import PoolManager
from pgrouter.proxy.databases import Databases
from pgrouter.proxy.listener import Listener
from pgrouter.proxy.reader import Reader
from pgrouter.proxy.registry import Registry
from pgrouter.proxy.timeouts import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pgrouter.config.settings import Listen, Reads, Settings
    from pgrouter.net.loop import Loop
    from pgrouter.routing.catalog import ByRole
    from pgrouter.topology import ClusterView, ReplayPoint

log = logging.getLogger("pgrouter.app")

LOOK_S = 1.0  # how long clients wait, after the process was stopped, for a look at who leads; writes wait longer
SWITCH_S = 0.0005  # how long the loop waits for a computing thread (one that judges a catalog); Python's default: 5 ms


class App:
    """One running router."""

    def __init__(self, config_path: Path, settings: Settings, loop: Loop) -> None:
        self.config_path = config_path
        self.settings = settings
        self.poller = loop.poller
        self.poller.on_bug = self._bug
        self.monitor = Monitor(settings.cluster, self._view, on_marks=self._marks)
        self.pools = PoolManager(self.poller, settings.pool, self.monitor.view, suspect=self.monitor.suspect)
        self.pools.sample = self.monitor.sample
        self.monitor.on_defaults = self.pools.defaults_changed
        self.monitor.received = self.pools.received
        self.monitor.make_room = self._make_room
        self.monitor.on_address = self.pools.found
        self._share_reads(settings.reads)
        self.catalogs = Catalogs(settings, self._catalog, lambda: self.monitor.view, self._in_use, self._watched)
        databases = Databases(settings.routing, self.catalogs.configured, self.catalogs.use, self.catalogs.changed)
        self.registry = Registry(settings, self.pools, databases, _users(settings), partial(Console.open, self))
        databases.close_unused_databases = self._close_unused_databases
        databases.late = self.poller.late
        databases.reader = self.reader = Reader(self.poller)
        databases.on_suspicion = self.catalogs.suspect
        self.sampler = Sampler(self.pools, self.poller.now)
        self.pools.each_tick = (Deadlines(self.registry).tick, self.registry.tick, self.sampler.tick)
        self.listeners: list[Listener] = []
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    # -- life

    async def start(self) -> None:
        """Discover the cluster, then listen."""
        self.listeners = [Listener(self.poller, self.registry, address) for address in addresses(self.settings.listen)]
        await self.monitor.start()
        self.poller.on_stall = self._stalled
        self.pools.apply(self.monitor.view)
        self.pools.start()
        for listener in self.listeners:
            listener.start()

    async def drain(self) -> None:
        """Stop accepting clients; close each at the end of its transaction, or after pool.drain_timeout."""
        for listener in self.listeners:
            listener.close()
        for client in list(self.registry.logging_in.values()):
            client.violation(ShuttingDown())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.pool.drain_timeout_s
        while loop.time() < deadline and not self._at_once.is_set():
            self.registry.drain()  # repeated: a transaction may end without a message from its server
            if not self.registry.clients:
                break
            await asyncio.sleep(0.05)
        for client in list(self.registry.clients.values()):
            client.violation(ShuttingDown())

    async def stop(self) -> None:
        """Close everything."""
        for listener in self.listeners:
            listener.close()
        await self.catalogs.stop()
        self.pools.stop()
        self.reader.close()
        await self.monitor.stop()

    def request_stop(self) -> None:
        """Start draining (SIGTERM, SIGINT, SHUTDOWN); a second request stops at once."""
        (self._at_once if self._stopping.is_set() else self._stopping).set()

    async def wait(self) -> None:
        """Wait until a stop is requested."""
        await self._stopping.wait()

    def reload(self) -> str:
        """Reload the file and apply what can be changed while running; return the outcome, for people."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            return self._reload()
        finally:
            notify("READY=1")

    def _reload(self) -> str:
        try:
            settings = load(self.config_path)
            users = _users(settings)
        except ConfigError as error:
            for problem in error.problems:
                log.error("reload: %s: %s", self.config_path, problem)  # noqa: TRY400  (not a bug)
            raise RouterError("the configuration was not reloaded", detail=str(error), sqlstate="F0000") from error
        changes = diff(self.settings, settings)
        for name in changes.restart:
            log.warning("reload: %s has changed, which takes a restart", name)
        settings = taken(self.settings, settings)
        self.settings = settings
        self._share_reads(settings.reads)
        self.monitor.reload(settings.cluster)
        self.registry.reload(settings, users)
        for listener in self.listeners:
            listener.tune()
        logging.getLogger("pgrouter").setLevel(settings.log.level.upper())
        log.info("configuration reloaded")
        return "RELOAD"

    # -- events

    def _catalog(self, database: str, catalog: ByRole, idle_timeout: Callable[[str], str] | None) -> None:
        self.registry.adopt(database, catalog, idle_timeout)

    def _watched(self, database: str, sign: bool) -> None:  # noqa: FBT001  (a callback)
        self.registry.databases.watched(database, self.poller.now, sign)

    def _in_use(self, database: str) -> bool:
        return self.registry.has_clients(database)

    def _make_room(self, name: str, refusal: Refusal) -> None:
        role = self.settings.cluster.monitor
        self.pools.make_room(name, role.user, role.database, same=refusal is Refusal.LIMIT)

    def _close_unused_databases(self) -> None:
        self.pools.close_unused_databases(self._in_use)
        self.catalogs.close_unused_databases()

    def _view(self, view: ClusterView) -> None:
        self.pools.apply(view)

    def _share_reads(self, reads: Reads) -> None:
        self.monitor.limit(reads)
        self.pools.share_reads(reads)

    def _marks(self, marks: Mapping[str, ReplayPoint]) -> None:
        self.pools.freshen(marks)

    def _stalled(self, gap_s: float) -> None:
        self.poller.loop.call_later(LOOK_S, self.poller.resume)
        self.monitor.look_again(gap_s, self.poller.resume)

    def _bug(self, stream: object, error: Exception) -> None:
        leave = getattr(stream, "leave", None)
        if leave is not None:
            stream.violation(RouterError("internal error", detail=type(error).__name__, severity="FATAL"))
        elif hasattr(stream, "lose"):
            stream.lose(RouterError("internal error", detail=type(error).__name__))


async def serve(config_path: Path, settings: Settings, loop: Loop) -> int:
    """Run a router in this loop until SIGTERM or SIGINT; return the exit code."""
    _raise_descriptor_limit(settings.pool.max_clients)
    sys.setswitchinterval(SWITCH_S)
    app = App(config_path, settings, loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.request_stop)
    loop.add_signal_handler(signal.SIGHUP, _reload_by_signal, app)
    await app.start()
    gc.collect()
    gc.freeze()  # these objects stay: the cycle collector, during which every client waits, need not visit them again
    for listener in app.listeners:
        host = f"[{listener.host}]" if ":" in listener.host else listener.host
        print(f"pgrouter ready: {host}:{listener.port}", flush=True)  # noqa: T201  (scripts wait for this line)
    notify("READY=1")
    await app.wait()
    notify("STOPPING=1")
    log.info("draining")
    await app.drain()
    await app.stop()
    return 0


def addresses(listen: Iterable[Listen]) -> list[Listen]:
    """Return what to listen on, with `*` (as in postgresql.conf) expanded to all addresses, IPv4 and IPv6."""
    every = ("0.0.0.0", "::") if Path("/proc/net/if_inet6").exists() else ("0.0.0.0",)  # noqa: S104  (asked for)
    return [replace(one, host=host) for one in listen for host in (every if one.host == "*" else (one.host,))]


def _raise_descriptor_limit(max_clients: int) -> None:
    """Raise the soft limit to the hard one: the usual 1024 is too low for the default number of clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < max_clients + 100:
        log.warning("only %d open files are allowed: fewer than pool.max_clients (%d) will fit", hard, max_clients)


def _users(settings: Settings) -> UserStore:
    return UserStore.load(settings.auth.users_file) if settings.auth.users_file else UserStore.empty()


def _reload_by_signal(app: App) -> None:
    try:
        app.reload()
    except RouterError as error:
        log.error("%s", error)  # noqa: TRY400  (the problems were logged)
