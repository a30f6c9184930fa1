"""Source `static`: the configured members, among which the servers' own words elect the leader. Pure.

The leader is the one that says it is primary on the newest timeline: `pg_promote()`, repmgr or a failover script make
a new one by ending the old timeline, so the newest is the last that was decided. Two primaries on one timeline cannot
be told apart by that rule: the one that led goes on; without one that led, nobody does, because a guess loses rows.
For the same reason the first election waits until every member has answered or failed once: a former primary that is
up again must not win by being quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.cluster.patroni_keys import DcsMember, Snapshot
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrouter.cluster.word import Probe, Word
    from pgrouter.config.settings import MemberAddress
    from pgrouter.topology import ClusterView


class StaticSource:
    """The members of a configuration file."""

    def __init__(self, addresses: tuple[MemberAddress, ...]) -> None:
        self.replace(addresses)

    def replace(self, addresses: tuple[MemberAddress, ...]) -> None:
        """Have other members: the file was read again."""
        self._members = tuple(DcsMember(name=each.name, host=each.host, port=each.port) for each in addresses)

    def start(self, on_change: Callable[[], None]) -> None:
        """Do nothing: probes wake the monitor by themselves."""

    async def stop(self) -> None:
        """Do nothing."""

    def refresh(self) -> None:
        """Do nothing: the probes are all there is."""

    def current(self, previous: ClusterView, probes: Mapping[str, Probe]) -> Snapshot:
        """Give the configured members with the leader that `elect` names."""
        return elect(self._members, previous, probes)


def elect(members: tuple[DcsMember, ...], previous: ClusterView, probes: Mapping[str, Probe]) -> Snapshot:
    """Name the member that says it is primary on the newest timeline as leader."""
    words = {member.name: probes[member.name].said for member in members if member.name in probes}
    primaries = {name: word for name, word in words.items() if word and _may_lead(word, previous)}
    unheard = [member.name for member in members if member.name not in probes]
    if unheard and previous.last_leader is None:
        leader, trouble = None, f"{', '.join(unheard)} not heard yet"
    else:
        leader, trouble = _choose(primaries, previous.last_leader)
    # Here the servers' words are the DCS: it is as fresh as they are, so nothing can have been heard since.
    heard_s = max((word.answered_s for word in words.values() if word), default=0.0)
    return Snapshot(members=members, leased=False, leader=leader, trouble=trouble, heard_s=heard_s)


def _may_lead(word: Word, previous: ClusterView) -> bool:
    same_system = previous.system_id in ("", word.system_id)
    return word.role is Role.PRIMARY and same_system and word.timeline >= previous.timeline


def _choose(primaries: Mapping[str, Word], last_leader: str | None) -> tuple[str | None, str]:
    if not primaries:
        return None, "no member says it is primary"
    if len({word.system_id for word in primaries.values()}) > 1:
        return None, f"{', '.join(primaries)} say they are primary, of different clusters"
    newest = max(word.timeline for word in primaries.values())
    names = [name for name, word in primaries.items() if word.timeline == newest]
    if last_leader in names:
        return last_leader, ""
    if len(names) > 1:
        return None, f"{', '.join(names)} say they are primary on timeline {newest}"
    return names[0], ""
