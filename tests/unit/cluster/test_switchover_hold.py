"""When an announced switchover holds writes, and until when."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pgrouter.cluster.patroni_keys import Snapshot, decode
from pgrouter.cluster.switchover import DECIDES_S, LOOK_AGAIN_S, NONE, hold, unix_time

NOW_S, WALL_S, LIMIT_S = 500.0, 1_789_997_600.0, 10.0  # the wall shows 2026-09-21T13:33:20 UTC


RUNS = '{"conn_url":"postgres://h:1/postgres","state":"running","role":"primary","xlog_location":22095256,"timeline":2}'
BEGINS = '{"conn_url":"postgres://h:1/postgres","state":"running","role":"primary"}'


def snapshot(
    value: str, leader: str | None = "pg2", since_s: float = NOW_S - DECIDES_S, member: str = RUNS
) -> Snapshot:
    keys = {"failover": value, "members/pg2": member} | ({"leader": leader} if leader else {})
    return replace(decode(keys), switchover_since_s=since_s)


@pytest.mark.parametrize(
    ("value", "leader", "reason"),
    [
        ('{"leader":"pg2","member":"pg0"}', "pg2", "a switchover from pg2 to pg0 is announced"),
        ('{"leader":"pg2"}', "pg2", "a switchover from pg2 is announced"),
        ('{"member":"pg0"}', "pg2", "a failover to pg0 is announced"),
        ('{"leader":"pg2","member":"pg0"}', "pg0", ""),  # it is done, and the key not cleared yet
        ('{"leader":"pg1","member":"pg0"}', "pg2", ""),  # Patroni refuses it
        ('{"member":"pg2"}', "pg2", ""),  # it leads already
        ('{"leader":"pg2","member":"pg2"}', "pg2", ""),
        ('{"leader":"pg2","member":"pg0"}', None, ""),  # nobody leads: writes are held anyway
        ("{}", "pg2", ""),
        ("nonsense", "pg2", ""),
    ],
)
def test_what_is_announced(value: str, leader: str | None, reason: str) -> None:
    assert hold(snapshot(value, leader), NOW_S, WALL_S, LIMIT_S).reason == reason


@pytest.mark.parametrize(("age_s", "held"), [(DECIDES_S, True), (9.9, True), (10.0, False), (1e6, False)])
def test_a_hold_has_an_end(age_s: float, *, held: bool) -> None:
    told = snapshot('{"leader":"pg2"}', since_s=NOW_S - age_s)
    found = hold(told, NOW_S, WALL_S, LIMIT_S)
    assert bool(found.reason) == held
    assert found.until_s == (NOW_S - age_s + LIMIT_S if held else None)


def test_nothing_is_held_while_patroni_makes_up_its_mind() -> None:
    told = snapshot('{"leader":"pg2"}', since_s=NOW_S - 0.1)
    assert hold(told, NOW_S, WALL_S, LIMIT_S)[:2] == ("", NOW_S - 0.1 + DECIDES_S)


@pytest.mark.parametrize("age_s", [0.0, 9.9])
@pytest.mark.parametrize("moment", ["", "2026-09-21T13:33:20+00:00"])
def test_what_has_begun_holds_at_once(age_s: float, moment: str) -> None:
    announced = f'{{"leader":"pg2","scheduled_at":"{moment}"}}' if moment else '{"leader":"pg2"}'
    told = snapshot(announced, since_s=NOW_S - age_s, member=BEGINS)
    assert hold(told, NOW_S, WALL_S, LIMIT_S).reason == "a switchover from pg2 is announced"


@pytest.mark.parametrize(("moment", "wakes_s"), [("2026-09-21T13:33:25Z", 5.0), ("2026-09-23T13:33:20Z", LOOK_AGAIN_S)])
def test_a_leader_key_without_a_position_holds_nothing_before_the_time(moment: str, wakes_s: float) -> None:
    told = snapshot(f'{{"leader":"pg2","scheduled_at":"{moment}"}}', member=BEGINS)
    assert hold(told, NOW_S, WALL_S, LIMIT_S)[:2] == ("", NOW_S + wakes_s)


def test_what_has_begun_without_an_announcement_holds_nothing() -> None:
    assert hold(snapshot("{}", member=BEGINS), NOW_S, WALL_S, LIMIT_S) == NONE


def test_a_limit_of_nothing_holds_nothing() -> None:
    assert hold(snapshot('{"leader":"pg2"}'), NOW_S, WALL_S, 0.0)[:2] == ("", None)


@pytest.mark.parametrize(
    ("moment", "held", "until_s"),
    [
        ("2026-09-21T13:33:20+00:00", False, NOW_S + DECIDES_S),  # now
        ("2026-09-21T13:33:19+00:00", True, NOW_S - 1 + LIMIT_S),
        ("2026-09-21T15:33:15+02:00", True, NOW_S - 5 + LIMIT_S),
        ("2026-09-21T13:33:25Z", False, NOW_S + 5),
        ("2026-09-22T13:33:25+00:00", False, NOW_S + LOOK_AGAIN_S),
        ("2026-09-21T13:33:10+00:00", False, None),  # over, also for a router that has just started
        ("2026-09-21T13:33:20", False, None),  # no time zone: Patroni refuses it
        ("tomorrow", False, None),
        ("9999-12-31T23:59:59-23:59", False, NOW_S + LOOK_AGAIN_S),
    ],
)
def test_a_scheduled_one_does_not_hold_before_its_time(moment: str, *, held: bool, until_s: float | None) -> None:
    told = snapshot(f'{{"leader":"pg2","member":"pg0","scheduled_at":"{moment}"}}', since_s=NOW_S - 9000)
    found = hold(told, NOW_S, WALL_S, LIMIT_S)
    assert (bool(found.reason), found.until_s) == (held, until_s)


def test_unix_time() -> None:
    assert unix_time("2026-09-21T13:33:20+00:00") == WALL_S
    assert unix_time("0001-01-01T00:00:00+14:00") is None or unix_time("0001-01-01T00:00:00+14:00") < 0


def steps(*moments: tuple[float, float, str]) -> list[bool]:
    """Give whether writes are held at each (seconds, those on the wall, announcement heard then, or "" for none)."""
    told, last, held = snapshot("{}"), NONE, []
    for after_s, wall_s, announced in moments:
        if announced:
            told = snapshot(announced, since_s=NOW_S + after_s)
        last = hold(told, NOW_S + after_s, WALL_S + wall_s, LIMIT_S, last)
        held.append(bool(last.reason))
    return held


NOW, AT_0, TOMORROW = (
    '{"leader":"pg2"}',
    '{"leader":"pg2","scheduled_at":"2026-09-21T13:33:20Z"}',
    '{"leader":"pg2","scheduled_at":"2026-09-22T13:33:20Z"}',
)


@pytest.mark.parametrize(
    ("moments", "held"),
    [
        # made again and again, also after the hold is over
        ([(0, 0, NOW), (1, 1, ""), (6, 6, NOW), (9, 9, ""), (10.9, 10.9, NOW), (11.5, 11.5, "")], [0, 1, 1, 1, 1, 0]),
        ([(0, 0, NOW), (1, 1, ""), (11, 11, ""), (11.5, 11.5, ""), (12, 12, NOW), (13, 13, "")], [0, 1, 0, 0, 0, 1]),
        # the wall clock is set back, by more than has passed and by less
        ([(0, 0, AT_0), (1, 1, ""), (2, -30, ""), (20, -12, "")], [0, 1, 0, 0]),
        ([(0, 0, AT_0), (5, 5, ""), (9, 1, ""), (14.9, 7, ""), (15, 7.1, ""), (17, 9, "")], [0, 1, 1, 1, 0, 0]),
        # put off while it holds
        ([(0, 0, AT_0), (5, 5, ""), (6, 6, TOMORROW), (86400, 86400, ""), (86401, 86401, "")], [0, 1, 0, 0, 1]),
    ],
)
def test_no_hold_outlives_its_limit(moments: list[tuple[float, float, str]], held: list[int]) -> None:
    assert steps(*moments) == [bool(each) for each in held]
