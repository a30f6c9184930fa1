"""PostgreSQL's client programs, pointed at a router."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from pgrouter.demo.binaries import find_postgres

if TYPE_CHECKING:
    from pathlib import Path


def program(name: str) -> str:
    """Find psql or pgbench: beside the server's programs, or on the path; skip the test if there is none."""
    beside = find_postgres().program(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def run_program(
    name: str, *arguments: str | Path, stdin: str = "", timeout_s: float = 40
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; the caller looks at returncode, stdout and stderr."""
    return subprocess.run(
        [program(name), *map(str, arguments)],
        input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s,
    )  # fmt: skip
