"""`pgrouter classify` and `pgrouter explain`, as scripts and people see them."""

from __future__ import annotations

import argparse
import io
import json

import pytest

from pgrouter.cli import classify, explain
from pgrouter.routing.catalog import UNKNOWN


def answers(*lines: str) -> list[dict[str, object]]:
    out = io.StringIO()
    classify.answer_all(io.StringIO("\n".join(lines) + "\n"), out, UNKNOWN)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_classify_answers_in_order() -> None:
    asked = ["select 1", "insert into t values (1)", "begin", "foo", "select\n1"]
    got = answers(*(json.dumps({"id": i, "sql": sql}) for i, sql in enumerate(asked)))
    assert [answer["id"] for answer in got] == [0, 1, 2, 3, 4]
    assert [answer["route"] for answer in got] == ["replica", "primary", "session", "error", "replica"]
    assert got[1]["reason"] == "write: INSERT"


@pytest.mark.parametrize("line", ["foo", "[1]", '{"id": 1}', '{"id": 1, "sql": 2}', "null"])
def test_classify_goes_on_after_what_is_no_request(line: str) -> None:
    got = answers(line, "", '{"id": "x", "sql": "select 1"}')
    assert [answer["route"] for answer in got] == ["error", "replica"]


def test_classify_flushes_each_line() -> None:
    class Pipe(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    out = Pipe()
    classify.answer_all(io.StringIO('{"id": 1, "sql": ""}\n{"id": 2, "sql": ""}\n'), out, UNKNOWN)
    assert out.flushed == 2


def explained(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    status = explain.run(parser.parse_args(argv))
    return status, capsys.readouterr().out


def test_explain_points_at_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = explained(capsys, "select 'é',\n  nextval('s') from app.t")
    assert status == 0
    assert out.splitlines() == [
        "route:      primary",
        "reason:     writing function: nextval",
        "at:           nextval('s') from app.t",
        "              ^",
        "functions:  nextval",
        "relations:  app.t",
    ]


def test_explain_says_what_may_stay_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert "may leave:  temp, ddl" in explained(capsys, "create temp table t (a int)")[1]
    assert "begins on a replica" in explained(capsys, "begin read only")[1]


def test_explain_fails_on_what_does_not_parse(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = explained(capsys, "select from from")
    assert status == 1
    assert "does not parse" in out
