"""What has happened: which changes of a view are events, and what is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from support.desk import VIEW, Desk

from pgrouter.admin.commands import parse
from pgrouter.admin.history import KEPT, History, changes

if TYPE_CHECKING:
    from pgrouter.topology import ClusterView

HEADLESS = replace(VIEW, number=8, leader=None, primary=None, no_primary="nobody holds the leader key")
OTHER = replace(VIEW, number=9, leader="pg2", primary="pg2")


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def read(self) -> float:
        return self.now


def kinds(before: ClusterView, after: ClusterView) -> list[tuple[str, str]]:
    return [(kind, member) for kind, member, _ in changes(before, after)]


def test_changes() -> None:
    assert kinds(VIEW, HEADLESS) == [("leader", ""), ("primary", "pg1")]
    assert kinds(VIEW, OTHER) == [("leader", "pg2"), ("primary", "pg2")]
    lagging = replace(VIEW, members=(VIEW.members[0], replace(VIEW.members[1], lag_bytes=1), VIEW.members[2]))
    assert kinds(VIEW, lagging) == []
    fewer = replace(VIEW, number=8, members=VIEW.members[:2])
    assert kinds(VIEW, fewer) == [("member", "pg3")]
    assert kinds(fewer, VIEW) == [("member", "pg3")]


def test_how_long_writes_were_held_and_what_clients_saw() -> None:
    errors = {("server", "23505"): 2}
    clock = Clock()
    history = History(VIEW, clock.read, lambda: errors)
    clock.now = 1.0
    history.follow(VIEW)
    assert history.last == 0
    clock.now = 5.0
    history.follow(HEADLESS)
    errors.update({("server", "57P01"): 2, ("router", "57P01"): 1})
    clock.now = 7.5
    history.follow(OTHER)
    assert [event.text for event in history.kept] == [
        "leader: pg1 -> nobody",
        "pg1 is no longer primary: nobody holds the leader key; writes are held",
        "leader: nobody -> pg2",
        "pg2 is primary; writes were held for 2.5 s; errors that clients got: 3 x 57P01",
    ]
    assert history.kept[-1].seconds == 2.5
    assert history.kept[-1].data["errors"] == {"57P01": 3}
    clock.now = 8.0
    history.follow(replace(VIEW, number=10))
    assert history.kept[-1].text == "primary: pg2 -> pg1; errors that clients got: none"
    assert [event.number for event in history.since(4)] == [5, 6]


def test_members_and_what_is_noted() -> None:
    clock = Clock()
    history = History(replace(VIEW, number=6, members=VIEW.members[:1]), clock.read)
    clock.now = 1.0
    history.follow(VIEW)
    history.note("reload", "configuration reloaded")
    assert [event.text for event in history.kept] == [
        "pg2: replica, gets reads",
        "pg3: unknown (it does not answer)",
        "configuration reloaded",
    ]


def test_the_source_and_its_maintenance_mode() -> None:
    history = History(VIEW, Clock().read)
    history.follow(replace(VIEW, number=8, dcs_reachable=not VIEW.dcs_reachable, paused=True))
    history.follow(replace(VIEW, number=9))
    assert [event.kind for event in history.kept] == ["dcs", "maintenance"] * 2
    assert "cluster" not in [event.kind for event in history.kept]  # on the HTTP port that is the cluster itself
    assert history.kept[-1].text == "Patroni is no longer paused"


def test_it_is_bounded() -> None:
    clock = Clock()
    history = History(VIEW, clock.read)
    for number in range(10, 10 + KEPT):
        clock.now = 8.0
        history.follow(replace(HEADLESS if number % 2 else OTHER, number=number))
    assert len(history.kept) == KEPT
    assert history.kept[-1].number == history.last > KEPT


def test_show_events(desk: Desk) -> None:
    desk.wait(1.5)
    desk.history.follow(OTHER)
    (command,) = parse("SHOW EVENTS")
    assert list(command.run(desk.context())) == [
        (1, "2023-11-14T22:13:20.000+00:00", "leader", "pg2", "leader: pg1 -> pg2", None),
        (
            2,
            "2023-11-14T22:13:20.000+00:00",
            "primary",
            "pg2",
            "primary: pg1 -> pg2; errors that clients got: none",
            "1.500",
        ),
    ]
