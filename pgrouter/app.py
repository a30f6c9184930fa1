"""The composition root: settings in, a running router out, which is two planes joined; reload, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from pgrouter.admin.console import Console
from pgrouter.admin.history import History
from pgrouter.admin.stats import Sampler
from pgrouter.auth.files import AuthFiles
from pgrouter.config.diff import diff, taken, told
from pgrouter.control.plane import ControlPlane
from pgrouter.errors import ConfigError, RouterError
from pgrouter.http.server import HttpServer
from pgrouter.net.loop import Loop
from pgrouter.notify import Watchdog, notify
from pgrouter.pcp.commands import Commands
from pgrouter.pcp.server import PcpServer
from pgrouter.pcp.shows import Shows
from pgrouter.pcp.status import Status
from pgrouter.proxy.data_plane import DataPlane, bug
from pgrouter.proxy.drain import Shutdown
from pgrouter.proxy.operator import Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrouter.config.load import Source
    from pgrouter.config.settings import Settings
    from pgrouter.logs import handler as logs

log = logging.getLogger("pgrouter.app")
main_log = logging.getLogger("pgrouter")  # the last line is the program's

SWITCH_S = 0.0005  # how long the loop waits for a computing thread (one that judges a catalog); Python's default: 5 ms


MODES = {"s": Shutdown.CLIENTS, "f": Shutdown.SERVERS, "i": Shutdown.NOW}  # smart, fast, immediate; of pcp_stop_pgpool


class App:
    """One running router."""

    def __init__(self, source: Source, settings: Settings, loop: Loop, handler: logs.Handler) -> None:
        """Build everything; `handler` writes the log, and may be told to write it elsewhere."""
        self.source = source
        self._handler = handler
        self.settings = settings
        self.poller = loop.poller
        self._control = ControlPlane(settings)
        self.history = History(self._control.monitor.view, loop.poller.clock, self._errors)
        self._status = Status(self)
        self._shows = Shows(self._status)
        self._data = DataPlane(
            loop.poller,
            settings,
            self._control,
            partial(Console.open, self),
            witness=self.history.follow,
            pool_shows=self._shows.sql,
        )
        # What the console shows.
        self.monitor = self._control.monitor
        self.pools = self._data.pools
        self.registry = self._data.registry
        self.sampler = Sampler(self.pools, self.poller.now)
        self._http = HttpServer(self, settings.http)
        self.operator = Operator(self.registry, self.history.note)
        self._pcp = PcpServer(
            self.poller,
            settings.pcp,
            Commands(self, self._status, self._stop_by, settings.pcp.version if settings.pcp else ""),
        )
        self._stopping = asyncio.Event()
        self._shutdown = Shutdown.SERVERS

    async def start(self, *ticks: Callable[[float], None]) -> list[str]:
        """Discover the cluster, then listen, calling `ticks` ten times a second; return the addresses, as HOST:PORT."""
        for address in self._http.start():  # first: it can tell that the router is not ready yet
            log.info("http: listens on %s", address)
        await self._control.start(self.pools, self._data)
        self._pcp.start()
        return self._data.start(self.sampler.tick, self._status.history.tick, self._http.tick, self._pcp.tick, *ticks)

    def _errors(self) -> Mapping[tuple[str, str], int]:
        return dict(self.registry.errors.counts)

    async def drain(self) -> None:
        """Stop accepting clients, and wait for those there are as was asked for."""
        await self._data.drain(lambda: self._shutdown)

    async def stop(self) -> None:
        """Close everything."""
        self._pcp.stop()
        self._data.stop()
        self._http.stop()
        await self._control.stop()

    def request_stop(self, how: Shutdown = Shutdown.SERVERS) -> None:
        """Start to stop (a signal); a second request stops at once."""
        self.shut_down(Shutdown.NOW if self.stopping else how)

    def shut_down(self, how: Shutdown) -> None:
        """Start to stop, in this way from now on; a later request may change it."""
        self._shutdown = how
        self.history.note("shutdown", _SHUTDOWN[how])
        self._stopping.set()

    def _stop_by(self, mode: str) -> None:
        """Stop as pcp_stop_pgpool asks."""
        self.request_stop(MODES[mode])

    @property
    def stopping(self) -> bool:
        """Whether a stop has been requested."""
        return self._stopping.is_set()

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
            settings = self.source.load()
            files = AuthFiles.load(settings.auth)
        except ConfigError as error:
            raise self._not_reloaded(error) from error
        changes = diff(self.settings, settings)
        for path in changes.restart:
            log.warning("reload: %s: %s takes a restart", path, told(self.settings, settings, path))
        settings, before = taken(self.settings, settings), self.settings
        try:
            self._apply(settings, files)
        except ConfigError as error:
            raise self._not_reloaded(error) from error
        for path in changes.now:
            log.info("reload: %s: %s", path, told(before, settings, path))
        log.info("configuration reloaded")
        self.history.note("reload", f"configuration reloaded: {', '.join(changes.now) or 'nothing has changed'}")
        return "RELOAD"

    def _apply(self, settings: Settings, files: AuthFiles) -> None:
        with self._handler.reloading(settings.log), self._http.reloading(settings.http):
            self._pcp.reload(settings.pcp)
            self._data.reload(settings, files)
        self._control.reload(settings, files)
        self.settings = settings
        logging.getLogger("pgrouter").setLevel(settings.log.level.upper())

    def change(self, key: str, value: str, name: str) -> None:
        """Change one setting until the next reload (SET on the console, which calls it `name`).

        Raises:
            RouterError: 42704, there is no such setting; 55P02, it takes a restart.
            ConfigError: the value cannot be used.

        """
        settings = taken(self.settings, self.source.changed(self.settings, key, value, name))
        same = settings.auth == self.settings.auth
        self._apply(settings, self._control.files if same else AuthFiles.load(settings.auth))
        log.info("%s is %s until the next reload", key, value)
        self.history.note("set", f"{key} = {value}")

    def _not_reloaded(self, error: ConfigError) -> RouterError:
        for problem in error.problems:
            log.error("reload: %s: %s", self.source.name, problem)
        self.history.note("reload", f"the configuration was not reloaded: {error.problems[0]}")
        return RouterError("the configuration was not reloaded", detail=str(error), sqlstate="F0000")


_SHUTDOWN = {
    Shutdown.NOW: "at once",
    Shutdown.SERVERS: "at the end of transactions, or after pool.drain_timeout",
    Shutdown.CLIENTS: "when all clients have left",
}

SIGNALS: Mapping[signal.Signals, Callable[[App], None]] = {
    signal.SIGTERM: App.request_stop,
    signal.SIGINT: App.request_stop,
}


async def serve(
    source: Source,
    settings: Settings,
    loop: Loop,
    handler: logs.Handler,
    *ticks: Callable[[float], None],
    signals: Mapping[signal.Signals, Callable[[App], None]] = SIGNALS,
) -> int:
    """Run a router in this loop until one of `signals`; return the exit code. The log is written by `handler`."""
    _raise_descriptor_limit(settings.pool.max_clients)
    sys.setswitchinterval(SWITCH_S)
    app = App(source, settings, loop, handler)
    for number, act in signals.items():
        loop.add_signal_handler(number, act, app)
    loop.add_signal_handler(signal.SIGHUP, _reload_by_signal, app)
    addresses = await app.start(handler.tick, Watchdog().tick, *ticks)
    gc.collect()
    gc.freeze()  # these objects stay: the cycle collector, during which every client waits, need not visit them again
    for address in addresses:
        print(f"pgrouter ready: {address}", flush=True)  # noqa: T201  (scripts wait for this line)
    notify("READY=1")
    await app.wait()
    notify("STOPPING=1")
    log.info("draining")
    await app.drain()
    await app.stop()
    return 0


def run(
    source: Source,
    settings: Settings,
    handler: logs.Handler,
    *ticks: Callable[[float], None],
    signals: Mapping[signal.Signals, Callable[[App], None]] = SIGNALS,
) -> int:
    """Run a router in a loop of its own, as `serve` does; return the exit code, 1 if it cannot go on."""
    loop = Loop(on_bug=bug)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            code = runner.run(serve(source, settings, loop, handler, *ticks, signals=signals))
    except (OSError, RouterError) as error:
        main_log.critical("cannot go on: %s", error)
        return 1
    main_log.info("stopped")
    return code


def _raise_descriptor_limit(max_clients: int) -> None:
    """Raise the soft limit to the hard one: the usual 1024 is too low for the default number of clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < max_clients + 100:
        log.warning("only %d open files are allowed: fewer than pool.max_clients (%d) will fit", hard, max_clients)


def _reload_by_signal(app: App) -> None:
    try:
        app.reload()
    except RouterError as error:
        log.error("%s", error)  # noqa: TRY400  (the problems were logged)
