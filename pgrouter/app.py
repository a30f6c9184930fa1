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
from pgrouter.admin.events import EventLog
from pgrouter.admin.stats import Sampler
from pgrouter.auth.files import AuthFiles
from pgrouter.config.change import changed
from pgrouter.config.diff import diff, taken
from pgrouter.config.load import load
from pgrouter.control.plane import ControlPlane
from pgrouter.errors import ConfigError, RouterError
from pgrouter.notify import notify
from pgrouter.proxy.data_plane import DataPlane
from pgrouter.proxy.drain import Shutdown
from pgrouter.proxy.operator import Operator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgrouter.config.diff import Changes
    from pgrouter.config.settings import Settings
    from pgrouter.net.loop import Loop

log = logging.getLogger("pgrouter.app")

SWITCH_S = 0.0005  # how long the loop waits for a computing thread (one that judges a catalog); Python's default: 5 ms


class App:
    """One running router."""

    def __init__(self, config_path: Path, settings: Settings, loop: Loop) -> None:
        self.config_path = config_path
        self.settings = settings
        self.poller = loop.poller
        self._control = ControlPlane(settings)
        self.events = EventLog(loop.poller.clock)
        self._data = DataPlane(
            loop.poller, settings, self._control, partial(Console.open, self), witness=self.events.follow
        )
        # What the console shows.
        self.monitor = self._control.monitor
        self.pools = self._data.pools
        self.registry = self._data.registry
        self.sampler = Sampler(self.pools, self.poller.now)
        self.operator = Operator(self.registry, self.events.note)
        self._stopping = asyncio.Event()
        self._shutdown = Shutdown.SERVERS

    async def start(self, *ticks: Callable[[float], None]) -> list[str]:
        """Discover the cluster, then listen, calling `ticks` ten times a second; return the addresses, as HOST:PORT."""
        await self._control.start(self.pools, self._data)
        return self._data.start(self.sampler.tick, *ticks)

    async def drain(self) -> None:
        """Stop accepting clients, and wait for those there are as was asked for."""
        await self._data.drain(lambda: self._shutdown)

    async def stop(self) -> None:
        """Close everything."""
        self._data.stop()
        await self._control.stop()

    def request_stop(self) -> None:
        """Start draining (SIGTERM, SIGINT); a second request stops at once."""
        self.shut_down(Shutdown.NOW if self.stopping else Shutdown.SERVERS)

    def shut_down(self, how: Shutdown) -> None:
        """Start to stop, in this way from now on; a later request may change it."""
        self._shutdown = how
        self.events.note("shutdown", _SHUTDOWN[how])
        self._stopping.set()

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
            settings = load(self.config_path)
            files = AuthFiles.load(settings.auth)
        except ConfigError as error:
            raise self._not_reloaded(error) from error
        changes = diff(self.settings, settings)
        for name in changes.restart:
            log.warning("reload: %s has changed, which takes a restart", name)
        try:
            self._apply(taken(self.settings, settings), files)
        except ConfigError as error:
            raise self._not_reloaded(error) from error
        log.info("configuration reloaded")
        self.events.note("reload", _told(changes))
        return "RELOAD"

    def _apply(self, settings: Settings, files: AuthFiles) -> None:
        self._data.reload(settings, files)
        self._control.reload(settings, files)
        self.settings = settings
        logging.getLogger("pgrouter").setLevel(settings.log.level.upper())

    def change(self, key: str, value: str) -> None:
        """Change one setting until the next reload (SET on the console).

        Raises:
            RouterError: 42704, there is no such setting; 55P02, it takes a restart.
            ConfigError: the value cannot be used.

        """
        settings = changed(self.settings, key, value, self.config_path.parent.absolute())
        self._apply(settings, AuthFiles.load(settings.auth) if key.startswith("auth.") else self._control.files)
        log.info("%s is %s until the next reload", key, value)
        self.events.note("set", f"{key} = {value}")

    def _not_reloaded(self, error: ConfigError) -> RouterError:
        for problem in error.problems:
            log.error("reload: %s: %s", self.config_path, problem)
        return RouterError("the configuration was not reloaded", detail=str(error), sqlstate="F0000")


_SHUTDOWN = {
    Shutdown.NOW: "at once",
    Shutdown.SERVERS: "at the end of transactions, or pool.drain_timeout",
    Shutdown.CLIENTS: "when all clients have left",
}


def _told(changes: Changes) -> str:
    """Return what a reload has changed, for people."""
    parts = [(changes.now, ""), (changes.restart, " after a restart")]
    return ", ".join(f"{name}{when}" for names, when in parts for name in names) or "nothing has changed"


async def serve(config_path: Path, settings: Settings, loop: Loop, *ticks: Callable[[float], None]) -> int:
    """Run a router in this loop until SIGTERM or SIGINT; return the exit code. `ticks` are called as in `App.start`."""
    _raise_descriptor_limit(settings.pool.max_clients)
    sys.setswitchinterval(SWITCH_S)
    app = App(config_path, settings, loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.request_stop)
    loop.add_signal_handler(signal.SIGHUP, _reload_by_signal, app)
    addresses = await app.start(*ticks)
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
