"""`make oracle`: runs the corpora and says what the router gets wrong; exits 1 when the target is missed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oracle import cases, regress
from oracle.classifier import Classifier
from oracle.corpus import accepted, run_corpus
from oracle.servers import Pair

CACHE = Path(__file__).parents[2] / ".oracle"
KNOWN = Path(__file__).parent / "known_failures.txt"
HEAD = """\
# What the router gets wrong in the hand-written corpus today: `leak FILE: SQL` or `lost FILE: SQL`.
# The test fails when a line is missing and when one is no longer true, so this list can only shrink.
# `make oracle ORACLE=--accept` writes it anew.
"""


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="oracle", description=__doc__)
    parser.add_argument("--hand", action="store_true", help="only the hand-written corpus")
    parser.add_argument("--accept", action="store_true", help="only the hand-written corpus; write its known failures")
    parser.add_argument("--only", nargs="*", default=[], help="only these suites or core scripts (after test_setup)")
    parser.add_argument("--by-body", action="store_true", help="with routing.volatile_functions: by_body")
    parser.add_argument("--out", type=Path, default=CACHE / "report", help="where reports go (default: %(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    routing = {"volatile_functions": "by_body"} if args.by_body else {}
    with Pair() as pair, Classifier(pair, **routing) as classifier:
        met = bool(args.only) or _hand(args, pair, classifier)
        if not (args.hand or args.accept):
            report = regress.run(pair, classifier, CACHE, args.only)
            met = _write(args.out / "regress", report) and met
    return 0 if met else 1


def _hand(args: argparse.Namespace, pair: Pair, classifier: Classifier) -> bool:
    run = run_corpus(pair, classifier, cases.read_all())
    for line in run.contradictions:
        print(f"CONTRADICTION {line}")  # noqa: T201  (a tool's output)
    if args.accept:
        KNOWN.write_text(HEAD + "".join(f"{line}\n" for line in accepted(run.report.findings)))
    return _write(args.out / "hand", run.report) and not run.contradictions


def _write(place: Path, report: object) -> bool:
    place.with_suffix(".txt").write_text(report.text())
    place.with_suffix(".json").write_text(report.json())
    print(f"{place}.txt\n" + "\n".join(f"{value:>10}  {name}" for name, value in report.figures.items()))  # noqa: T201
    return report.met


if __name__ == "__main__":
    sys.exit(main())
