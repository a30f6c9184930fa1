"""Both ways in which the hot modules of the room run: as installed (compiled where it can be) and as plain Python."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pgrouter

if TYPE_CHECKING:
    from types import ModuleType


def _plain(name: str) -> ModuleType:
    path = Path(pgrouter.__file__).parent / "routing" / f"{name}.py"
    spec = importlib.util.spec_from_loader(f"plain_{name}", SourceFileLoader(f"plain_{name}", str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load(name: str, way: str) -> ModuleType:
    return _plain(name) if way == "plain" else importlib.import_module(f"pgrouter.routing.{name}")


@pytest.fixture(params=["installed", "plain"])
def fingerprint_module(request: pytest.FixtureRequest) -> ModuleType:
    """Give the module fingerprint, compiled and not."""
    return _load("fingerprint", request.param)


@pytest.fixture(params=["installed", "plain"])
def cache_module(request: pytest.FixtureRequest) -> ModuleType:
    """Give the module cache, compiled and not."""
    return _load("cache", request.param)
