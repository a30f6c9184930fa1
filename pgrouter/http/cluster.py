"""GET /cluster: the members as Patroni's REST API shows them, and what the router knows besides. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pgrouter

if TYPE_CHECKING:
    from pgrouter.topology import ClusterView, Member


def cluster(view: ClusterView, *, source: str, scope: str, draining: bool) -> dict[str, Any]:
    """Return the cluster for JSON. Patroni's keys come first; those that it leaves out are left out here, too."""
    found: dict[str, Any] = {"members": [_member(view, member) for member in view.members]}
    if scope:
        found["scope"] = scope
    if view.paused:
        found["pause"] = True
    return found | {
        "view": view.number,
        "leader": view.leader,
        "primary": view.primary,
        "no_primary": view.no_primary,
        "readers": view.readers,
        "timeline": view.timeline,
        "system_id": view.system_id,
        "standby_cluster": view.standby,
        "source": source,
        "dcs_reachable": view.dcs_reachable,
        "router": {"version": pgrouter.__version__, "draining": draining},
    }


def _member(view: ClusterView, member: Member) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": member.name,
        "role": _role(view, member),
        "state": member.state or ("running" if member.role != "unknown" else "unknown"),
        "host": member.host,
        "port": member.port,
    }
    if member.timeline:
        found["timeline"] = member.timeline
    if not member.leader:
        found["lag"] = "unknown" if member.lag_bytes is None else member.lag_bytes
        found["lag_seconds"] = member.lag_s
    if member.tags:
        found["tags"] = dict(member.tags)
    return found | {
        "reports": str(member.role),
        "writable": member.writable,
        "readable": member.readable,
        "reason": member.reason,
    }


def _role(view: ClusterView, member: Member) -> str:
    if member.leader:
        return "standby_leader" if view.standby else "leader"
    return "replica"
