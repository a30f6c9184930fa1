"""Keepalive on the router's own sockets, as the kernel sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from support.router import RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

ESTABLISHED, KEEPALIVE = "01", "02"
HZ = 100


def timers(local: int | None, remote: int | None) -> list[tuple[str, float]]:
    """Give (kind, seconds to go) of the timers of established connections (proc_net_tcp.txt of the kernel)."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        ours, theirs = (int(word.split(":")[1], 16) for word in words[1:3])
        if words[3] == ESTABLISHED and local in (None, ours) and remote in (None, theirs):
            kind, when = words[5].split(":")
            found.append((kind, int(when, 16) / HZ))
    return found


def test_both_sides_are_asked_whether_they_are_there(router: RouterFactory, streaming: StreamingCluster) -> None:
    settings = {"cluster": static_cluster([streaming.primary]), "tcp": {"keepidle": "777s"}}
    front = router(settings)
    with front.connect() as client:
        client.execute("select 1")
        until(lambda: waiting(timers(front.port, None)) == 1, 5, "the client is idle")  # until then: retransmission
        until(lambda: waiting(timers(None, streaming.primary.port)) == 1, 5, "the server is idle")


def waiting(found: list[tuple[str, float]]) -> int:
    """Count the connections that will be asked after 777 s of silence."""
    return sum(kind == KEEPALIVE and 700 < left_s <= 777 for kind, left_s in found)
