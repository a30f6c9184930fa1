"""Who shares the reads, and in which order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.config.settings import ReaderSettings, Reads
from pgrouter.pool.read_order import rotation, turns
from pgrouter.topology import ClusterView, Member


def view(**tags: dict[str, str]) -> ClusterView:
    names = ("a", "b", "c", "d")
    members = tuple(
        Member(name=name, host="h", port=1, tags=tuple(sorted(tags.get(name, {}).items()))) for name in names
    )
    return ClusterView(members=members, leader="a", primary="a", readers=names[1:])


def reads(balance: str = "round_robin", **more: object) -> Reads:
    return Reads(balance=balance, **more)


@pytest.mark.parametrize(
    ("settings", "tags", "order"),
    [
        (reads(), {}, "bcd"),
        (reads("least_active"), {}, "bcd"),
        (reads(primary="always"), {}, "bcda"),
        (reads(primary="never"), {}, "bcd"),
        # weights
        (reads("weighted"), {}, "bcd"),
        (reads("weighted", members=(ReaderSettings(name="b", weight=2),)), {}, "bcdb"),
        (reads("weighted", members=(ReaderSettings(name="b", weight=0),)), {}, "cd"),
        (reads(members=(ReaderSettings(name="b", weight=0),)), {}, "bcd"),
        (reads("weighted"), {"c": {"pgrouter_weight": "3"}, "d": {"pgrouter_weight": "0"}}, "cbcc"),
        (reads("weighted", members=(ReaderSettings(name="c", weight=1),)), {"c": {"pgrouter_weight": "3"}}, "bcd"),
        (reads("weighted"), {"c": {"pgrouter_weight": "many"}, "d": {"weight": "0"}}, "bcd"),
        # tiers
        (reads(members=(ReaderSettings(name="b", tier=1),)), {}, "cd"),
        (reads(), {"c": {"pgrouter_tier": "1"}, "d": {"pgrouter_tier": "2"}}, "b"),
        (reads(), {name: {"pgrouter_tier": "7"} for name in "bcd"}, "bcd"),
        (reads(primary="always", members=(ReaderSettings(name="a", tier=1),)), {}, "bcd"),
        # zones
        (reads(zone="x"), {}, "bcd"),
        (reads(zone="x"), {"b": {"pgrouter_zone": "x"}, "c": {"pgrouter_zone": "y"}}, "b"),
        (reads(zone="x", members=(ReaderSettings(name="b", tier=1, zone="x"),)), {}, "cd"),
    ],
)
def test_rotation(settings: Reads, tags: dict[str, dict[str, str]], order: str) -> None:
    assert "".join(rotation(view(**tags), settings)) == order


def test_nobody() -> None:
    assert rotation(ClusterView(), reads()) == ()
    assert rotation(ClusterView(), reads("weighted", primary="always")) == ()


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 100), min_size=1))
def test_turns_are_spread(weights: dict[str, int]) -> None:
    """In any stretch of the order everyone has his part, but for one turn at most for each of them."""
    order = turns(list(weights.items()))
    total, size = sum(weights.values()), len(order)
    assert total % size == 0
    assert Counter(order) == {name: weight * size // total for name, weight in weights.items()}
    for end in range(1, size):
        counted = Counter(order[:end])
        assert all(abs(counted[name] - end * weight / total) < len(weights) for name, weight in weights.items())
