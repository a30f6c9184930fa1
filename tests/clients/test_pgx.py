"""pgx: cached prepared statements, batches, COPY, a pool, cancellation, in clear and over TLS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.authority import Authority
    from support.router import Router

pytestmark = pytest.mark.pg

HERE = Path(__file__).parent / "go"
BUILT = Path(__file__).parents[2] / "build" / "pgx"
EXPECTED = {
    "sum": 90, "batch": ["0x", "1x", "2x", "3x", "4x"], "copied": 1000, "total": 499500,
    "error": "22012", "cancelled": True, "answers": 200,
}  # fmt: skip


@pytest.fixture(scope="module")
def program() -> Path:
    """Give the program, compiled once; `make clean` removes it."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    made = BUILT / "pgx"
    sources = [HERE / name for name in ("main.go", "go.mod", "go.sum")]
    if made.exists() and made.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return made
    if found is None:
        pytest.skip("no Go: apt-get install golang-go, or https://go.dev/dl")
    BUILT.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOFLAGS": "-mod=mod -modcacherw", "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            [found, "build", "-o", made, "."], cwd=HERE, env=environment, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip("no pgx: it could not be fetched and built within two minutes")
    if done.returncode:
        pytest.skip(f"no pgx: go build: {done.stderr.strip().splitlines()[-1]}")
    return made


@pytest.mark.parametrize("mode", ["disable", "verify-full"])
def test_everything_pgx_does(program: Path, front: Router, authority: Authority, mode: str) -> None:
    login = f"postgres://postgres:postgres@127.0.0.1:{front.port}/postgres"
    url = f"{login}?sslmode={mode}" + (f"&sslrootcert={authority.ca}" if mode != "disable" else "")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    done = subprocess.run([program, url], env=clean, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED
    assert [row for row in front.admin("SHOW CLIENTS") if row["database"] == "postgres"] == []
