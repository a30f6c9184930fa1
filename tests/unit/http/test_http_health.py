"""Which views are healthy for what."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.desk import VIEW

from pgrouter.config.settings import ReaderSettings, Reads
from pgrouter.http import health
from pgrouter.topology import ClusterView

NOTHING = ClusterView()
LEADERLESS = replace(VIEW, primary=None, leader=None, no_primary="nobody holds the leader key")
ALONE = replace(VIEW, readers=())
STANDBY = replace(VIEW, primary=None, standby=True, no_primary="it is a standby cluster")
NEVER = Reads(primary="never")
WEIGHTLESS = Reads(balance="weighted", members=(ReaderSettings(name="pg2", weight=0),))


@pytest.mark.parametrize(
    ("view", "reads", "primary", "replica", "read_only", "ready"),
    [
        (VIEW, Reads(), True, True, True, True),
        (NOTHING, Reads(), False, False, False, False),
        (LEADERLESS, Reads(), False, True, True, True),
        (ALONE, Reads(), True, False, True, True),
        (ALONE, NEVER, True, False, False, True),
        (replace(LEADERLESS, readers=()), Reads(), False, False, False, False),
        (STANDBY, Reads(), False, True, True, True),
        (VIEW, WEIGHTLESS, True, False, True, True),
        (VIEW, Reads(primary="always"), True, True, True, True),
    ],
)
def test_what_can_be_served(
    view: ClusterView, reads: Reads, *, primary: bool, replica: bool, read_only: bool, ready: bool
) -> None:
    assert health.live(view, reads, None).ok
    assert health.primary(view, reads, None).ok == primary
    assert health.replica(view, reads, None).ok == replica
    assert health.read_only(view, reads, None).ok == read_only
    assert health.ready(view, reads, None).ok == ready


def test_the_reason_is_the_views() -> None:
    assert health.primary(LEADERLESS, Reads(), None).reason == "nobody holds the leader key"
    assert health.ready(NOTHING, Reads(), None).reason == "nothing is known yet"


def test_a_replica_may_be_too_far_behind() -> None:
    assert health.replica(VIEW, Reads(), 4096).ok
    assert not health.replica(VIEW, Reads(), 4095).ok
    assert health.read_only(VIEW, Reads(), 4095).ok  # by the primary
    unknown = replace(VIEW, members=tuple(replace(member, lag_bytes=None) for member in VIEW.members))
    assert not health.replica(unknown, Reads(), 10**9).ok


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("16777216", 16777216), ("16MB", 16 << 20), ("1 kB", 1024), ("2GB", 2 << 30), ("", None), ("-1", None),
     ("1.5MB", None), ("1mb", None), ("9" * 16, None)],
)  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    assert health.size(text) == size
