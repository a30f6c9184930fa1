"""Time as an argument, so that tests own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that never go back; the zero point is arbitrary."""

    def __call__(self) -> float:
        """Return the current time, in seconds."""


monotonic: Clock = time.monotonic
wall: Clock = time.time  # Unix time, which may be set back: only to interpret timestamps written by others
