"""docs/architecture.md and the code agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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
    assert compiled == names - {"pgrouter/libc"}  # declarations of the C library, not a module


# -- the compiled modules, whose imports for C the linter does not see

IMPORT = re.compile(r"^from (pgrouter(?:\.\w+)*) (cimport|import) (\([^)]*\)|.*)$", re.MULTILINE)


def layers() -> dict[str, int]:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    lowest_first = enumerate(reversed(contract["layers"]))
    return {name: number for number, layer in lowest_first for name in layer.split(" | ")}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported() -> dict[str, set[str]]:
    """Return the modules that each module imports or cimports when it is loaded."""
    modules = {module_of(path) for path in (ROOT / "pgrouter").rglob("*.p*") if path.suffix in (".py", ".pxd")}
    found: dict[str, set[str]] = {module: set() for module in modules}
    for path in (ROOT / "pgrouter").rglob("*.p*"):
        if path.suffix not in (".py", ".pxd"):
            continue
        for package, _, names in IMPORT.findall(path.read_text()):
            inner = {f"{package}.{name.split(' as ')[0].strip()}" for name in names.strip("()").split(",")}
            found[module_of(path)] |= (inner & modules) or {package}
    return found


def test_c_imports_go_down_only() -> None:
    level = layers()
    for path in (ROOT / "pgrouter").rglob("*.pxd"):
        own = path.relative_to(ROOT).parts[1]
        for package, kind, _ in IMPORT.findall(path.read_text()):
            assert kind == "cimport"
            other = package.split(".")[1] if "." in package else "libc"  # the C library: below all
            assert other in (own, "libc") or level[other] < level[own], f"{path.name} cimports {package}"


def test_modules_do_not_import_in_circles() -> None:
    graph = imported()
    done: set[str] = set()
    while ready := {module for module in graph.keys() - done if not (graph[module] & graph.keys()) - done - {module}}:
        done |= ready
    assert done == set(graph)


CLASS = re.compile(r"^cdef class (\w+)(?:\((\w+)\))?:\n((?:    .*\n|\n)+)", re.MULTILINE)
FIELD = re.compile(r"^    cdef (?:public |readonly )?([\w .]+?) ?\**\w+$", re.MULTILINE)


def classes() -> dict[str, tuple[str, list[str]]]:
    """Return the base and the types of the fields of each compiled class."""
    texts = [path.read_text() for path in sorted((ROOT / "pgrouter").rglob("*.pxd"))]
    found = [found for text in texts for found in CLASS.findall(text)]
    return {name: (base, FIELD.findall(body)) for name, base, body in found}


def test_streams_are_inherited_from_once() -> None:
    bases = {name: base for name, (base, _) in classes().items()}
    for name in ("ClientConnection", "ServerConnection"):
        assert bases[name] == "Stream"
    assert not [name for name, base in bases.items() if bases.get(base, "") == "Stream" and base != "BytesStream"]


# What there is for each connection, besides its stream: more of it takes a reason, and booleans a second look at which
# state is missing.
CLIENT = (
    "ClientConnection ClientPeer Peer Session Link Requester DeferredStatements BatchScanner Batch Dispatcher Demand "
    "ClientStatements HeldStatements StatementNames UnnamedStatement"
)
SERVER = "ServerConnection ServerSession ReplayBuffer"


@pytest.mark.parametrize(("names", "fields", "booleans"), [(CLIENT, 113, 14), (SERVER, 50, 8)])
def test_connections_do_not_grow(names: str, fields: int, booleans: int) -> None:
    types = [kind for name in names.split() for kind in classes()[name][1]]
    assert (len(types), types.count("bint")) <= (fields, booleans)
    assert len(types) > fields - 5, "lower the limit"
