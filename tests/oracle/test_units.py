"""The oracle's own parts, without servers."""

from __future__ import annotations

import pytest

from oracle.cases import CaseFileError, parse, read_all
from oracle.classifier import Answer
from oracle.judge import Judgement, Needs, compare
from oracle.report import Report, finding
from oracle.script import Meta, Script, Statement
from oracle.servers import Observation

# Cases of the list that no single statement shows: 19 hangs on how the session reads strings.
OF_THE_SESSION = {19}
NUMBERED = 26

CASES = """\
-- A comment.
--- case 5: defaults
--- setup as bob
create table t(id int);

--- primary unseen: nobody
--- before: select 1
select 1; select
2;
--- read
select 3;
"""


def test_cases_are_read() -> None:
    file = parse("five", CASES)
    assert file.setup == [("bob", "create table t(id int);")]
    first, second = file.cases
    assert (first.number, first.claim, first.flags, first.before) == (5, "primary", {"unseen"}, "select 1")
    assert (first.sql, first.place) == ("select 1; select\n2;", "five:8")
    assert (second.sql, second.claim, second.before) == ("select 3;", "read", "")


@pytest.mark.parametrize("text", ["select 1;", "--- reed\nselect 1;", "--- primary unseen\nselect 1;"])
def test_case_file_that_is_not_understood(text: str) -> None:
    with pytest.raises(CaseFileError):
        parse("wrong", text)


def test_every_numbered_case_has_statements() -> None:
    seen = {case.number for file in read_all() for case in file.cases}
    assert set(range(1, NUMBERED + 1)) - seen <= OF_THE_SESSION


OK = Observation(answer="a")


@pytest.mark.parametrize(
    ("primary", "standby", "needs"),
    [
        (OK, OK, Needs.READ),
        (OK, Observation("25006"), Needs.PRIMARY),
        (OK, Observation("XX000"), Needs.PRIMARY),
        (Observation("55000"), OK, Needs.PRIMARY),
        (OK, Observation(answer="b"), Needs.PRIMARY),
        (Observation(answer="a", changes=("a transaction id",)), OK, Needs.PRIMARY),
        (Observation("42P01"), Observation("42P01"), Needs.UNDECIDED),
        (Observation("22012"), Observation("25006"), Needs.PRIMARY),
        (OK, Observation("57014"), Needs.UNDECIDED),
    ],
)
def test_two_runs_decide(primary: Observation, standby: Observation, needs: Needs) -> None:
    assert compare(primary, standby).needs is needs


def _report(*pairs: tuple[Needs, str]) -> Report:
    return Report([finding("f:1", 0, "select 1", Judgement(n, "why"), Answer(route, "r")) for n, route in pairs])


def test_report_counts_leaks_and_lost_reads() -> None:
    report = _report(
        (Needs.PRIMARY, "replica"), (Needs.PRIMARY, "session"), (Needs.READ, "session"), (Needs.UNDECIDED, "primary")
    )
    assert (len(report.leaks), len(report.lost), report.met) == (1, 1, False)
    assert "LEAKS by what showed them: 1" in report.text()
    assert _report(*[(Needs.READ, "replica")] * 98, *[(Needs.READ, "primary")] * 2).met
    assert not _report(*[(Needs.READ, "replica")] * 97, *[(Needs.READ, "primary")] * 3).met
    assert not _report((Needs.UNDECIDED, "crash")).met


SCRIPT = r"""
-- a comment; with a semicolon
select 'a;b', $x$;$x$ /* ; /* ; */ ; */ from t; select E'\';';
\set n 5
select :n, :'n', a::int, x[1:2];
copy t from stdin;
1	a;
\.
create function f() returns int language sql begin atomic select 1; select case when true then 1 end; end;
create rule r as on insert to t do (select 1; select 2);
select 1 \gset
select 3 \; select 4;
"""


def test_script_is_cut_as_psql_would() -> None:
    items = list(Script(SCRIPT, {"n": "7"}))
    statements = [item.sql for item in items if isinstance(item, Statement)]
    assert statements == [
        "select 'a;b', $x$;$x$ /* ; /* ; */ ; */ from t",
        r"select E'\';'",
        "select 7, '7', a::int, x[1:2]",
        "copy t from stdin",
        "create function f() returns int language sql begin atomic select 1; select case when true then 1 end; end",
        "create rule r as on insert to t do (select 1; select 2)",
        "select 3 ; select 4",
    ]
    assert [item.data for item in items if isinstance(item, Statement) and item.data] == [b"1\ta;\n"]
    assert [(item.command, item.sql) for item in items if isinstance(item, Meta)] == [("set", ""), ("gset", "select 1")]
