"""How often the leader has changed, and for how long there was no primary. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgrouter.topology import ClusterView


class Reigns:
    """What the views of one router add up to; times are those of the monitor's clock."""

    def __init__(self, now: float) -> None:
        self.changes = 0  # another member than the last leader was named
        self._vacant_since: float | None = now  # there is no primary, and writes are held
        self._vacant_s = 0.0

    def follow(self, before: ClusterView, view: ClusterView, now: float) -> None:
        """Take in a new view."""
        if view.leader is not None and before.last_leader not in (None, view.leader):
            self.changes += 1
        if view.primary is None and self._vacant_since is None:
            self._vacant_since = now
        elif view.primary is not None and self._vacant_since is not None:
            self._vacant_s += now - self._vacant_since
            self._vacant_since = None

    def vacant_s(self, now: float) -> float:
        """Return for how long, in all, there was no primary."""
        return self._vacant_s + (0.0 if self._vacant_since is None else now - self._vacant_since)
