"""Server-sent events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pgrouter.admin.history import Event

PING = b": still here\n\n"
RETRY = b"retry: 2000\n\n"  # milliseconds until a client that was cut connects again


def told(event: Event) -> bytes:
    """Return an event of the router's history as it is sent."""
    time = datetime.fromtimestamp(event.wall, UTC).isoformat(timespec="milliseconds")
    return sent(event.kind, {"time": time, "text": event.text} | event.data, event.number)


def sent(kind: str, data: object, number: int | None = None) -> bytes:
    """Return an event as it is sent; JSON has no line breaks."""
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
