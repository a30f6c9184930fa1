"""Constants that are written twice, for Python and for the C compiler, are the same."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "pgrouter"
ENUM = re.compile(r"^    (\w+) = (-?\w+)$", re.MULTILINE)


def constants_of(text: str) -> dict[str, int]:
    _, found, body = text.partition("cdef enum:\n")
    return {name: int(value, 0) for name, value in ENUM.findall(body)} if found else {}


TEXTS = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.pxd"))}
TWICE = [path for path, text in TEXTS.items() if constants_of(text) and "cdef class" not in text]


def test_there_are_some() -> None:
    assert {path.stem for path in TWICE} >= {"codes", "requests", "states", "characters"}


@pytest.mark.parametrize("path", TWICE, ids=lambda path: path.stem)
def test_they_are_the_same(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
    numbers = {name: value for name, value in vars(module).items() if name.isupper() and type(value) is int}
    assert constants_of(TEXTS[path]) == numbers
