"""`pgrouter demo` as somebody runs it: the whole way with a failover, and ended by a signal in the middle."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import psycopg
import pytest

from pgrouter.demo import reaper
from pgrouter.demo.postgres import conninfo
from pgrouter.demo.processes import until

DEMO = [sys.executable, "-m", "pgrouter.cli.demo", "--plain"]
PSQL = re.compile(r"psql -h 127.0.0.1 -p (\d+)")
WORKDIR = re.compile(r"working in (\S+)")


def read_to(output: IO[str], pattern: re.Pattern[str]) -> str:
    """Read lines until one matches, and give the group."""
    lines = []
    for line in output:
        lines.append(line)
        if found := pattern.search(line):
            return found[1]
    pytest.fail(f"the demo never said {pattern.pattern}:\n" + "".join(lines))


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_killed_leader_costs_no_acknowledged_row() -> None:
    demo = subprocess.run(
        [*DEMO, "--failover", "--seconds", "9"], capture_output=True, text=True, timeout=110, check=False
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    change = re.search(r"failover: (\w+) -> (\w+), .* errors seen by clients: (\d+)", demo.stdout)
    assert change is not None, demo.stdout
    assert change[1] != change[2]
    assert int(change[3]) <= 4  # at most the statement that each client had under way
    assert re.search(r"validator: all \d+ acknowledged rows are on all 3 members", demo.stdout)


@pytest.mark.cluster
@pytest.mark.timeout(90)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_demo_leaves_nothing_behind(number: signal.Signals) -> None:
    with subprocess.Popen([*DEMO, "--members", "1"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        workdir = read_to(demo.stdout, WORKDIR)
        port = int(read_to(demo.stdout, PSQL))
        with psycopg.connect(conninfo(port, "demo", "demo", "demo"), connect_timeout=10) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        demo.send_signal(number)
        rest = demo.stdout.read()
    assert demo.returncode == (0 if number == signal.SIGINT else -number), rest
    until(lambda: not Path(workdir).exists(), 30, "the end of the work directory")
    assert reaper.processes_of(workdir) == {}
