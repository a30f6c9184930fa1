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
        log.info("%d statements, p50 %.1f ms, p99 %.1f ms", len(took), took[len(took) // 2] * 1000, p99_ms)
    assert p99_ms < 20  # docs/tls.md
