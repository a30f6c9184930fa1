"""Limits that pools share: who gives way to whom, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pool_ground import Client, World, view

from pgrouter.config.settings import PoolOverride
from pgrouter.pool.limits import TENURE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.pool.pool import Pool

    Make = Callable[..., World]

ONE = view(readers=(), members=("a",))


def alone(make: Make, **settings: object) -> World:
    """Give a world with one member, a primary."""
    ground = make(**settings)
    ground.apply(ONE)
    return ground


def ask(ground: World, group: Pool, number: int) -> list[Client]:
    """Let clients ask for a connection each, and log in what is dialled."""
    made = [Client(ground, i, group) for i in range(number)]
    for client in made:
        client.ask(reads=False)
    settle(ground)
    return made


def settle(ground: World) -> None:
    """Log in what is dialled until nothing more is."""
    ground.turn()
    while ground.dialled:
        ground.log_in_all()
        ground.turn()


def held(clients: list[Client]) -> int:
    return sum(client.held is not None for client in clients)


LIMITS = [
    ({"max_member_connections": 4}, ("other", "somebody")),
    ({"max_db_connections": 4}, ("db", "somebody")),
    ({"max_user_connections": 4}, ("other", "user")),
    ({"overrides": (PoolOverride(database="db", max_db_connections=4),)}, ("db", "somebody")),
    ({"overrides": (PoolOverride(user="user", max_user_connections=4),)}, ("other", "user")),
]


@pytest.mark.parametrize(("settings", "second"), LIMITS)
def test_an_idle_connection_gives_way_at_once(
    world: Make, settings: dict[str, object], second: tuple[str, str]
) -> None:
    ground = alone(world, **settings)
    for client in ask(ground, ground.group, 4):
        client.release()
    assert len(ground.pool("a").idle) == 4
    other = ground.add(*second)
    assert held(ask(ground, other, 3)) == 3
    assert len(ground.pool("a").servers) == 1


@pytest.mark.parametrize(("settings", "second"), LIMITS)
def test_a_pool_that_is_not_under_the_limit_is_not_affected(
    world: Make, settings: dict[str, object], second: tuple[str, str]
) -> None:
    ground = alone(world, **settings)
    stranger = ("elsewhere", "stranger")
    ask(ground, ground.group, 4)
    elsewhere = ground.add(*stranger)
    assert held(ask(ground, elsewhere, 1)) == (0 if "max_member_connections" in settings else 1)
    assert second != stranger


def test_the_one_idle_for_longest_gives_way(world: Make) -> None:
    ground = alone(world, max_member_connections=2)
    first = ask(ground, ground.group, 1)[0]
    second_pool = ground.add("db", "second")
    second = ask(ground, second_pool, 1)[0]
    first.release()
    ground.advance(1)
    second.release()
    assert held(ask(ground, ground.add("db", "third"), 1)) == 1
    assert not ground.pool("a").servers
    assert len(second_pool.members["a"].servers) == 1


def test_a_released_connection_goes_to_the_pool_that_has_waited_for_longest(world: Make) -> None:
    ground = alone(world, max_member_connections=3)
    busy = ask(ground, ground.group, 3)
    ground.advance(0.01)
    groups = [ground.add("db", f"user{i}") for i in range(2)]
    waiting = [ask(ground, group, 1)[0] for group in groups]
    ground.advance(0.01)
    behind = ask(ground, ground.group, 5)
    for number in range(2):
        busy[number].release()
        settle(ground)
        assert [client.held is not None for client in waiting] == [True, number > 0]
    assert held(behind) == 0
    busy[2].release()
    settle(ground)
    assert held(behind) == 1


def test_who_has_waited_longer_in_the_same_pool_comes_first(world: Make) -> None:
    ground = alone(world, max_member_connections=3)
    busy = ask(ground, ground.group, 3)
    before = ask(ground, ground.group, 1)
    ground.advance(0.01)
    small = ask(ground, ground.add("db", "small"), 1)
    busy[0].release()
    settle(ground)
    assert (held(before), held(small)) == (1, 0)
    busy[1].release()
    settle(ground)
    assert held(small) == 1


def test_pools_that_all_have_clients_waiting_end_with_fair_shares_and_keep_them(world: Make) -> None:
    ground = alone(world, size=20, max_member_connections=12)
    groups = [ground.group, *(ground.add("db", f"user{i}") for i in range(2))]
    clients = [client for group in groups for client in ask(ground, group, 20)]
    dials = []
    for _ in range(30):
        ground.advance(0.01)
        before = len(ground.made)
        for client in [client for client in clients if client.held is not None]:
            client.release()
            clients.append(Client(ground, 0, client.group))
            clients[-1].ask(reads=False)
        settle(ground)
        dials.append(len(ground.made) - before)
    shares = [len(group.members["a"].servers) for group in groups]
    assert sum(shares) == 12
    assert max(shares) - min(shares) <= 2
    assert not any(dials[-10:]), dials


def test_the_last_connection_of_a_pool_is_not_taken_for_each_transaction(world: Make) -> None:
    ground = alone(world, max_member_connections=1)
    first = ask(ground, ground.group, 2)
    ground.advance(0.001)
    other = ask(ground, ground.add("db", "other"), 1)
    first[0].release()
    first[1].release()
    settle(ground)
    assert held(other) == 1  # nobody waits in the first pool
    first = ask(ground, ground.group, 1)
    ground.advance(0.001)
    more = [Client(ground, 9, other[0].group)]
    more[0].ask(reads=False)
    other[0].release()
    settle(ground)
    assert (held(first), held(more)) == (0, 1)  # it is too young
    ground.advance(TENURE_S)
    more.append(Client(ground, 10, other[0].group))
    more[1].ask(reads=False)
    more[0].release()
    settle(ground)
    assert (held(first), held(more)) == (1, 0)


def test_a_client_that_has_left_needs_no_place(world: Make) -> None:
    ground = alone(world, max_member_connections=1)
    busy = ask(ground, ground.group, 1)
    group = ground.add("db", "other")
    gone = ask(ground, group, 1)[0]
    group.forget(gone)
    ground.advance(0.1)
    busy[0].release()
    settle(ground)
    assert len(ground.pool("a").idle) == 1
    ground.advance(0.2)
    assert not ground.limits.contended


def test_a_lost_connection_is_a_free_place(world: Make) -> None:
    ground = alone(world, max_member_connections=1)
    busy = ask(ground, ground.group, 1)
    other = ask(ground, ground.add("db", "other"), 1)
    busy[0].held.owner.close(busy[0].held, "test")
    settle(ground)
    assert held(other) == 1


def test_more_room_after_a_reload(world: Make) -> None:
    ground = alone(world, max_member_connections=1)
    ask(ground, ground.group, 1)
    other = ask(ground, ground.add("db", "other"), 1)
    assert held(other) == 0
    ground.limits.adjust(type(ground.settings)(max_member_connections=2))
    settle(ground)
    assert held(other) == 1


TOO_MANY = "sorry, too many clients already"


def test_a_server_that_refuses_makes_idle_connections_give_way(world: Make) -> None:
    ground = alone(world)
    for client in ask(ground, ground.group, 3):
        client.release()
    group = ground.add("db", "other")
    client = Client(ground, 1, group)
    client.ask(reads=False)
    ground.deny(ground.dialled[0], TOO_MANY, "InitProcess")
    assert len(ground.pool("a").servers) == 2
    settle(ground)
    assert client.held is not None
    assert len(ground.pool("a").servers) + len(group.members["a"].servers) == 3


@pytest.mark.parametrize(
    ("routine", "who"), [("InitializeSessionUserId", ("db", "user2")), ("CheckMyDatabase", ("db2", "user"))]
)
def test_a_limit_of_a_role_or_database_takes_nothing_from_others(
    world: Make, routine: str, who: tuple[str, str]
) -> None:
    ground = alone(world)
    for client in ask(ground, ground.group, 3):
        client.release()
    client = Client(ground, 1, ground.add(*who))
    client.ask(reads=False)
    ground.deny(ground.dialled[0], "too many connections", routine)
    assert len(ground.pool("a").servers) == 3


def test_at_the_end_a_client_gets_the_servers_own_words(world: Make) -> None:
    ground = alone(world, wait_timeout_s=5)
    client = Client(ground, 1)
    client.ask(reads=False)
    for _ in range(80):
        while ground.dialled:
            ground.deny(ground.dialled[0], TOO_MANY, "InitProcess")
        ground.advance(0.1)
    assert (client.refused.message, client.refused.sqlstate, client.refused.severity) == (TOO_MANY, "53300", "ERROR")


def test_a_full_server_is_not_asked_more_than_once_a_second(world: Make) -> None:
    ground = alone(world)
    ask(ground, ground.group, 1)
    for number in range(20):
        Client(ground, 1, ground.add("db", f"u{number}")).ask(reads=False)
    while ground.dialled:
        ground.deny(ground.dialled[0], TOO_MANY, "InitProcess")
    before = len(ground.made)
    for _ in range(50):
        ground.advance(0.1)
        while ground.dialled:
            ground.deny(ground.dialled[0], TOO_MANY, "InitProcess")
    assert 3 <= len(ground.made) - before <= 7


def test_what_the_server_has_told_ends_when_it_accepts_more(world: Make) -> None:
    ground = alone(world)
    ask(ground, ground.group, 1)
    clients = [Client(ground, 1, ground.add("db", f"u{number}")) for number in range(5)]
    for client in clients:
        client.ask(reads=False)
    while ground.dialled:
        ground.deny(ground.dialled[0], TOO_MANY, "InitProcess")
    for _ in range(25):
        ground.advance(0.1)
        settle(ground)
    assert held(clients) == 5


def test_the_reserve_is_for_those_who_have_waited(world: Make) -> None:
    ground = alone(world, size=2, reserve_size=1, reserve_timeout_s=3)
    clients = ask(ground, ground.group, 4)
    ground.advance(2.9)
    settle(ground)
    assert held(clients) == 2
    ground.advance(0.2)
    settle(ground)
    assert held(clients) == 3
    for _ in range(2):
        for client in clients:
            if client.held is not None:
                client.release()
    ground.advance(1)
    ground.advance(1)
    assert len(ground.pool("a").servers) == 2
