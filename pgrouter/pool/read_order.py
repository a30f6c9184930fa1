"""Which members share the reads, and in which order they take turns. Pure."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgrouter.config.settings import Reads
    from pgrouter.topology import ClusterView, Member

TAG = "pgrouter_"  # of a member in Patroni's configuration: pgrouter_weight, pgrouter_tier, pgrouter_zone
MOST_WEIGHT = 100


class Share(NamedTuple):
    """A member's share of the reads."""

    name: str
    weight: int
    tier: int
    zone: str


def rotation(view: ClusterView, reads: Reads) -> tuple[str, ...]:
    """Return the names of the members that get reads now, one for each turn, cyclically."""
    names = list(view.readers)
    if reads.primary == "always" and view.primary is not None:
        names.append(view.primary)
    members = filter(None, map(view.member, names))
    shares = [share_of(member, reads) for member in members]
    if reads.balance == "weighted":
        shares = [share for share in shares if share.weight]
    lowest = min((share.tier for share in shares), default=0)
    shares = [share for share in shares if share.tier == lowest]
    near = [share for share in shares if reads.zone and share.zone == reads.zone]
    shares = near or shares
    if reads.balance == "weighted":
        return turns([(share.name, share.weight) for share in shares])
    return tuple(share.name for share in shares)


def share_of(member: Member, reads: Reads) -> Share:
    """Return a member's share of the reads: the configuration overrides the tags; invalid tags are ignored."""
    given = next((entry for entry in reads.members if entry.name == member.name), None)
    tags = {tag.removeprefix(TAG): value for tag, value in member.tags if tag.startswith(TAG)}
    weight = given.weight if given and given.weight is not None else _number(tags.get("weight"), 1)
    tier = given.tier if given and given.tier is not None else _number(tags.get("tier"), 0)
    zone = given.zone if given and given.zone is not None else tags.get("zone", "")
    return Share(member.name, min(weight, MOST_WEIGHT), tier, zone)


def turns(weights: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Spread turns by weight: a with 3 and b with 1 result in a a b a.

    Each turn goes to the one with most credit, and costs the credit handed out for it (nginx's smooth weighted round
    robin).
    """
    divisor = gcd(*(weight for _, weight in weights)) or 1
    shares = [(name, weight // divisor) for name, weight in weights]
    total = sum(weight for _, weight in shares)
    credit = dict.fromkeys((name for name, _ in shares), 0)
    order: list[str] = []
    for _ in range(total):
        for name, weight in shares:
            credit[name] += weight
        chosen = max(credit, key=lambda name: credit[name])
        credit[chosen] -= total
        order.append(chosen)
    return tuple(order)


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else otherwise
