"""`pgrouter status`, `top` and `events`, as somebody runs them from another machine."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.postgres import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

PROGRAM = (sys.executable, "-m", "pgrouter.cli.main")
# The terminal becomes the one that controls the process, as a shell's does
IN_A_TERMINAL = """import fcntl, sys, termios
from pgrouter.cli.main import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(main())"""
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    settings = {"cluster": static_cluster(_streaming_cluster.servers), "admin": {"admin_users": [USER]}}
    with running(settings) as router:
        yield router


def environment(front: Router) -> dict[str, str]:
    return os.environ | {
        "PGHOST": "127.0.0.1", "PGPORT": str(front.port), "PGUSER": USER, "PGPASSWORD": PASSWORD, "TERM": "xterm",
        "COLUMNS": "150", "LINES": "30",
    }  # fmt: skip


def tool(front: Router, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], env=environment(front), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def test_status_for_people(front: Router) -> None:
    with front.connect() as client:
        client.execute("select 1")
        dbname = client.info.dbname
        done = tool(front, "status")
    assert done.returncode == 0, done.stderr
    first, second, *rest = done.stdout.splitlines()
    assert "pgrouter" in first
    assert re.match(r"writes go to pg0; [1-9]\d* clients, \d+ servers in use", second)
    assert any(re.match(r"pg1 .* no +yes ", line) for line in rest)
    assert any(re.match(rf"{dbname} +{USER} ", line) for line in rest)


def test_status_as_json(front: Router) -> None:
    done = tool(front, "status", "--json")
    found = json.loads(done.stdout)
    assert {member["name"]: member["writable"] for member in found["members"]} == {
        "pg0": True, "pg1": False, "pg2": False,
    }  # fmt: skip
    assert found["state"]["primary"] == "pg0"


def test_a_router_that_does_not_answer(front: Router) -> None:
    for words in (("status",), ("top", "-b", "-n", "1"), ("events",)):
        done = tool(front, *words, "host=127.0.0.1 port=1")
        assert done.returncode == 1
        assert "connection" in done.stderr
        assert "Traceback" not in done.stderr
    done = tool(front, "status", "-U", "nobody")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_top_without_a_terminal(front: Router) -> None:
    done = tool(front, "top", "-n", "2", "-d", "0.3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("primary: pg0") == 2
    assert done.stdout.count("reads") == 4
    assert "\x1b" not in done.stdout
    done = tool(front, "top", "-b", "-n", "1", "--page", "databases")
    assert "ms/transaction" in done.stdout


def test_top_in_a_terminal_follows_keys(front: Router) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, "top", "-d", "0.2"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment(front), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        until_shown(ours, "members")
        for key, words in (
            ("p", "cl_waiting"),
            (">", "database v"),
            ("-", "database \\^"),
            ("r", "target"),
            ("m", "queries/s"),
        ):
            os.write(ours, key.encode())
            until_shown(ours, words)
        os.write(ours, b"q")
        until_shown(ours, "\x1b\\[\\?1049l")  # the terminal is as it was
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def until_shown(terminal: int, words: str) -> None:
    shown, deadline = "", time.monotonic() + TIMEOUT_S
    while not re.search(words, shown):
        assert time.monotonic() < deadline, (words, shown[-2000:])
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
