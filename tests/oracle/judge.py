"""Two runs of a statement -> what it needs. Pure but for `judge`, which runs it.

NEEDS PRIMARY: the standby refuses it, or both accept it and it changed something or answered differently.
PLAIN READ: both gave the same answer and nothing was changed.
UNDECIDED: counts for neither, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from oracle.servers import NEEDS_TO_BE_ALONE, Observation, Pair, observe, observe_standby

if TYPE_CHECKING:
    from pgrouter.demo.postgres import Server

# Says nothing of the statement: cancelled by a time limit, a lock not had, a conflict with replay, memory, deadlock.
OF_THE_MOMENT = {"57014", "55P03", "40001", "40P01", "53200", "57P01", "08006"}


class Needs(Enum):
    """Where a statement has to run."""

    PRIMARY = "primary"
    READ = "read"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a statement needs, and what showed it."""

    needs: Needs
    why: str


@dataclass(frozen=True, slots=True)
class Question:
    """A statement and how to run it."""

    sql: str
    database: str
    user: str = "postgres"
    before: str = ""
    alone: bool = False


def judge(pair: Pair, question: Question) -> Judgement:
    """Run it on both servers, the standby caught up, each in a session that is as new."""
    on_primary = run_on(pair, pair.primary, question)
    if on_primary.sqlstate in NEEDS_TO_BE_ALONE and not question.alone:
        return Judgement(Needs.UNDECIDED, f"cannot run in a block: {on_primary.message}")
    pair.serve_deficit()
    on_standby = run_on(pair, pair.standby, question)
    found = compare(on_primary, on_standby)
    if found.needs is Needs.PRIMARY and not on_primary.sqlstate and not on_standby.sqlstate and not on_primary.changes:
        return judge_again(pair, question, on_primary)
    return found


def judge_again(pair: Pair, question: Question, first: Observation) -> Judgement:
    """Decide about answers that differ: not when the primary's own differ, nor for WAL that was not flushed yet."""
    again = run_on(pair, pair.primary, question)
    if again.answer != first.answer:
        return Judgement(Needs.UNDECIDED, "its answer changes by itself")
    pair.flush()
    pair.serve_deficit()
    return compare(again, run_on(pair, pair.standby, question))


def run_on(pair: Pair, server: Server, question: Question) -> Observation:
    """Run it once, in a session that is as new."""
    with pair.borrowed(server, question.database, question.user) as session:
        if server is pair.primary:
            return observe(session, question.sql, alone=question.alone, before=question.before)
        return observe_standby(session, question.sql, alone=question.alone)


def compare(primary: Observation, standby: Observation) -> Judgement:
    """Decide by what both servers showed."""
    if {primary.sqlstate, standby.sqlstate} & OF_THE_MOMENT:
        seen = primary if primary.sqlstate in OF_THE_MOMENT else standby
        return Judgement(Needs.UNDECIDED, f"{seen.sqlstate} {seen.message}")
    if primary.sqlstate and primary.sqlstate == standby.sqlstate:
        return Judgement(Needs.UNDECIDED, f"fails on both: {primary.sqlstate} {primary.message}")
    why = difference(primary, standby)
    return Judgement(Needs.PRIMARY if why else Needs.READ, why)


def difference(primary: Observation, standby: Observation) -> str:
    """Say why a standby will not do; "" when it will."""
    if standby.sqlstate:
        return f"the standby refuses it: {standby.sqlstate} {standby.message}"
    if primary.sqlstate:
        return f"only the standby accepts it: {primary.sqlstate} {primary.message}"
    if primary.changes:
        return f"changes {', '.join(primary.changes)}"
    if primary.answer != standby.answer:
        return f"answers differ: {primary.sample} <> {standby.sample}"
    return ""
