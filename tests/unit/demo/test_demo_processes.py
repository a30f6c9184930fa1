"""Processes by pid and start time, and how root is dropped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pgrouter.demo.processes import DemoError, Process, process, reachable, read_capability, run, spawn, until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_process_is_not_taken_for_a_later_one_with_its_pid() -> None:
    me = process(os.getpid())
    assert me is not None
    assert me.alive
    assert not Process(me.pid, me.started + 1).alive


def test_kill_takes_the_descendants_too() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        child = process(int(shell.stdout.readline()))
        parent = process(shell.pid)
        assert child is not None
        assert parent is not None
        parent.kill()
        assert not child.alive


def test_servers_never_run_as_root(tmp_path: Path) -> None:
    assert run(["id", "-u"], tmp_path).strip() != "0"
    assert run(["sh", "-c", "echo $HOME"], tmp_path).strip() == str(tmp_path)


def test_the_service_user_can_read_our_python(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", "import yaml; print(yaml.__name__)"], tmp_path) == "yaml\n"


def test_a_program_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="no such luck"):
        run(["sh", "-c", "echo no such luck >&2; exit 3"], tmp_path)


def test_a_started_program_logs_and_ends_on_a_signal(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    log = tmp_path / "log"
    started = spawn(["sh", "-c", "echo here; exec sleep 60"], tmp_path, log)
    until(lambda: log.read_text() == "here\n", 30, "its word")
    started.signal(signal.SIGTERM)
    started.wait_gone(5)


@pytest.mark.parametrize(
    ("bounding", "capability"),
    [("000001ffffffffff", "dac_read_search"), ("00000000a80425fb", "dac_override")],  # everything; Docker's default
)
def test_the_least_capability_that_reads_past_modes(bounding: str, capability: str) -> None:
    assert read_capability(f"Name:\tx\nCapBnd:\t{bounding}\n") == capability


def test_without_such_a_capability_the_error_says_what_to_do() -> None:
    with pytest.raises(DemoError, match="move the checkout"):
        read_capability("CapBnd:\t0000000000000000\n")


def test_a_directory_closed_to_others_hides_what_is_in_it(tmp_path: Path) -> None:
    inside = tmp_path / "closed" / "file"
    inside.parent.mkdir(mode=0o700)
    inside.touch(0o644)
    assert not reachable([inside])
    assert reachable(["/bin/sh"])
