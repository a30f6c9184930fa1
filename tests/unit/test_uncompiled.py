"""The tests of the compiled modules, once more, on their Python source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pgrouter

ROOT = Path(__file__).parents[2]
HOT = [
    "tests/unit/net",
    "tests/unit/protocol",
    "tests/unit/auth",
    "tests/unit/proxy",
    "tests/unit/pool",
    "tests/property/test_chunking.py",
    "tests/property/test_framing.py",
    "tests/property/test_outstanding_model.py",
    "tests/property/test_pool_machine.py",
]


@pytest.mark.timeout(300)
@pytest.mark.skipif(not pgrouter.COMPILED, reason="they have just run uncompiled")
def test_the_hot_rooms_pass_uncompiled() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.pure", "-q", "-x", *HOT],
        cwd=ROOT, env=os.environ | {"PGROUTER_PURE": "1"}, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_plugin_gives_the_source() -> None:
    question = "import tests.support.pure, pgrouter, pgrouter.net.stream as s; print(pgrouter.COMPILED, s.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", question],
        cwd=ROOT, env=os.environ | {"PGROUTER_PURE": "1"}, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    compiled, _, file = told.stdout.strip().partition(" ")
    assert (compiled, Path(file).name) == ("False", "stream.py")
