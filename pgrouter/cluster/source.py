"""The interface of a source, which says which members there are and which of them leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pgrouter.clock import monotonic
from pgrouter.cluster.etcd import EtcdSource
from pgrouter.cluster.patroni import PatroniSource
from pgrouter.cluster.static import StaticSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrouter.clock import Clock
    from pgrouter.cluster.health import Probe
    from pgrouter.cluster.patroni_keys import Snapshot
    from pgrouter.config.settings import Cluster
    from pgrouter.topology import ClusterView


class Source(Protocol):
    """Says who the members are and who leads. To be called in the event loop only."""

    def start(self, on_change: Callable[[], None]) -> None:
        """Start; `on_change` is called in the running loop whenever `current()` may return something new."""

    async def stop(self) -> None:
        """Stop; `on_change` is not called any more."""

    def refresh(self) -> None:
        """Update now: there are signs that the last known state is out of date."""

    def current(self, previous: ClusterView, probes: Mapping[str, Probe]) -> Snapshot | None:
        """Return what is known now; None: nothing has answered or failed yet."""


def source_of(settings: Cluster, clock: Clock = monotonic) -> Source:
    """Build the source that the settings ask for."""
    if settings.source == "etcd":
        if settings.etcd is None:
            raise ValueError("cluster.etcd is missing")
        return EtcdSource(settings.etcd, clock)
    if settings.source == "patroni":
        if settings.patroni is None:
            raise ValueError("cluster.patroni is missing")
        return PatroniSource(settings.patroni, clock)
    return StaticSource(settings.members)
