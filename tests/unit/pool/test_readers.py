"""Reads that must see a write, and how reads are shared, in a group with real pools."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from pool_ground import Client, view

from pgrouter.config.settings import ReaderSettings, Reads
from pgrouter.pool.demand import Demand
from pgrouter.pool.kinds import FRESH
from pgrouter.topology import ReplayPoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool_ground import World

    from pgrouter.server.connection import ServerConnection

    Make = Callable[..., World]


def warm(world: World, each: int = 2) -> None:
    """Every member has idle connections."""
    clients = [Client(world, number) for number in range(12 * each)]
    for client in clients:
        if not client.ask(reads=client.number % 3 > 0):
            world.log_in_all()
    world.log_in_all()
    for client in clients:
        if client.held is not None:
            client.release()


def take_read(world: World) -> ServerConnection | None:
    """Take a connection for a read; nobody waits for it."""
    client = Client(world, 99)
    server = world.group.take(Demand(True), client)
    world.group.forget(client)
    return server


def take_fresh(world: World, wrote_s: float, lsn: int) -> ServerConnection | None:
    """Take a connection for a read that must see so much; nobody waits for it."""
    demand, client = Demand(), Client(world, 99)
    demand.kind, demand.must_see_s, demand.must_see_lsn = FRESH, wrote_s, lsn
    server = world.group.take(demand, client)
    world.group.forget(client)
    return server


def served(world: World, wrote_s: float, lsn: int = 0, times: int = 6) -> Counter[str]:
    """Take for such reads, give back, and count where."""
    names: Counter[str] = Counter()
    for _ in range(times):
        server = take_fresh(world, wrote_s, lsn)
        names[server.owner.member.name if server else "nobody"] += 1
        if server:
            world.group.release(server)
    return names


@pytest.fixture
def world(world: Make) -> World:
    made = world(size=20)
    warm(made)
    return made


def freshen(world: World, **marks: ReplayPoint) -> None:
    world.marks = marks
    world.group.freshen(marks)


@pytest.mark.parametrize(
    ("wrote_s", "lsn", "names"),
    [
        (-1.0, 0, {"b": 3, "c": 3}),
        (5.0, 0, {"b": 3, "c": 3}),
        (10.0, 0, {"c": 6}),  # what was answered at the very moment of the mark may not be there
        (15.0, 0, {"c": 6}),
        (20.0, 0, {"a": 6}),
        (-1.0, 100, {"b": 3, "c": 3}),
        (-1.0, 101, {"c": 6}),
        (15.0, 201, {"a": 6}),
    ],
)
def test_only_who_has_it(world: World, wrote_s: float, lsn: int, names: dict[str, int]) -> None:
    freshen(world, b=ReplayPoint(10.0, 100), c=ReplayPoint(20.0, 200))
    assert served(world, wrote_s, lsn) == names
    assert world.group.needs_primary(wrote_s, lsn) == ("a" in names)
    assert world.samples == int("a" in names)


def test_nothing_is_known_of_a_member_without_a_mark(world: World) -> None:
    freshen(world, c=ReplayPoint(20.0, 200))
    assert served(world, 0.0) == {"c": 6}
    freshen(world)
    assert served(world, 0.0) == {"a": 6}


def test_marks_hold_for_groups_and_members_that_come_later(world: World) -> None:
    freshen(world, b=ReplayPoint(10.0, 100), d=ReplayPoint(20.0, 200))
    world.apply(view(readers=("b", "c", "d"), members=("a", "b", "c", "d")))
    assert not world.group.needs_primary(15.0, 0)


def test_who_is_fresh_but_busy_is_dialled_and_the_primary_serves(world: World) -> None:
    freshen(world, c=ReplayPoint(20.0, 200))
    while world.pool("c").idle:
        take_fresh(world, 15.0, 0)
    dialled = len(world.dialled)
    assert served(world, 15.0, times=1) == {"a": 1}
    assert [server.owner.member.name for server in world.dialled[dialled:]] == ["c"]


def test_without_a_primary_nobody_has_a_new_write(world: World) -> None:
    world.apply(view(primary=None))
    freshen(world, b=ReplayPoint(10.0, 100), c=ReplayPoint(10.0, 100))
    assert served(world, 15.0) == {"nobody": 6}
    assert served(world, 5.0) == {"b": 3, "c": 3}


# -- sharing


def taken(world: World, times: int = 12) -> Counter[str]:
    names: Counter[str] = Counter()
    for _ in range(times):
        server = take_read(world)
        names[server.owner.member.name if server else "nobody"] += 1
        if server:
            world.group.release(server)
    return names


@pytest.mark.parametrize(
    ("reads", "names"),
    [
        (Reads(), {"b": 6, "c": 6}),
        (Reads(primary="always"), {"a": 4, "b": 4, "c": 4}),
        (Reads(balance="weighted", members=(ReaderSettings(name="b", weight=3),)), {"b": 9, "c": 3}),
        (Reads(members=(ReaderSettings(name="b", tier=1),)), {"c": 12}),
    ],
)
def test_turns(world: World, reads: Reads, names: dict[str, int]) -> None:
    world.reads = reads
    world.group.share_reads(world.view)
    taken(world, 40)  # who had no free connection at first catches up
    assert taken(world) == names


def test_the_least_active(world: World) -> None:
    world.reads = Reads(balance="least_active")
    world.group.share_reads(world.view)
    busy = [server for server in (take_read(world) for _ in range(4)) if server]
    assert Counter(server.owner.member.name for server in busy) == {"b": 2, "c": 2}
    for server in busy:
        if server.owner.member.name == "c":
            world.group.release(server)
    assert taken(world) == {"c": 12}


def test_no_fallback_to_the_primary(world: World) -> None:
    world.reads = Reads(primary="never")
    world.apply(view(readers=()))
    assert taken(world) == {"nobody": 12}
    assert world.group.eligible(reads=True) == []
    world.reads = Reads()
    world.apply(view(readers=()))
    assert taken(world) == {"a": 12}


def test_the_primary_is_no_replica_that_fails(world: World) -> None:
    """It shares the reads, and goes on when the replicas cannot be had."""
    world.reads = Reads(primary="always")
    world.apply(view(readers=()))
    assert taken(world) == {"a": 12}
