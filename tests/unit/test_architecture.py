"""docs/architecture.md and the code agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_packages_import_from_lower_layers_only() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_architecture_lists_every_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    listed = set(re.findall(r"^  (\w+)(?:/|\.py) ", text, re.MULTILINE))
    entries = (ROOT / "pgrouter").iterdir()
    packages = {path.stem for path in entries if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert listed == packages


def test_types_are_checked_in_what_is_not_compiled() -> None:
    """The types of compiled modules are in their .pxd files: mypy does not look at them."""
    compiled = set(re.findall(r'"(pgrouter/[\w/]+)\.py"', (ROOT / "setup.py").read_text()))
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    skipped = next(each["module"] for each in mypy["overrides"] if each.get("follow_imports") == "skip")
    assert {name.replace(".", "/") for name in skipped} == compiled
    assert not [name for name in mypy["files"] if not (ROOT / name).exists()]


def test_every_compiled_module_is_built() -> None:
    compiled = set(re.findall(r'"(pgrouter/[\w/]+)\.py"', (ROOT / "setup.py").read_text()))
    texts = {path: path.read_text() for path in ROOT.glob("pgrouter/**/*.pxd")}
    constants = {path for path, text in texts.items() if "\ncdef enum:\n" in text and "cdef class" not in text}
    names = {str(path.relative_to(ROOT).with_suffix("")) for path in texts.keys() - constants}
    assert compiled == names - {"pgrouter/net/libc"}  # declarations of the C library, not a module
