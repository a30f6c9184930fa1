"""Whether a router can serve what a load balancer wants to send, from the cluster view. Pure.

Source: Patroni's REST API ("Health check endpoints").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pgrouter.pool.read_order import rotation

if TYPE_CHECKING:
    from pgrouter.config.settings import Reads
    from pgrouter.topology import ClusterView

_SIZE = re.compile(r"(\d{1,15})\s*(B|kB|MB|GB|TB)?")
_UNIT = {None: 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}  # PostgreSQL's

DRAINING = "the router is shutting down"


class Health(NamedTuple):
    """What can be served, and why not, for people."""

    ok: bool
    reason: str = ""


OK = Health(ok=True)


def live(_view: ClusterView, _reads: Reads, _most_lag: int | None) -> Health:
    """Whether the process serves: it does, since it answers."""
    return OK


def primary(view: ClusterView, _reads: Reads, _most_lag: int | None) -> Health:
    """Whether writes go somewhere."""
    return OK if view.primary is not None else Health(ok=False, reason=view.no_primary or "no primary")


def replica(view: ClusterView, reads: Reads, most_lag: int | None) -> Health:
    """Whether a replica serves reads; `most_lag`: one that is at most so many bytes behind."""
    shares = dict.fromkeys(name for name in rotation(view, reads) if name != view.primary)
    if not shares:
        return Health(ok=False, reason="no replica can be read from")
    if most_lag is None:
        return OK
    members = filter(None, map(view.member, shares))
    if any(member.lag_bytes is not None and member.lag_bytes <= most_lag for member in members):
        return OK
    return Health(ok=False, reason=f"no replica is known to be at most {most_lag} bytes behind")


def read_only(view: ClusterView, reads: Reads, most_lag: int | None) -> Health:
    """Whether reads go somewhere: to a replica, or to the primary where that is allowed."""
    found = replica(view, reads, most_lag)
    if found.ok or (view.primary is not None and reads.primary != "never"):
        return OK
    return found


def ready(view: ClusterView, reads: Reads, most_lag: int | None) -> Health:
    """Whether reads or writes can be served."""
    writes = primary(view, reads, None)
    if writes.ok or read_only(view, reads, most_lag).ok:
        return OK
    return writes


def size(text: str) -> int | None:
    """Return a size as Patroni's `lag` has it, in bytes: `16777216`, `16MB`; None: it is not one."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) * _UNIT[match[2]] if match else None
