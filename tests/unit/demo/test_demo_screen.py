"""What the demo's screen says, from made-up sights."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from pgrouter.demo.director import Change, Event
from pgrouter.demo.observer import Sight, Tally
from pgrouter.demo.patroni import MemberStatus, decode_status
from pgrouter.demo.screen import Picture, draw, line, role, summary
from pgrouter.demo.workload import Fault, Totals


def sight(name: str, told: str | None, *, reachable: bool = True, in_recovery: bool = True, reads: int = 0) -> Sight:
    """Make up a member."""
    status = MemberStatus(name, told, "running", 1, 0) if told else None
    return Sight(name, 5432, reachable, in_recovery, 10, reads, 0, status)


PICTURE = Picture(
    elapsed_s=12.3,
    psql="psql -p 6432",
    page="http://127.0.0.1:9127/",
    sights=(sight("pg0", "leader", in_recovery=False), sight("pg1", "replica", reads=1234)),
    totals=Totals(reads=1234, writes=56, faults=1, longest_write_pause_s=4.8),
    reads_per_s={"pg1": 99.6},
    writes_per_s=7.0,
    events=(Event(5.0, "pg0, the leader, was killed", bad=True),),
    keys=True,
)


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (sight("a", "leader", in_recovery=False), "LEADER"),
        (sight("a", "leader"), "leader to be"),  # the key is there 0.1-0.3 s before the promotion is
        (sight("a", "replica"), "replica"),
        (sight("a", "sync_standby"), "replica"),
        (sight("a", "replica", in_recovery=False), "former leader"),
        (sight("a", "leader", reachable=False), "down"),
        (sight("a", None), "standby"),
        (sight("a", None, in_recovery=False), "primary"),
    ],
)
def test_a_members_role_takes_both_the_key_and_the_servers_word(seen: Sight, word: str) -> None:
    assert role(seen) == word


def test_the_drawing_shows_members_counts_events_and_keys() -> None:
    console = Console(width=140, record=True, force_terminal=False, quiet=False)
    with console.capture() as captured:
        console.print(draw(PICTURE, 50))
    text = captured.get()
    for wanted in (
        "pg0 :5432",
        "LEADER",
        "1,234",
        "100",
        "1 errors",
        "4.8 s",
        "was killed",
        "f: kill",
        "psql -p 6432",
        ":9127/",
    ):
        assert wanted in text


def test_at_80x24_the_keys_and_the_newest_event_stay_visible() -> None:
    events = tuple(Event(float(number), f"event {number} {'long ' * 30}") for number in range(30))
    console = Console(width=80, height=24, force_terminal=False)
    with console.capture() as captured:
        console.print(draw(replace(PICTURE, events=events, sights=PICTURE.sights[:1] * 3), 24))
    lines = captured.get().splitlines()
    assert len(lines) <= 24
    assert "f: kill the leader   s: switchover   q: quit" in lines[0]
    assert "event 29" in lines[-2]


def test_the_plain_line_and_the_summary_say_the_same_numbers() -> None:
    assert "pg1 replica 1234 reads" in line(PICTURE)
    change = Change("failover", "pg0", "pg1", elected_s=4.8, writes_held_s=5.0, client_errors=1)
    text = summary(PICTURE, [change], [Fault(1.0, "writer", "08006 gone")], "all rows are there")
    assert "pg0 -> pg1, elected after 4.8 s, writes held for 5.0 s, errors seen by clients: 1" in text
    assert "1 x writer: 08006 gone" in text
    assert text.endswith("validator: all rows are there")


def test_a_tally_goes_on_when_the_servers_counter_starts_anew() -> None:
    tally = Tally()
    assert [tally.take(n) for n in (5, 9, 9, 3, 4)] == [5, 9, 9, 12, 13]


@pytest.mark.parametrize(("lag", "known"), [(16, 16), ("unknown", None), (None, None)])
def test_patronis_member_lines_are_read(lag: object, known: int | None) -> None:
    line_of_member = {"name": "pg1", "role": "replica", "state": "streaming", "timeline": 3, "lag": lag}
    assert decode_status(line_of_member) == MemberStatus("pg1", "replica", "streaming", 3, known)
