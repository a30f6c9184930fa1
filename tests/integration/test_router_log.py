"""The log of a running router: who does not read it stops nobody, and nobody writes it but the router."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.rawclient import CANCEL_REQUEST, RawClient, sqlstate, startup
from support.router import Router, static_cluster

from pgrouter.demo.processes import until
from pgrouter.demo.router import CODE, PROGRAM, READY
from pgrouter.demo.workdir import Workdir

if TYPE_CHECKING:
    from pathlib import Path

    from support.router import RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg


def test_a_pipe_that_nobody_reads_stops_nobody(streaming: StreamingCluster) -> None:
    workdir = Workdir("router")
    settings = {
        "cluster": static_cluster(streaming.servers), "auth": {"type": "trust"}, "log": {"level": "debug"},
    }  # fmt: skip
    configured = Router(settings, users=None, number=1, workdir=workdir)
    argv = [sys.executable, "-c", PROGRAM, "run", "--config", str(configured.process.config)]
    run = subprocess.Popen(argv, cwd=CODE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with run:
        assert run.stdout is not None
        assert run.stderr is not None
        ready = READY.search(run.stdout.readline())
        assert ready is not None
        lines = 0
        began = time.monotonic()
        while lines < 2000:  # 150 kB: a pipe takes 64
            with RawClient(int(ready[2])) as client:
                client.login()
            lines += 2
        assert time.monotonic() - began < 60
        run.send_signal(signal.SIGTERM)
        said = run.stderr.read()
        assert run.wait(20) == 0
    assert len(re.findall(r"C-\d+ postgres/postgres@127.0.0.1:\d+: login$", said, re.MULTILINE)) == lines / 2
    assert said.endswith("pgrouter: stopped\n")
    workdir.remove()


def test_names_forge_no_lines(streaming: StreamingCluster, router: RouterFactory) -> None:
    front = router({"cluster": static_cluster(streaming.servers)})
    forged = "2026-11-30T00:00:00.000+00:00 INFO    pgrouter.client: C-1 app/root@10.0.0.1:1: login"
    for name in (f"x\n{forged}", f"x\r{forged}\x1b[2J", f"x\u2028{forged}"):
        with RawClient(front.port) as raw:
            raw.send(startup(user=name, database=name, application_name=name))
            raw.until("ER")
    with pytest.raises(psycopg.Error), front.connect() as client:
        client.execute(f'select "x\n{forged}"')
    until(lambda: front.log_text().count("forged") == 0 and front.log_contains("login"), 5, "the log was written")
    assert not [line for line in front.log_text().splitlines() if line.startswith(forged[:40])]


def test_wrong_keys_by_the_thousand_are_a_few_lines(streaming: StreamingCluster, router: RouterFactory) -> None:
    front = router({"cluster": static_cluster(streaming.servers)})
    wrong = struct.pack("!IIII", 16, CANCEL_REQUEST, 1, 0)
    for _ in range(3000):
        with RawClient(front.port) as raw:
            raw.send(wrong)
            assert raw.until_closed() == []
    until(lambda: front.log_contains("more lines in a second: cancel request with a wrong key"), 10, "they are counted")
    lines = front.log_text().splitlines()
    told = [line for line in lines if "cancel request with a wrong key for C-1" in line]
    missed = [int(number) for line in lines for number in re.findall(r"\.\.\. (\d+) more lines in a second", line)]
    assert len(told) < 1000
    until(lambda: _all_of(front) == 3000, 10, "all of them are told or counted")
    assert missed
    with front.connect() as client:
        assert client.execute("select 1").fetchone() == (1,)


def _all_of(front: Router) -> int:
    text = front.log_text()
    counted = re.findall(r"\.\.\. (\d+) more lines in a second: cancel request", text)
    return len(re.findall(r"cancel request with a wrong key for C-1$", text, re.MULTILINE)) + sum(map(int, counted))


def test_a_refusal_is_logged_with_the_name_it_was_for(streaming: StreamingCluster, router: RouterFactory) -> None:
    front = router({"cluster": static_cluster(streaming.servers)})
    with RawClient(front.port) as raw:
        raw.send(startup(4 << 16, user="postgres"))
        assert sqlstate(raw.until_closed()) == "0A000"
    until(lambda: front.log_contains(r"C-\d+ -: login failed: unsupported frontend protocol 4.0"), 5, "it is logged")


def test_set_moves_the_log_until_the_next_reload(
    streaming: StreamingCluster, router: RouterFactory, tmp_path: Path
) -> None:
    front = router({"cluster": static_cluster(streaming.servers)})
    file = tmp_path / "router.log"
    front.admin(f"SET log.file = '{file}'")
    assert front.admin("SHOW VERSION")
    until(lambda: file.exists() and "login" in file.read_text(), 5, "the log is there")
    lines = file.read_text().count("\n")
    front.process.reload()
    until(lambda: front.log_contains("configuration reloaded"), 5, "it is back")
    assert file.read_text().count("\n") == lines
