"""What SHOW EVENTS remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support.desk import VIEW

from pgrouter.admin.events import KEPT, EventLog, changes

if TYPE_CHECKING:
    from pgrouter.topology import ClusterView

HELD = replace(VIEW, primary=None, leader=None, no_primary="nobody holds the leader key")
FEWER = replace(VIEW, members=VIEW.members[:2])
LATE = replace(VIEW, members=(VIEW.members[0], replace(VIEW.members[1], readable=False, reason="it lags")), readers=())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (VIEW, VIEW, []),
        (VIEW, HELD, [("leader", ""), ("primary", "")]),
        (HELD, VIEW, [("leader", "pg1"), ("primary", "pg1")]),
        (VIEW, FEWER, [("member", "pg3")]),
        (FEWER, VIEW, [("member", "pg3")]),
        (FEWER, LATE, [("reads", "pg2")]),
        (VIEW, replace(VIEW, dcs_reachable=False), [("dcs", "")]),
        (VIEW, replace(VIEW, paused=True, standby=True), [("cluster", ""), ("cluster", "")]),
        (VIEW, replace(VIEW, number=8, lsn=77), []),
    ],
)
def test_what_a_view_changes(old: ClusterView, new: ClusterView, expected: list[tuple[str, str]]) -> None:
    assert [(kind, member) for kind, member, _ in changes(old, new)] == expected


def test_the_reason_is_told() -> None:
    texts = [text for _, _, text in changes(VIEW, HELD)]
    assert texts[1] == "primary pg1 -> none: nobody holds the leader key"


def test_how_long_writes_were_held() -> None:
    now = [10.0]
    log = EventLog(lambda: now[0], lambda: 0.0)
    for at, view in ((11.0, VIEW), (20.0, HELD), (21.0, replace(HELD, number=9)), (22.5, VIEW)):
        now[0] = at
        log.follow(view)
    assert [event.held_s for event in log if event.kind == "primary"] == [1.0, None, 2.5]


def test_only_the_last_ones_are_kept() -> None:
    log = EventLog(lambda: 0.0, lambda: 0.0)
    for number in range(KEPT + 5):
        log.note("set", "x" * 10_000 + str(number))
    events = list(log)
    assert len(events) == KEPT
    assert (events[0].number, events[-1].number, log.last) == (6, KEPT + 5, KEPT + 5)
    assert len(events[0].text) == 500
