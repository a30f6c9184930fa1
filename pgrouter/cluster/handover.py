"""When writes are held for a change of leaders that Patroni has announced and not made yet. Pure: time is data.

The `failover` key announces it (docs/rest_api of Patroni: /switchover, /failover). Patroni's leader then asks the
candidates, makes a checkpoint and stops its PostgreSQL, which ends every session: 0.1 s after the key on idle servers,
later where the checkpoint has much to write. Writes that are held from the key on are not hit.

Nothing is held when the key speaks of another leader than the present one, when its candidate leads already, or before
the moment for which it is scheduled; and never for longer than a limit, for an announcement that nothing follows.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pgrouter.cluster.patroni_keys import Snapshot, Switchover

LOOK_AGAIN_S = 30.0  # before a scheduled moment: the wall clock may be set meanwhile


class Handover(NamedTuple):
    """What follows from an announcement now, and when that may change by itself."""

    reason: str = ""  # why writes are held; empty: they are not
    until_s: float | None = None  # on the router's clock; None: only with news


NONE = Handover()


def handover(snapshot: Snapshot, now_s: float, wall_s: float, limit_s: float) -> Handover:
    """Say whether writes are held at `now_s`, which is `wall_s` (Unix time) on the wall."""
    announced = snapshot.switchover
    if announced is None or not _is_about(announced, snapshot.leader):
        return NONE
    due_s = snapshot.switchover_since_s
    if announced.scheduled_at:
        moment_s = unix_time(announced.scheduled_at)
        if moment_s is None:
            return NONE
        due_s = now_s + moment_s - wall_s
    if now_s < due_s:
        return Handover(until_s=min(due_s, now_s + LOOK_AGAIN_S))
    if now_s < due_s + limit_s:
        return Handover(_reason(announced), due_s + limit_s)
    return NONE


def _is_about(announced: Switchover, leader: str | None) -> bool:
    return leader is not None and announced.leader in ("", leader) and announced.candidate != leader


def _reason(announced: Switchover) -> str:
    word = "switchover" if announced.leader else "failover"
    away = f" from {announced.leader}" if announced.leader else ""
    to = f" to {announced.candidate}" if announced.candidate else ""
    return f"a {word}{away}{to} is announced"


def unix_time(text: str) -> float | None:
    """Read the moment of a scheduled switchover; None without a time zone, which Patroni does not take either."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
