"""Thousands of clients that log in at once, with TLS and SCRAM, do not slow down those that are there."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.front import running
from support.router import static_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = [pytest.mark.pg, pytest.mark.timeout(180)]

log = logging.getLogger(__name__)

CLIENTS = 2000
CROWD = """
import asyncio, os, resource, sys
import psycopg
os.nice(19)  # the machine's cores are for the router and the client that is measured
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
async def main(dsn, number):
    made = await asyncio.gather(*(psycopg.AsyncConnection.connect(dsn) for _ in range(number)), return_exceptions=True)
    wrong = [each for each in made if isinstance(each, BaseException)]
    for each in wrong[:3]:
        print(each, file=sys.stderr)
    print(len(made) - len(wrong), flush=True)
    os._exit(0)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.slow
def test_two_thousand_logins_at_once(streaming: StreamingCluster, tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).issue("127.0.0.1")
    settings = {
        "listen": [{"host": "127.0.0.1", "port": 0, "tls": {"mode": "require", "cert": str(cert), "key": str(key)}}],
        "cluster": static_cluster(streaming.servers),
        "pool": {"max_clients": CLIENTS + 10},
        "log": {"connections": False},
    }
    with running(settings) as router, router.connect(sslmode="require") as client:
        client.execute("select 1")
        words = [sys.executable, "-c", CROWD, router.dsn(sslmode="require", connect_timeout=120), str(CLIENTS)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as crowd:
            took = []
            while crowd.poll() is None:
                begun = time.perf_counter()
                client.execute("select 1")
                took.append(time.perf_counter() - begun)
                time.sleep(0.001)
            assert crowd.stdout is not None
            assert int(crowd.stdout.read()) == CLIENTS
    took.sort()
    p99_ms = took[int(len(took) * 0.99)] * 1000
    log.info("%d statements, p50 %.1f ms, p99 %.1f ms", len(took), took[len(took) // 2] * 1000, p99_ms)
    assert p99_ms < 20  # docs/tls.md
