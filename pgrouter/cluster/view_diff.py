"""Two views -> a one-line description of what differs, for logs and for `ClusterView.reason`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.topology import ClusterView, Member


def difference(old: ClusterView, new: ClusterView) -> str:
    """Return what changed, the most important first: `primary pg0 -> none (nobody holds the leader key); ...`."""
    return "; ".join(_parts(old, new))


def _parts(old: ClusterView, new: ClusterView) -> Iterator[str]:
    if old.primary != new.primary:
        because = f" ({new.no_primary})" if new.no_primary else ""
        yield f"primary {old.primary or 'none'} -> {new.primary or 'none'}{because}"
    elif old.no_primary != new.no_primary:
        yield f"no primary: {new.no_primary}"
    if old.leader != new.leader:
        yield f"leader {old.leader or 'none'} -> {new.leader or 'none'}"
    if old.timeline != new.timeline:
        yield f"timeline {old.timeline} -> {new.timeline}"
    if old.readers != new.readers:
        yield f"readers {','.join(old.readers) or 'none'} -> {','.join(new.readers) or 'none'}"
    if old.paused != new.paused:
        yield "cluster paused" if new.paused else "cluster no longer paused"
    if old.standby != new.standby:
        yield "standby cluster" if new.standby else "no standby cluster any more"
    if old.dcs_reachable != new.dcs_reachable:
        yield "DCS reachable again" if new.dcs_reachable else "DCS not reachable"
    if old.system_id != new.system_id:
        yield f"system identifier {old.system_id or 'unknown'} -> {new.system_id or 'unknown'}"
    yield from _cut(old, new)
    yield from _members(old, new)


def _cut(old: ClusterView, new: ClusterView) -> Iterator[str]:
    if old.fenced != new.fenced:
        cut = f"{new.fenced} led last and does not say that it is primary: its connections are closed"
        yield cut if new.fenced else f"{old.fenced} may be connected to again"
    for name in new.silent:
        if name not in old.silent:
            yield f"{name} shows no sign of life: its connections are given up"
    for name in old.silent:
        if name not in new.silent:
            yield f"{name} is not silent any more"
    if old.mistake != new.mistake and new.mistake is not None:
        yield f"no server is available: {new.mistake.words}"


def _members(old: ClusterView, new: ClusterView) -> Iterator[str]:
    for member in new.members:
        before = old.member(member.name)
        if before is None:
            yield f"{member.name} joined at {member.host}:{member.port}"
        else:
            yield from _member(before, member)
            if before.reason != member.reason and new.no_primary != f"{member.name} {member.reason}":  # said above
                yield f"{member.name}: {member.reason}"
    for member in old.members:
        if new.member(member.name) is None:
            yield f"{member.name} left"


def _member(old: Member, new: Member) -> Iterator[str]:
    if (old.host, old.port) != (new.host, new.port):
        yield f"{new.name} moved to {new.host}:{new.port}"
    if old.state != new.state:
        yield f"{new.name} state {old.state or 'none'} -> {new.state or 'none'}"
    if old.role != new.role:
        yield f"{new.name} role {old.role} -> {new.role}"
    if old.timeline != new.timeline:
        yield f"{new.name} timeline {old.timeline} -> {new.timeline}"
    if old.tags != new.tags:
        yield f"{new.name} tags changed"
