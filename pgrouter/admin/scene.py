"""What a console command sees: the router's objects at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgrouter.app import App
    from pgrouter.proxy.client import ClientConnection


@dataclass(frozen=True, slots=True)
class Scene:
    """The router, the console's client that asks, and the moment on both clocks."""

    app: App
    client: ClientConnection | None
    now: float  # the poller's clock, monotonic seconds: what connections are stamped with
    wall: float  # the same moment in seconds since 1970

    def time(self, at: float) -> str:
        """Give a moment of the poller's clock as people read it."""
        moment = datetime.fromtimestamp(int(self.wall - (self.now - at)), UTC)
        return f"{moment.replace(tzinfo=None)} UTC"
