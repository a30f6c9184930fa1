"""The last events, for people: who led when, who came and went, what an operator did, and how long writes were held."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from pgrouter.topology import ClusterView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgrouter.topology import Member

KEPT = 1000
LONGEST = 500  # characters of a text: reasons contain words of servers


class Event(NamedTuple):
    """One event; the kinds are those of `changes`, and the operator's: reload, set, pause, resume, kill ..."""

    number: int  # 1 for the first since the start
    at: float  # seconds since 1970
    kind: str
    member: str
    text: str
    held_s: float | None  # how long writes had been held, of the event that ended it


def changes(old: ClusterView, new: ClusterView) -> Iterator[tuple[str, str, str]]:
    """Yield kind, member and text of what a new view changes, the most important first. Pure."""
    if old.leader != new.leader:
        yield "leader", new.leader or "", f"leader {old.leader or 'none'} -> {new.leader or 'none'}"
    if old.primary != new.primary:
        why = new.no_primary if new.primary is None else f"writes go to {new.primary}"
        yield "primary", new.primary or "", f"primary {old.primary or 'none'} -> {new.primary or 'none'}: {why}"
    for member in new.members:
        yield from _of_member(old.member(member.name), member, new)
    for member in old.members:
        if new.member(member.name) is None:
            yield "member", member.name, "left"
    if old.dcs_reachable != new.dcs_reachable:
        yield "dcs", "", "reachable again" if new.dcs_reachable else "not reachable"
    if old.paused != new.paused:
        yield "cluster", "", "paused (maintenance mode)" if new.paused else "no longer paused"
    if old.standby != new.standby:
        yield "cluster", "", "follows another cluster" if new.standby else "no longer follows another cluster"


def _of_member(old: Member | None, new: Member, view: ClusterView) -> Iterator[tuple[str, str, str]]:
    if old is None:
        yield "member", new.name, f"joined at {new.host}:{new.port}"
    elif (old.host, old.port) != (new.host, new.port):
        yield "member", new.name, f"moved to {new.host}:{new.port}"
    if (old is not None and old.readable) != new.readable and view.primary != new.name:
        yield "reads", new.name, "gets reads" if new.readable else f"gets no reads: {new.reason}"


class EventLog:
    """A ring of the last events."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._view = ClusterView()
        self._held_since: float | None = clock()
        self._number = 0

    def __iter__(self) -> Iterator[Event]:
        return iter(tuple(self._events))

    @property
    def last(self) -> int:
        """Return the number of the newest event; 0: there is none."""
        return self._number

    def note(self, kind: str, text: str, member: str = "", held_s: float | None = None) -> None:
        """Record an event."""
        self._number += 1
        self._events.append(Event(self._number, self._wall(), kind, member, text[:LONGEST], held_s))

    def follow(self, view: ClusterView) -> None:
        """Record what a new view of the cluster changes."""
        before, self._view = self._view, view
        for kind, member, text in changes(before, view):
            held_s = None
            if kind == "primary" and view.primary is not None and self._held_since is not None:
                held_s = self._clock() - self._held_since
            self.note(kind, text, member, held_s)
        if view.primary is not None:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = self._clock()
