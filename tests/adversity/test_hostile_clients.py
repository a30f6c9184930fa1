"""One client's message must not keep the others waiting: a well-behaved client in a process of its own beside each."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.rawclient import SYNC, RawClient, query

if TYPE_CHECKING:
    from support.router import Router

pytestmark = pytest.mark.pg

# Its 99th percentile of 1.5 s; the target is 20 ms, and a machine that is busy with other tests gets some more.
PATIENCE_MS = 60
GOOD = """
import sys, time, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as client:
    client.execute("select 1")
    print("ready", flush=True)
    taken, end = [], time.monotonic() + 1.5
    while time.monotonic() < end:
        begin = time.monotonic()
        client.execute("select 1")
        taken.append(time.monotonic() - begin)
        time.sleep(0.003)
print(1000 * sorted(taken)[int(len(taken) * 0.99)])
"""
ATTACKS = {
    "statements": query("select 1;" * 20000),
    "comments": query("/*" * 40000 + "*/" * 40000 + "select 1"),
    "signs": query("select " + "+" * 200000 + "1"),
    "terms": query("select " + " or ".join(["true"] * 20000)),
    "syncs": SYNC * 50000,
    "empty queries": query("") * 40000,
    "new statements": b"".join(query(f"select 1 as a{number}") for number in range(400)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_others_go_on_beside(front: Router, attack: str) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", GOOD, front.dsn()], stdout=subprocess.PIPE, text=True) as good,
        RawClient(front.port) as hostile,
    ):
        assert good.stdout is not None
        assert good.stdout.readline() == "ready\n"
        hostile.login()
        hostile.send(ATTACKS[attack])
        told = float(good.stdout.read())
    assert told < PATIENCE_MS


def test_only_one_request_for_ssl_comes_before_the_startup_packet(front: Router) -> None:
    with RawClient(front.port) as hostile:
        hostile.send(struct.pack("!II", 8, 80877103) * 2)
        assert hostile.sock.recv(1) == b"N"
        assert b"unsupported frontend protocol 1234.5679" in hostile.sock.recv(4096)


def test_a_long_text_keeps_its_class(front: Router) -> None:
    rows = ",".join(f"({number}, 'word {number}')" for number in range(3000))
    with front.connect() as client:
        client.execute(f"insert into items values {rows}")  # noqa: S608
        assert client.execute("select count(*) from items").fetchone() == (3000,)
        assert not [row for row in front.admin("SHOW CLIENTS") if row["pin"]]
