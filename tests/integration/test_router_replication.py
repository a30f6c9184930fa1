"""Replication connections are refused, in words that say where to go instead."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.rawclient import RawClient, startup
from support.router import static_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg


@pytest.fixture
def front(router: RouterFactory, streaming: StreamingCluster) -> Router:
    return router({"cluster": static_cluster(streaming.servers), "auth": {"type": "trust"}})


def test_a_startup_packet_that_asks_for_it(front: Router) -> None:
    for value in ("true", "on", "yes", "1", "database"):
        with RawClient(front.port) as client:
            client.send(startup(user="postgres", database="postgres", replication=value))
            said = client.until_closed()
            assert [(m.code, m.fields["S"], m.fields["C"]) for m in said] == [("E", "FATAL", "0A000")]
            assert said[0].fields["M"] == "replication connections do not pass through pgrouter"
            assert "member itself" in said[0].fields["H"]
    for value in ("false", "off", "no", "0"):
        with RawClient(front.port) as client:
            assert client.login(replication=value)[-1].code == "Z"


def test_drivers_and_tools_say_so(front: Router, streaming: StreamingCluster, tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError, match="replication connections do not pass"):
        psycopg.connect(front.dsn(replication="database"))
    done = subprocess.run(
        [streaming.binaries.directory / "pg_receivewal", "-n", "-D", tmp_path, "-d", front.dsn()],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "replication connections do not pass through pgrouter" in done.stderr
