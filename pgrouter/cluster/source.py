"""What the monitor expects of a source: who says which members there are and which of them leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrouter.cluster.health import Probe
    from pgrouter.cluster.patroni_keys import Snapshot
    from pgrouter.topology import ClusterView


class Source(Protocol):
    """Says who the members are and who leads. Called in the event loop only."""

    def start(self, on_change: Callable[[], None]) -> None:
        """Begin to listen; `on_change` is called in the running loop whenever `current()` may give something new."""

    async def stop(self) -> None:
        """Stop listening; `on_change` is not called any more."""

    def refresh(self) -> None:
        """Ask again now: something looks as if what was last heard is old."""

    def current(self, previous: ClusterView, probes: Mapping[str, Probe]) -> Snapshot | None:
        """Return what is known now; None: nothing has been heard yet and nothing has failed yet."""
