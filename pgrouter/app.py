"""The composition root: settings in, a running router out, which is two planes joined; reload, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
import time
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from pgrouter.admin.console import Console
from pgrouter.admin.stats import Sampler
from pgrouter.auth.files import AuthFiles
from pgrouter.config.diff import diff, taken
from pgrouter.control.plane import ControlPlane
from pgrouter.errors import ConfigError, RouterError
from pgrouter.notify import notify
from pgrouter.pcp.commands import Commands
from pgrouter.pcp.server import PcpServer
from pgrouter.pcp.shows import Shows
from pgrouter.pcp.status import Status
from pgrouter.proxy.data_plane import DataPlane

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrouter.config.load import Source
    from pgrouter.config.settings import Settings
    from pgrouter.net.loop import Loop

log = logging.getLogger("pgrouter.app")

SWITCH_S = 0.0005  # how long the loop waits for a computing thread (one that judges a catalog); Python's default: 5 ms


class Stop(Enum):
    """What a router that stops waits for."""

    TRANSACTIONS = auto()  # each client goes at the end of its transaction, or after pool.drain_timeout
    CLIENTS = auto()  # until the last of them has left
    NOTHING = auto()


MODES = {"s": Stop.CLIENTS, "f": Stop.TRANSACTIONS, "i": Stop.NOTHING}  # smart, fast, immediate
SIGNALS = {signal.SIGTERM: Stop.TRANSACTIONS, signal.SIGINT: Stop.TRANSACTIONS}


class App:
    """One running router."""

    def __init__(self, source: Source, settings: Settings, loop: Loop) -> None:
        self.source = source
        self.settings = settings
        self.poller = loop.poller
        self._control = ControlPlane(settings)
        self._status = Status(self)
        self._shows = Shows(self._status)
        self._data = DataPlane(loop.poller, settings, self._control, partial(Console.open, self), self._shows.sql)
        # What the console shows.
        self.monitor = self._control.monitor
        self.pools = self._data.pools
        self.registry = self._data.registry
        self.sampler = Sampler(self.pools, self.poller.now)
        self._pcp = PcpServer(
            self.poller,
            settings.pcp,
            Commands(self, self._status, self._stop_by, settings.pcp.version if settings.pcp else ""),
        )
        self._stop = Stop.TRANSACTIONS
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    async def start(self, *ticks: Callable[[float], None]) -> list[str]:
        """Discover the cluster, then listen, calling `ticks` ten times a second; return the addresses, as HOST:PORT."""
        await self._control.start(self.pools, self._data)
        self._pcp.start()
        return self._data.start(self.sampler.tick, self._status.history.tick, self._pcp.tick, *ticks)

    async def drain(self) -> None:
        """Stop accepting clients, and wait for what `request_stop` was asked for."""
        if self._stop is Stop.CLIENTS:
            await self._data.wait_empty(self._at_once)
        await self._data.drain(self._at_once)

    async def stop(self) -> None:
        """Close everything."""
        self._pcp.stop()
        self._data.stop()
        await self._control.stop()

    def request_stop(self, how: Stop = Stop.TRANSACTIONS) -> None:
        """Start draining (SIGTERM, SIGINT, SHUTDOWN); a second request stops at once."""
        if self._stopping.is_set() or how is Stop.NOTHING:
            self._at_once.set()
        else:
            self._stop = how
        self._stopping.set()

    def _stop_by(self, mode: str) -> None:
        """Stop as pcp_stop_pgpool asks."""
        self.request_stop(MODES[mode])

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
        for name in changes.restart:
            log.warning("reload: %s has changed, which takes a restart", name)
        settings = taken(self.settings, settings)
        try:
            self._pcp.reload(settings.pcp)
            self._data.reload(settings, files)
        except ConfigError as error:
            raise self._not_reloaded(error) from error
        self._control.reload(settings, files)
        self.settings = settings
        logging.getLogger("pgrouter").setLevel(settings.log.level.upper())
        log.info("configuration reloaded")
        return "RELOAD"

    def _not_reloaded(self, error: ConfigError) -> RouterError:
        for problem in error.problems:
            log.error("reload: %s: %s", self.source.name, problem)
        return RouterError("the configuration was not reloaded", detail=str(error), sqlstate="F0000")


async def serve(
    source: Source,
    settings: Settings,
    loop: Loop,
    *ticks: Callable[[float], None],
    signals: Mapping[signal.Signals, Stop] = SIGNALS,
) -> int:
    """Run a router in this loop until one of `signals`; return the exit code. `ticks` are called as in `App.start`."""
    _raise_descriptor_limit(settings.pool.max_clients)
    sys.setswitchinterval(SWITCH_S)
    app = App(source, settings, loop)
    for number, how in signals.items():
        loop.add_signal_handler(number, app.request_stop, how)
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
