"""What has happened to the cluster, as server-sent events: pure, and bounded."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.topology import ClusterView, Member

KEPT = 100  # events that a new client is told
PING = b": still here\n\n"
RETRY = b"retry: 2000\n\n"  # milliseconds until a client that was cut connects again


class Event(NamedTuple):
    """One event: its kind, and what is told with it."""

    kind: str  # leader, primary, member
    data: dict[str, Any]


class History:
    """The last events of one router, and the view that they have led to."""

    def __init__(self, view: ClusterView, now: float) -> None:
        self._view = view
        self._since_s = now  # since when there is this primary, or none
        self._number = 0
        self._kept: deque[bytes] = deque(maxlen=KEPT)

    def follow(self, view: ClusterView, now: float, wall: float) -> list[bytes]:
        """Take in a view; return the events that are new, as they are sent."""
        if view is self._view:
            return []
        before, self._view = self._view, view
        if view.number == before.number:
            return []
        time = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
        new: list[bytes] = []
        for event in changes(before, view):
            told = {"time": time, **event.data}
            if event.kind == "primary":
                told["after_seconds"] = round(now - self._since_s, 3)
                self._since_s = now
            self._number += 1
            new.append(sent(event.kind, told, self._number))
        self._kept += new
        return new

    def kept(self) -> bytes:
        """Return what a new client is told."""
        return RETRY + b"".join(self._kept)


def changes(before: ClusterView, after: ClusterView) -> Iterator[Event]:
    """Yield what is different in a view."""
    if before.leader != after.leader:
        yield Event("leader", {"from": before.leader, "to": after.leader})
    if before.primary != after.primary:
        yield Event("primary", {"from": before.primary, "to": after.primary, "reason": after.no_primary})
    for member in after.members:
        old = before.member(member.name)
        if old is None or _shown(old) != _shown(member):
            yield Event("member", {"name": member.name} | _shown(member))
    for member in before.members:
        if after.member(member.name) is None:
            yield Event("member", {"name": member.name, "reports": "gone", "readable": False, "reason": "it has left"})


def _shown(member: Member) -> dict[str, Any]:
    return {
        "reports": str(member.role),
        "state": member.state,
        "writable": member.writable,
        "readable": member.readable,
        "reason": member.reason,
    }


def sent(kind: str, data: object, number: int | None = None) -> bytes:
    """Return an event as it is sent; JSON has no line breaks."""
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
