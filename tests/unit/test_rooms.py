"""The plan of the house (docs/architecture.md) is held to the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_go_down_only() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_plan_names_every_room() -> None:
    plan = (ROOT / "docs" / "architecture.md").read_text()
    drawn = set(re.findall(r"^  (\w+)(?:/|\.py) ", plan, re.MULTILINE))
    entries = (ROOT / "pgrouter").iterdir()
    rooms = {path.stem for path in entries if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert drawn == rooms


def test_every_compiled_module_is_built() -> None:
    hot = set(re.findall(r'"(pgrouter/[\w/]+)\.py"', (ROOT / "setup.py").read_text()))
    texts = {path: path.read_text() for path in ROOT.glob("pgrouter/**/*.pxd")}
    constants = {path for path, text in texts.items() if "\ncdef enum:\n" in text and "cdef class" not in text}
    names = {str(path.relative_to(ROOT).with_suffix("")) for path in texts.keys() - constants}
    assert hot == names - {"pgrouter/net/libc"}  # declarations of the C library, no module
