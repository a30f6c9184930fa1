"""How many lines of one kind (one text, whatever it is about) there may be in a second. Pure."""

from __future__ import annotations

MOST_OF_A_KIND = 50  # lines per second
MOST_KINDS = 200  # per second; all others are one kind


class Limits:
    """How many lines of each kind there were in the current second. Pure: times are passed in."""

    def __init__(self, most: int = MOST_OF_A_KIND) -> None:
        self._most = most
        self._second = 0
        self._counts: dict[str, int] = {}

    def admits(self, kind: str) -> bool:
        """Whether there is room for one more line of a kind in this second; `turn` comes first."""
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            kind = "something else"
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        return count <= self._most

    def turn(self, now: float) -> list[tuple[str, int]]:
        """Begin another second if this one is over; return the kinds of which there were too many, and how many."""
        if int(now) == self._second:
            return []
        self._second = int(now)
        missed = [(kind, count - self._most) for kind, count in self._counts.items() if count > self._most]
        self._counts.clear()
        return missed
