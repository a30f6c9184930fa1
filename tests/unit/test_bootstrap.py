"""What scripts/bootstrap compiles and what it leaves, on a package of one hot module."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
SETUP = """\
from setuptools import Extension, setup
from Cython.Build import cythonize
HOT = [
    "pgrouter/hot.py",
]
setup(packages=[], ext_modules=cythonize([Extension("pgrouter.hot", HOT)], language_level=3))
"""
HOT = "import cython\n\n\ndef is_compiled():\n    return cython.compiled\n\n\ndef answer():\n    return {}\n"
INIT = "from pgrouter import hot\n\nCOMPILED = hot.is_compiled()\n"


class House:
    """A checkout with a .venv that is this one, and the bootstrap that looks after it."""

    def __init__(self, root: Path, module: ModuleType) -> None:
        self.root, self.module = root, module
        self.hot = root / "pgrouter" / "hot.py"

    def bring(self, word: str) -> None:
        """Do what `scripts/bootstrap WORD` does."""
        self.module.bring_up_to_date(self.module.WORDS[word], compiles=word in self.module.COMPILED_FOR)

    def answer(self) -> str:
        """Run the package: whether it is compiled, and what its module says."""
        asks = "import pgrouter; print(pgrouter.COMPILED, pgrouter.hot.answer())"
        python = [self.module.PYTHON, "-c", asks]
        return subprocess.run(python, cwd=self.root, capture_output=True, text=True, check=True).stdout.strip()

    def write(self, value: int, age_s: float = 0.0) -> None:
        """Change the module."""
        self.hot.write_text(HOT.format(value))
        at = self.hot.stat().st_mtime - age_s
        os.utime(self.hot, (at, at))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    here: dict[str, Any] = {"ROOT": tmp_path, "VENV": tmp_path / ".venv", "LOG": tmp_path / "build" / "log"}
    here |= {"PYTHON": tmp_path / ".venv/bin/python", "STAMP": tmp_path / ".venv/stamp"}
    for name, value in here.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.delenv("PGROUTER_BUILD", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for directory in ("pgrouter", ".venv/bin", "build"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "setup.py").write_text(SETUP)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "pgrouter" / "__init__.py").write_text(INIT)
    (tmp_path / "pgrouter" / "hot.pxd").write_text("")
    module.PYTHON.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')  # a link would not find its packages
    module.PYTHON.chmod(0o755)
    house = House(tmp_path, module)
    house.write(1, age_s=100)
    packages, _build = module.fingerprints()
    module.STAMP.write_text(f"{packages} none plain demo\n")  # the packages are installed
    return house


@pytest.fixture
def compiler(house: House) -> None:
    if house.module.missing_for_build():
        pytest.skip(house.module.missing_for_build())


def test_the_demo_compiles_nothing_and_says_so(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.bring("demo")
    assert house.answer() == "False 1"
    told = capfd.readouterr().err
    assert "make build" in told
    assert len(told.splitlines()) == 2, told  # and "ready in"


@pytest.mark.usefixtures("compiler")
def test_what_was_compiled_once_is_kept_up_to_date(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.bring("build")
    assert house.answer() == "True 1"
    capfd.readouterr()
    house.bring("demo")
    assert capfd.readouterr().err == ""
    house.write(2)
    house.bring("demo")
    assert house.answer() == "True 2"


@pytest.mark.usefixtures("compiler")
def test_a_library_made_by_hand_is_taken_while_it_is_young(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    make = [house.module.PYTHON, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(make, cwd=house.root, check=True, capture_output=True)
    house.bring("demo")
    assert house.answer() == "True 1"
    assert "make build" not in capfd.readouterr().err
    house.bring("demo")
    house.write(2, age_s=-5)
    house.bring("demo")
    assert house.answer() == "False 2"
    assert "make build" in capfd.readouterr().err


@pytest.mark.usefixtures("compiler")
def test_one_that_is_older_than_an_unchanged_source_is_not_taken(house: House) -> None:
    house.bring("demo")
    house.write(2, age_s=50)
    make = [house.module.PYTHON, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(make, cwd=house.root, check=True, capture_output=True)
    house.write(1, age_s=-5)  # as it was when the stamp was written
    house.bring("demo")
    assert house.answer() == "False 1"


@pytest.mark.usefixtures("compiler")
def test_all_modules_run_compiled_or_none(house: House) -> None:
    house.bring("build")
    (library,) = house.root.glob("pgrouter/*.so")
    shutil.copy(library, library.with_name(library.name.replace("hot", "other")))
    (house.root / "pgrouter" / "other.py").write_text("COMPILED = False\n")
    (house.root / "pgrouter" / "other.pxd").write_text("")
    shutil.rmtree(house.root / "build")
    (house.root / "build").mkdir()
    (house.root / "setup.py").write_text("raise SystemExit(0)\n")  # it compiles nothing
    house.hot.write_text(HOT.format(3))
    house.bring("demo")
    assert list(house.root.glob("pgrouter/*.so")) == []
    assert house.answer() == "False 3"


def test_what_must_be_compiled_and_cannot_be_is_an_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.module, "missing_for_build", lambda: "there is no C compiler")
    monkeypatch.setenv("PGROUTER_BUILD", "require")
    with pytest.raises(OSError, match="no C compiler"):
        house.bring("demo")
    monkeypatch.setenv("PGROUTER_BUILD", "auto")
    house.bring("build")
    assert house.answer() == "False 1"
