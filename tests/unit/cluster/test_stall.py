"""What must be known after the router's process was stopped, before anybody gets writes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pgrouter.cluster.health import Probe, ServerReport
from pgrouter.cluster.merge import merge
from pgrouter.cluster.patroni_keys import DcsMember, Snapshot
from pgrouter.cluster.stall import MOST_S, Stall
from pgrouter.cluster.static import elect
from pgrouter.topology import ClusterView, Role

STALL = Stall(12.0, ended_s=100.0)
MEMBERS = tuple(DcsMember(name=f"pg{i}", host="127.0.0.1", port=i + 1) for i in range(2))


def said(asked_s: float, role: Role = Role.PRIMARY, timeline: int = 1) -> Probe:
    return Probe().answered(ServerReport(role=role, system_id="7", timeline=timeline, asked_s=asked_s))


@pytest.mark.parametrize(
    ("read_s", "reachable", "asked_s", "now_s", "over"),
    [
        (99.0, True, (101.0, 101.0), 101.0, False),  # the source may have said this before
        (100.0, True, (99.0, 99.0), 101.0, True),
        (99.0, False, (101.0, 99.0), 101.0, False),  # without the source, all servers have to be asked again
        (99.0, False, (101.0, 101.0), 101.0, True),
        (99.0, True, (101.0, 101.0), 100.0 + MOST_S, True),
        (99.0, True, (101.0, 99.0), 100.0 + MOST_S, False),
    ],
)
def test_when_it_is_over(
    read_s: float, asked_s: tuple[float, ...], now_s: float, *, reachable: bool, over: bool
) -> None:
    snapshot = Snapshot(members=MEMBERS, leader="pg0", read_s=read_s, reachable=reachable)
    assert STALL.is_over(snapshot, [said(each) for each in asked_s], now_s) is over
    failed = [said(50.0).failed("no answer", asked_s=each) for each in asked_s]
    assert STALL.is_over(snapshot, failed, now_s) is over


def test_the_leader_has_to_report_again() -> None:
    snapshot = Snapshot(members=MEMBERS, leader="pg0", heard_s=90.0, read_s=90.0)
    probes = {"pg0": said(90.0), "pg1": said(90.0, Role.REPLICA)}
    view = merge(ClusterView(), snapshot, probes)
    assert view.primary == "pg0"
    view = merge(view, replace(snapshot, hold=STALL.reason), probes)
    assert view.primary is None
    assert (
        view.no_primary == "pg0 leads, but the router itself stood still for 12.0 s and has not heard since who leads"
    )
    assert view.fenced is None  # open transactions may be finished if it still leads
    afresh = replace(snapshot, read_s=101.0, heard_s=101.0, leader_since_s=STALL.ended_s)
    view = merge(view, afresh, probes)
    assert view.primary is None
    view = merge(view, afresh, probes | {"pg0": said(101.0)})
    assert view.primary == "pg0"


def test_static_members_are_as_current_as_the_query_longest_ago() -> None:
    probes = {"pg0": said(101.0), "pg1": said(90.0, Role.REPLICA)}
    assert elect(MEMBERS, ClusterView(), probes).read_s == 90.0
    assert elect(MEMBERS, ClusterView(), probes | {"pg1": Probe().failed("x", asked_s=102.0)}).read_s == 101.0
    assert elect(MEMBERS, ClusterView(), {"pg0": said(101.0)}).read_s == 0.0
