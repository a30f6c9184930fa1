"""The router's answers beside what statements need: leaks, lost reads, as text and as JSON."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from oracle.classifier import CRASH
from oracle.judge import Needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from oracle.classifier import Answer
    from oracle.judge import Judgement

TARGET_READS = 98  # percent


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement: what it needs, and where the router sends it."""

    place: str  # file:line
    case: int  # of the numbered cases; 0: none
    sql: str
    needs: str
    why: str
    route: str
    reason: str
    by_rule: str = ""  # what it names that stays on the primary by rule: labelled VOLATILE, a foreign table

    @property
    def leak(self) -> bool:
        """Whether a replica would get what needs the primary."""
        return self.needs == Needs.PRIMARY.value and self.route == "replica"

    @property
    def lost(self) -> bool:
        """Whether a plain read is kept from the replicas."""
        return self.needs == Needs.READ.value and self.route != "replica"

    @property
    def crash(self) -> bool:
        """Whether the router's command broke down on it."""
        return self.route == CRASH

    @property
    def wrong(self) -> str:
        """What is wrong with it: leak, lost, crash, or nothing."""
        return "crash" if self.crash else "leak" if self.leak else "lost" if self.lost else ""

    @property
    def one_line(self) -> str:
        """The statement without its line breaks."""
        return " ".join(self.sql.split())


def finding(place: str, case: int, sql: str, judgement: Judgement, answer: Answer, *, by_rule: str = "") -> Finding:
    """Put a judgement and an answer together."""
    return Finding(place, case, sql, judgement.needs.value, judgement.why, answer.route, answer.reason, by_rule)


@dataclass(slots=True)
class Report:
    """All findings of a run."""

    findings: list[Finding]

    @property
    def leaks(self) -> list[Finding]:
        """Statements that need the primary and are routed to a replica."""
        return [found for found in self.findings if found.leak]

    @property
    def lost(self) -> list[Finding]:
        """Plain reads that are not routed to a replica."""
        return [found for found in self.findings if found.lost]

    @property
    def crashes(self) -> list[Finding]:
        """Statements on which the router's command broke down."""
        return [found for found in self.findings if found.crash]

    def count(self, needs: Needs) -> int:
        """Count the statements that need this."""
        return sum(found.needs == needs.value for found in self.findings)

    @property
    def figures(self) -> dict[str, float]:
        """Give the numbers."""
        reads = self.count(Needs.READ)
        steady = [found for found in self.findings if found.needs == Needs.READ.value and not found.by_rule]
        return {
            "statements": len(self.findings),
            "need the primary": self.count(Needs.PRIMARY),
            "plain reads": reads,
            "undecided": self.count(Needs.UNDECIDED),
            "leaks": len(self.leaks),
            "crashes": len(self.crashes),
            "lost reads": len(self.lost),
            "reads on replicas, %": percent(self.lost, reads),
            "the same, without those that stay there by rule, %": percent(
                [found for found in steady if found.lost], len(steady)
            ),
        }

    @property
    def met(self) -> bool:
        """Whether the target is met: no leak, and at least 98 % of the plain reads on replicas."""
        steady = self.figures["the same, without those that stay there by rule, %"]
        return not self.leaks and not self.crashes and steady >= TARGET_READS

    def text(self) -> str:
        """Give the report for people."""
        parts = ["\n".join(f"{value:>10}  {name}" for name, value in self.figures.items())]
        parts += _listed("LEAKS by what showed them", self.leaks, lambda found: _short(found.why))
        parts += _listed("LOST READS by the router's reason", self.lost, _cause)
        parts += _listed("CRASHES", self.crashes, lambda found: found.reason)
        undecided = Counter(_short(found.why) for found in self.findings if found.needs == Needs.UNDECIDED.value)
        parts += ["UNDECIDED", "\n".join(f"{count:>8}  {why}" for why, count in undecided.most_common(20))]
        return "\n\n".join(parts) + "\n"

    def json(self) -> str:
        """Give the report for programs: the figures, and every statement that was decided."""
        kept = [asdict(found) for found in self.findings if found.needs != Needs.UNDECIDED.value]
        return json.dumps({"figures": self.figures, "met": self.met, "statements": kept}, indent=1)


def percent(lost: list[Finding], reads: int) -> float:
    """Give the share of the reads that are not lost."""
    return round(100 * (1 - len(lost) / reads), 2) if reads else 100.0


def _listed(title: str, found: Iterable[Finding], key: Callable[[Finding], str]) -> list[str]:
    groups: dict[str, list[Finding]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
    parts = [f"{title}: {sum(map(len, groups.values()))}"]
    for name, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines = [f"    {one.place}: {one.one_line[:200]}" for one in members]
        parts.append(f"  {len(members)} x {name}\n" + "\n".join(lines))
    return parts


def _cause(found: Finding) -> str:
    return "by rule: labelled VOLATILE, or foreign" if found.by_rule else found.reason


def _short(why: str) -> str:
    """Leave out what differs from one statement to the next: names in quotes and answers."""
    if why.startswith(("answers differ", "changes setting")):
        return " ".join(why.split()[:2]).rstrip(":")
    return re.sub(r'"[^"]*"', '"..."', why)[:110]
