"""docs/console.md names every view and every column."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgrouter.admin.views import VIEWS

PAGE = Path(__file__).parents[3] / "docs" / "console.md"


def sections() -> dict[str, str]:
    """Give the text about each view."""
    result = {}
    for part in PAGE.read_text().split("\n### ")[1:]:
        title, _, text = part.partition("\n")
        for view in re.findall(r"SHOW (\w+)", title):
            result[view] = text
    return result


def test_every_view_has_a_section_and_every_section_a_view() -> None:
    assert sections().keys() == VIEWS.keys()


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_every_column_is_explained(view: str) -> None:
    explained = set(re.findall(r"\w+", sections()[view]))
    assert {column.name for column in VIEWS[view].columns} <= explained
