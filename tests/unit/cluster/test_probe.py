"""Answers to the monitor's question, and the text of failures."""

from __future__ import annotations

import pytest

from pgrouter.cluster.probe import read_row
from pgrouter.libpq.query import QueryError, one_line
from pgrouter.topology import Role


def test_a_primary() -> None:
    report = read_row(["f", "7710441312518985579", "3", "22095256", None, None, "d", "t", "1"], 1.0, 2.0)
    assert (report.role, report.system_id, report.timeline, report.lsn) == (
        Role.PRIMARY,
        "7710441312518985579",
        3,
        22095256,
    )
    assert (report.received_lsn, report.streaming, report.asked_s, report.answered_s) == (0, False, 1.0, 2.0)


def test_a_replica() -> None:
    report = read_row(["t", "7", "2", "100", "120", "t", "d", "f", "1"], 1.0, 2.0)
    assert (report.role, report.lsn, report.received_lsn, report.streaming) == (Role.REPLICA, 100, 120, True)
    assert (report.defaults, bool(report.unseen)) == ("d", True)


def test_a_replica_without_a_receiver_has_replayed_nothing_yet() -> None:
    report = read_row(["t", "7", "2", None, None, None, None, None, None], 1.0, 2.0)
    assert (report.lsn, report.streaming) == (0, False)


@pytest.mark.parametrize(
    "row",
    [
        [],
        ["t"],
        ["x", "7", "1", "1", "1", "t", "d", "t", "1"],
        [None] * 9,
        ["t", "7", "one", "1", "1", "t", "d", "t", "1"],
    ],
)
def test_nonsense(row: list[str | None]) -> None:
    with pytest.raises(QueryError, match="makes no sense"):
        read_row(row, 1.0, 2.0)


def test_libpq_messages_become_one_line() -> None:
    text = 'connection to server at "127.0.0.1", port 1 failed: Connection refused\n\tIs the server running?\n'
    assert one_line(text).endswith("Connection refused Is the server running?")
