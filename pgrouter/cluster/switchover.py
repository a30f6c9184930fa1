"""When writes are held for a leader change that Patroni has announced but not made yet. Pure: time is data.

The `failover` key announces it (docs/rest_api of Patroni: /switchover, /failover). Patroni's leader then asks the
candidates (0.1 s and more), and either clears the key or begins: it makes a checkpoint and stops its PostgreSQL, which
ends every session. As soon as it has begun, its member key has no WAL position any more (Patroni's ha.touch_member):
held from then on, writes are not interrupted, and do not wait while Patroni decides. In case that is not seen, they are
held 0.15 s after the announcement.

Nothing is held if the key names another leader than the current one, if its candidate already leads, or before the
scheduled time, whatever the leader's member key contains: there are other reasons for a key without a position. And no
hold lasts longer than a limit, counted from its beginning: neither a wall clock that is set back nor a repeated
announcement extends it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pgrouter.cluster.patroni_keys import Snapshot, Switchover

DECIDES_S = 0.15  # the shortest time measured between the key and the end of the first session was 0.28 s
LOOK_AGAIN_S = 30.0  # before a scheduled time: the wall clock may be changed meanwhile


class Hold(NamedTuple):
    """What follows from an announcement now, and when that may change by itself."""

    reason: str = ""  # why writes are held; empty: they are not
    until_s: float | None = None  # on the router's clock; None: only with new information
    began_s: float | None = None  # since when writes are held; None: they are not
    over: Switchover | None = None  # an announcement whose hold has ended: it no longer holds anything
    over_since_s: float = 0.0  # and when that announcement was first seen


NONE = Hold()


def hold(snapshot: Snapshot, now_s: float, wall_s: float, limit_s: float, before: Hold = NONE) -> Hold:
    """Return whether writes are held at `now_s`, which is `wall_s` in Unix time; `before`: the last result."""
    announced, since_s = snapshot.switchover, snapshot.switchover_since_s
    due_s = _due_s(announced, since_s, now_s, wall_s) if announced and _is_about(announced, snapshot.leader) else None
    if announced is None or due_s is None:
        return NONE
    if (before.over, before.over_since_s) == (announced, since_s):
        return before
    if now_s < due_s:
        return Hold(until_s=min(due_s, now_s + LOOK_AGAIN_S))
    began_s = now_s if before.began_s is None else before.began_s
    ends_s = min(due_s, began_s) + limit_s
    if now_s >= ends_s:
        return Hold(over=announced, over_since_s=since_s)
    if before.began_s is None and not has_begun(snapshot) and now_s < due_s + DECIDES_S:
        return Hold(until_s=due_s + DECIDES_S)
    return Hold(_reason(announced), ends_s, began_s)


def _due_s(announced: Switchover, since_s: float, now_s: float, wall_s: float) -> float | None:
    """Return the time from which it may hold writes, on the router's clock; None: it has no valid time."""
    if not announced.scheduled_at:
        return since_s
    moment_s = unix_time(announced.scheduled_at)
    return None if moment_s is None else now_s + moment_s - wall_s


def has_begun(snapshot: Snapshot) -> bool:
    """Whether the leader is doing something that keeps it from publishing its WAL position, such as stopping."""
    return any(member.name == snapshot.leader and not member.replay_lsn for member in snapshot.members)


def _is_about(announced: Switchover, leader: str | None) -> bool:
    return leader is not None and announced.leader in ("", leader) and announced.candidate != leader


def _reason(announced: Switchover) -> str:
    word = "switchover" if announced.leader else "failover"
    away = f" from {announced.leader}" if announced.leader else ""
    to = f" to {announced.candidate}" if announced.candidate else ""
    return f"a {word}{away}{to} is announced"


def unix_time(text: str) -> float | None:
    """Parse the time of a scheduled switchover; None without a time zone, which Patroni does not accept either."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
