"""What is remembered of a member after answers and failures."""

from __future__ import annotations

from pgrouter.cluster.health import LOST_AFTER, UNSTREAMED_AFTER, Probe, ServerReport
from pgrouter.topology import Role


def replica(timeline: int = 1, *, streaming: bool = True, system_id: str = "7") -> ServerReport:
    return ServerReport(role=Role.REPLICA, system_id=system_id, timeline=timeline, streaming=streaming)


def primary(timeline: int = 1, asked_s: float = 0.0) -> ServerReport:
    return ServerReport(role=Role.PRIMARY, system_id="7", timeline=timeline, asked_s=asked_s)


def test_one_failure_is_forgiven_and_an_answer_forgives_all() -> None:
    probe = Probe().answered(replica()).failed("x")
    assert probe.valid_report is not None
    for _ in range(LOST_AFTER - 1):
        probe = probe.failed("x")
    assert probe.lost
    assert probe.valid_report is None
    assert probe.answered(replica()) == Probe().answered(replica())


def test_a_short_break_of_the_stream_is_forgiven() -> None:
    probe = Probe().answered(replica(2))
    for _ in range(UNSTREAMED_AFTER - 1):
        probe = probe.answered(replica(1, streaming=False))
        assert probe.streams
    probe = probe.answered(replica(1, streaming=False))
    assert not probe.streams
    assert probe.streamed_timeline == 2
    assert probe.timeline == 2  # what the control file alone says may be older


def test_a_primary_forgets_what_it_was_as_a_replica() -> None:
    probe = Probe().answered(replica(2)).answered(primary(3)).answered(replica(3, streaming=False))
    assert probe.streamed_timeline == 0
    assert not probe.streams


def test_another_system_forgets_what_it_was() -> None:
    probe = Probe().answered(replica(5)).answered(replica(1, streaming=False, system_id="8"))
    assert (probe.timeline, probe.streamed_timeline) == (1, 0)


def test_since_when_it_is_primary() -> None:
    probe = Probe().answered(primary(2, asked_s=10)).failed("x").answered(primary(2, asked_s=20))
    assert probe.primary_since_s == 10
    assert probe.answered(primary(3, asked_s=30)).primary_since_s == 30
    assert probe.answered(replica(2)).answered(primary(2, asked_s=40)).primary_since_s == 40
