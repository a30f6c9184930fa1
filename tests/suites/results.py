"""What became of each test of a run, and what is different through the router."""

from __future__ import annotations

import fnmatch
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

KNOWN = Path(__file__).with_name("known_differences.txt")
Outcomes = dict[str, str]  # test -> passed, failed, skipped


@dataclass(frozen=True, slots=True)
class Known:
    """Tests whose outcome is another one through the router, and why."""

    suite: str  # or a pattern, as the test is
    test: str
    reason: str

    def covers(self, suite: str, test: str) -> bool:
        """Tell whether this is the test's, in either suite's run."""
        return fnmatch.fnmatchcase(suite, self.suite) and fnmatch.fnmatchcase(test, self.test)


def known() -> list[Known]:
    """Read the list: `# reason` and under it lines `suite test`, with * in them (fnmatch: [[] for [)."""
    found, reason = [], ""
    for line in KNOWN.read_text().splitlines():
        if line.startswith("#"):
            reason = line.removeprefix("#").strip()
        elif line.strip():
            suite, test = line.split(maxsplit=1)
            found.append(Known(suite, test, reason))
    return found


def read(path: Path) -> Outcomes:
    """Read what a run left: JUnit's XML, or lines of outcome, tab and test."""
    if not path.exists():
        return {}
    text = path.read_text(errors="replace")
    if text.startswith("<?xml"):
        return junit(ET.fromstring(text))  # noqa: S314 our own runs wrote it
    outcomes: Outcomes = {}
    for line in text.splitlines():
        outcome, _, test = line.partition("\t")
        outcomes[test] = worst(outcomes.get(test), outcome)
    return outcomes


def junit(root: ET.Element) -> Outcomes:
    """Read pytest's report, where an error at the end of a test makes a second entry."""
    outcomes: Outcomes = {}
    for case in root.iter("testcase"):
        test = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        outcomes[test] = worst(outcomes.get(test), outcome)
    return outcomes


def worst(one: str | None, other: str) -> str:
    """Give what counts of two outcomes of one test."""
    return max(filter(None, (one, other)), key=("passed", "skipped", "failed").index)


def lost(direct: Outcomes, routed: Outcomes) -> list[str]:
    """Give the tests that pass directly and do not through the router."""
    return [test for test, outcome in direct.items() if outcome == "passed" and routed.get(test) != "passed"]


def summary(direct: Outcomes, routed: Outcomes) -> str:
    """Give the numbers of a run."""
    one, other = Counter(direct.values()), Counter(routed.values())
    gained = sum(outcome == "failed" and routed.get(test) == "passed" for test, outcome in direct.items())
    return (
        f"passed directly {one['passed']} (failed {one['failed']}, skipped {one['skipped']}), "
        f"through the router {other['passed']} (failed {other['failed']}, skipped {other['skipped']}), "
        f"different {len(lost(direct, routed))}, only through the router {gained}"
    )
