"""What has happened to the cluster and to this router: for SHOW EVENTS, `pgrouter events` and the page. Bounded."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgrouter.topology import ClusterView, Member

KEPT = 200
LONGEST = 500  # characters of a text


class Event(NamedTuple):
    """One event."""

    number: int  # from 1 on
    wall: float  # seconds since 1970
    kind: str  # leader, primary, member; reload, pause ...
    member: str  # that it is about, or ""
    text: str  # for people
    seconds: float | None  # primary: for how long there had been this one, or none
    data: dict[str, Any]  # for programs


class History:
    """The last events of one router, and the view that they have led to."""

    def __init__(
        self,
        view: ClusterView,
        clock: Callable[[], float],
        errors: Callable[[], Mapping[tuple[str, str], int]] = dict,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Begin with a view; `errors` returns how many errors clients have got, by source and SQLSTATE."""
        self._view = view
        self._clock, self._wall = clock, wall
        self._errors = errors
        self._since_s = clock()  # since when there is this primary, or none
        self._seen: Counter[tuple[str, str]] = Counter()  # errors up to then
        self.last = 0  # the number of the newest one
        self.kept: deque[Event] = deque(maxlen=KEPT)

    def follow(self, view: ClusterView) -> None:
        """Take in a view."""
        before, self._view = self._view, view
        if view.number == before.number:
            return
        for kind, member, data in changes(before, view):
            seconds = None
            if kind == "primary":
                now = self._clock()
                seconds = data["after_seconds"] = round(now - self._since_s, 3)
                data["errors"] = self._new_errors()
                self._since_s = now
            self._add(Event(0, self._wall(), kind, member, _text(kind, data), seconds, data))

    def note(self, kind: str, text: str) -> None:
        """Add something else that has happened: `reload`, `pause` ..."""
        self._add(Event(0, self._wall(), kind, "", text[:LONGEST], None, {}))

    def since(self, number: int) -> list[Event]:
        """Return the events after the one with this number."""
        return [event for event in self.kept if event.number > number]

    def _add(self, event: Event) -> None:
        self.last += 1
        self.kept.append(event._replace(number=self.last))

    def _new_errors(self) -> dict[str, int]:
        """Return the errors that clients got since the last change of the primary, by SQLSTATE."""
        now = Counter(self._errors())
        new, self._seen = now - self._seen, now
        found: Counter[str] = Counter()
        for (_source, sqlstate), count in new.items():
            found[sqlstate] += count
        return dict(found)


def changes(before: ClusterView, after: ClusterView) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield what is different in a view: kind, member, data."""
    if before.leader != after.leader:
        yield "leader", after.leader or "", {"from": before.leader, "to": after.leader}
    if before.primary != after.primary:
        data = {"from": before.primary, "to": after.primary, "reason": after.no_primary}
        yield "primary", after.primary or before.primary or "", data
    for member in after.members:
        old = before.member(member.name)
        if old is None or _shown(old) != _shown(member):
            yield "member", member.name, {"name": member.name} | _shown(member)
    for member in before.members:
        if after.member(member.name) is None:
            gone = {"reports": "gone", "state": "", "writable": False, "readable": False, "reason": "it has left"}
            yield "member", member.name, {"name": member.name} | gone

    if before.dcs_reachable != after.dcs_reachable:
        yield "dcs", "", {"reachable": after.dcs_reachable}
    if before.paused != after.paused:
        yield "maintenance", "", {"paused": after.paused}


def _shown(member: Member) -> dict[str, Any]:
    return {
        "reports": str(member.role),
        "state": member.state,
        "writable": member.writable,
        "readable": member.readable,
        "reason": member.reason,
    }


def _text(kind: str, data: dict[str, Any]) -> str:
    return _TEXTS[kind](data)


def _leader(data: dict[str, Any]) -> str:
    return f"leader: {data['from'] or 'nobody'} -> {data['to'] or 'nobody'}"


def _primary(data: dict[str, Any]) -> str:
    errors = ", ".join(f"{count} x {sqlstate}" for sqlstate, count in sorted(data["errors"].items()))
    saw = f"; errors that clients got: {errors or 'none'}"
    if data["to"] is None:
        return f"{data['from']} is no longer primary: {data['reason']}; writes are held"
    if data["from"] is None:
        return f"{data['to']} is primary; writes were held for {data['after_seconds']:.1f} s{saw}"
    return f"primary: {data['from']} -> {data['to']}{saw}"


def _member(data: dict[str, Any]) -> str:
    gets = "".join(
        f", gets {what}" for what, does in (("reads", data["readable"]), ("writes", data["writable"])) if does
    )
    return f"{data['name']}: {data['reports']}{gets}" + (f" ({data['reason']})" if data["reason"] else "")


def _dcs(data: dict[str, Any]) -> str:
    return "the source of leaders answers again" if data["reachable"] else "the source of leaders does not answer"


def _maintenance(data: dict[str, Any]) -> str:
    return "Patroni is paused (maintenance mode)" if data["paused"] else "Patroni is no longer paused"


_TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "leader": _leader,
    "primary": _primary,
    "member": _member,
    "dcs": _dcs,
    "maintenance": _maintenance,
}
