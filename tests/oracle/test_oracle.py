"""The hand-written corpus on real servers: its claims hold, and the router is wrong only where that is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from oracle.cases import read_all
from oracle.classifier import Classifier
from oracle.corpus import CorpusRun, accepted, run_corpus
from oracle.judge import Needs
from oracle.servers import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

# The whole corpus runs before the first test: 25 s alone on two cores.
pytestmark = [pytest.mark.pg, pytest.mark.timeout(120)]

KNOWN = Path(__file__).parent / "known_failures.txt"


@pytest.fixture(scope="module")
def run() -> Iterator[CorpusRun]:
    """Run the corpus once, on servers of its own: it uses up transaction ids and resets statistics."""
    with Pair() as pair, Classifier(pair) as classifier:
        yield run_corpus(pair, classifier, read_all())


def test_running_agrees_with_every_claim(run: CorpusRun) -> None:
    assert run.contradictions == []


def test_router_is_wrong_where_that_is_known_and_nowhere_else(run: CorpusRun) -> None:
    known = [line for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")]
    wrong = accepted(run.report.findings)
    new, mended = sorted(set(wrong) - set(known)), sorted(set(known) - set(wrong))
    assert not new, "newly wrong:\n" + "\n".join(new)
    assert not mended, f"no longer wrong, take these out of {KNOWN.name}:\n" + "\n".join(mended)


def test_corpus_is_worth_its_name(run: CorpusRun) -> None:
    report = run.report
    assert report.count(Needs.PRIMARY) >= 400
    assert report.count(Needs.READ) >= 300
