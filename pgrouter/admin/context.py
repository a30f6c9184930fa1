"""What a console command sees: the router's objects at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pgrouter.admin.events import EventLog
    from pgrouter.admin.stats import Sampler
    from pgrouter.cluster.monitor import Monitor
    from pgrouter.net.poller import Poller
    from pgrouter.pool.manager import PoolManager
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.proxy.drain import Shutdown
    from pgrouter.proxy.operator import Operator
    from pgrouter.proxy.registry import Registry


class App(Protocol):
    """What the console needs of the application."""

    poller: Poller
    monitor: Monitor
    pools: PoolManager
    registry: Registry
    operator: Operator
    sampler: Sampler
    events: EventLog

    def reload(self) -> str:
        """Reload the configuration file.

        Raises:
            RouterError: F0000, it has errors; nothing has changed.

        """

    def change(self, key: str, value: str) -> None:
        """Change one setting until the next reload.

        Raises:
            RouterError: there is no such setting, or it takes a restart.
            ConfigError: the value cannot be used.

        """

    @property
    def stopping(self) -> bool:
        """Whether a stop has been requested."""

    def shut_down(self, how: Shutdown) -> None:
        """Start to stop, in this way from now on."""


@dataclass(frozen=True, slots=True)
class Context:
    """The router, the console client that runs the command, and the current time on both clocks."""

    app: App
    client: ClientConnection | None
    now: float  # the poller's clock, monotonic seconds, as in the timestamps of connections
    wall: float  # the same moment in seconds since 1970

    def time(self, at: float) -> str:
        """Return a time of the poller's clock in human-readable form."""
        moment = datetime.fromtimestamp(int(self.wall - (self.now - at)), UTC)
        return f"{moment.replace(tzinfo=None)} UTC"
