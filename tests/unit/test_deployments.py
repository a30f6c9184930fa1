"""The lists of the deployments' steps, and the page that shows them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from deployments import table  # noqa: E402
from deployments.all import DEPLOYMENTS  # noqa: E402
from deployments.steps import Deployment, Mark, Step, not_yet, works  # noqa: E402


def test_the_page_is_that_of_the_lists() -> None:
    assert table.FILE.read_text() == table.text(DEPLOYMENTS), "python -m deployments --table"


@pytest.mark.parametrize("one", DEPLOYMENTS, ids=lambda one: one.name)
def test_every_step_says_what_its_mark_needs(one: Deployment) -> None:
    assert (TESTS.parent / "configs" / "deployments" / f"{one.name}.yml").exists()
    for step in one.steps:
        assert bool(step.why) == (step.mark is not Mark.WORKS), step.command
        re.compile(step.expect)


@pytest.mark.parametrize(
    ("step", "code", "output", "passes"),
    [
        (works("s", "c", "^1$"), 0, "1\n", True),
        (works("s", "c", "^1$"), 0, "2\n", False),
        (works("s", "c", "^1$"), 1, "1\n", False),
        (not_yet("s", "c", "TLS"), 0, "", True),  # it works now: the run fails until its mark says so
    ],
)
def test_a_step_passes_by_exit_code_and_output(step: Step, code: int, output: str, *, passes: bool) -> None:
    assert step.passes(code, output) == passes
