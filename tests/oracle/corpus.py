"""The hand-written corpus run on the servers: each file in a database of its own, each claim checked by running."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oracle.judge import Judgement, Needs, Question, judge
from oracle.report import Finding, Report, finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oracle.cases import Case, CaseFile
    from oracle.classifier import Classifier
    from oracle.servers import Pair


@dataclass(slots=True)
class CorpusRun:
    """What came of it."""

    report: Report
    contradictions: list[str] = field(default_factory=list)  # claims that running refutes


class SetupError(RuntimeError):
    """A setup statement failed; the text says which."""


def run_corpus(pair: Pair, classifier: Classifier, files: Iterable[CaseFile]) -> CorpusRun:
    """Run all files."""
    run = CorpusRun(Report([]))
    for file in files:
        database = set_up(pair, file)
        routes = ask(classifier, database, file)
        for case in file.cases:
            judgement, objection = check(pair, database, case)
            if objection:
                run.contradictions.append(f"{case.place}: {objection}: {' '.join(case.sql.split())}")
            run.report.findings.append(finding(case.place, case.number, case.sql, judgement, routes[case]))
    return run


def set_up(pair: Pair, file: CaseFile) -> str:
    """Make the file's database and give its name."""
    database = f"oracle_{file.name}"
    pair.primary.sql(f"create database {database}")
    for user, sql in file.setup:
        with pair.session(pair.primary, database, user) as session:
            seen = session.run(sql)
        if seen.sqlstate:
            raise SetupError(f"{file.name}: {seen.sqlstate} {seen.message}\n{sql}")
    pair.serve_deficit()
    return database


def ask(classifier: Classifier, database: str, file: CaseFile) -> dict[Case, object]:
    """Ask the router about every statement, as the user who says it."""
    by_user = defaultdict(list)
    for case in file.cases:
        by_user[case.user].append(case)
    answers = {}
    for user, cases in by_user.items():
        answers |= dict(zip(cases, classifier.ask(database, user, [case.sql for case in cases]), strict=True))
    return answers


def check(pair: Pair, database: str, case: Case) -> tuple[Judgement, str]:
    """Give what is claimed, with what running showed, and an objection if running refutes it."""
    claimed = Needs.PRIMARY if case.claim == "primary" else Needs.READ
    if "unrun" in case.flags:
        return Judgement(claimed, case.why), ""
    question = Question(case.sql, database, case.user, case.before, alone="alone" in case.flags)
    seen = judge(pair, question)
    return Judgement(claimed, seen.why or case.why), objection(case, claimed, seen)


def objection(case: Case, claimed: Needs, seen: Judgement) -> str:
    """Say what is wrong with a claim; "" when running agrees or cannot know."""
    if "unseen" in case.flags:
        return "running does show it: not unseen" if seen.needs is Needs.PRIMARY else ""
    if "varies" in case.flags:
        varies = seen.needs is Needs.UNDECIDED and not seen.why.startswith(("fails", "cannot"))
        by_luck = seen.why.startswith("answers differ")  # the primary's own two were alike
        return "" if varies or by_luck or seen.needs is Needs.READ else f"claimed a read, but {seen.why}"
    if seen.needs is claimed:
        return ""
    return f"claimed {claimed.value}, but {seen.needs.value}: {seen.why}"


def accepted(findings: Iterable[Finding]) -> list[str]:
    """Give the lines of the list of known failures."""
    return sorted(f"{one.wrong} {one.place.split(':')[0]}: {one.one_line}" for one in findings if one.wrong)
