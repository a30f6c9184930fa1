"""A short run of `make fuzz-session`, from the same seeds every time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from session_fuzz.sides import Answer, Known, known_differences
from session_fuzz.story import Step, story, written

if TYPE_CHECKING:
    from session_fuzz.sides import Sides

pytestmark = pytest.mark.pg

SECONDS = 20


def test_random_sessions_are_answered_as_postgresql_answers_them(sides: Sides) -> None:
    end = time.monotonic() + SECONDS
    steps, waits, number = sides.steps, sides.waits, 0
    while time.monotonic() < end:
        number += 1
        difference = sides.difference(story(f"short{number}"))
        assert difference is None, str(difference)
    assert sides.waits - waits < (sides.steps - steps) / 4, "most of it was played"


def test_a_difference_is_found_and_made_short(sides: Sides) -> None:
    """The databases' names are not the same."""
    text = """
        0 select 1
        1 select * from fz.t order by id
        0 begin
        0 select length(current_database())
        0 commit
    """
    found = sides.difference(written("found", text, 2))
    assert found is not None
    assert [step.texts for step in found.steps] == [("select length(current_database())",)]


def test_stories_come_from_their_seeds() -> None:
    assert story("one") == story("one")
    assert story("one").steps != story("two").steps


def test_known_differences_are_read() -> None:
    first: Known = known_differences()[0]
    direct, routed = Answer(("D ['5']",)), Answer(("E ERROR 55000 gone",))
    assert first.reason
    assert first.covers(Step(0, "query", ("select currval('s')",)), direct, routed)
    assert not first.covers(Step(0, "query", ("select currval('s')",)), direct, direct)
