"""The parts of the benchmark that compute: logs, windows, percentiles, ratios, tables and pictures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench import plots, report
from bench.cases import CASES
from bench.measure import (
    Family,
    Figures,
    Sample,
    TooShortError,
    Transaction,
    evaluate,
    parse_log,
    percentile,
)
from bench.rounds import Results, has_time


def test_a_log_is_read_without_what_failed_or_was_cut_off() -> None:
    lines = ["0 199 2241 0 1175850568 995598", "1 5 failed 0 1175850569 608", "2 3 18"]
    assert list(parse_log(lines)) == [Transaction(1175850568.995598, 2.241)]


@pytest.mark.parametrize(("part", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1, 100), (0, 1)])
def test_percentiles_are_values_that_occurred(part: float, value: int) -> None:
    assert percentile(range(1, 101), part) == value


def test_a_percentile_of_one_value() -> None:
    assert percentile([7.0], 0.99) == 7


def test_logins_are_not_measured() -> None:
    """Ten seconds of logins, then two of work: 100 transactions and 0.1 s of processor time a second."""
    samples = [Sample(at / 10, 50 + at / 10 * 0.1) for at in range(200)]
    transactions = [Transaction(10 + n / 100, 1 + n % 100) for n in range(300)]
    figures = evaluate(samples, transactions, seconds=2)
    assert figures.tps == pytest.approx(100)
    assert figures.cpu_us == pytest.approx(1000)
    assert figures.p50_ms == pytest.approx(50, abs=1)
    assert figures.p99_ms == pytest.approx(99, abs=1)


@pytest.mark.parametrize("transactions", [[], [Transaction(10.0, 1.0), Transaction(10.5, 1.0)]])
def test_too_short_a_run_has_no_figures(transactions: list[Transaction]) -> None:
    samples = [Sample(at / 10, 0) for at in range(200)]
    with pytest.raises(TooShortError):
        evaluate(samples, transactions, seconds=2)


def test_a_family_counts_children_that_have_ended() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        family = Family(parent.pid)
        assert family.sample().cpu_s >= 0.2
        assert (family.memory_kib() or 0) > 1000
        parent.communicate(b"\n")


def test_the_clock_of_a_process_is_its_own() -> None:
    before = Family(os.getpid()).sample().cpu_s
    stop = time.process_time() + 0.05
    while time.process_time() < stop:
        pass
    assert 0.045 <= Family(os.getpid()).sample().cpu_s - before < 0.5


def test_a_round_is_begun_only_if_it_ends_in_time() -> None:
    assert has_time(0, 0, 1)
    assert has_time(400, 2, 600)
    assert not has_time(402, 2, 600)


def test_ratios_are_of_neighbours() -> None:
    assert report.ratios([2.0, 9.0, 4.0], [1.0, 3.0, 8.0]) == [0.5, 2.0, 3.0]
    assert report.with_spread([0.5, 2.0, 3.0]) == "2.00 (0.50 - 3.00)"
    assert report.with_spread([]) == "-"


@pytest.fixture
def result() -> report.Result:
    results = Results()
    simple, idle = (next(case for case in CASES if case.name == name) for name in ("simple", "idle"))
    for cpu_us in (10.0, 20.0):
        for name, factor in (("pgrouter", 1), ("pgbouncer", 2), ("relay", 0.5)):
            row = Figures(cpu_us=cpu_us * factor, tps=1000, p50_ms=1, p95_ms=2, p99_ms=3, memory_kib=5000)
            results.figures.setdefault(simple.name, {}).setdefault(name, []).append(row)
    results.left_out[idle.name] = {"relay": "a server connection per client"}
    about = {
        "when": "2026-01-02T03:04+00:00", "machine": "2 cores", "postgresql": "17", "python": "3.11", "rounds": 2,
        "seconds": 1.5, "load": 0.1, "subjects": {"relay": "", "pgbouncer": "1.18.0", "pgrouter": "0.1.0"},
    }  # fmt: skip
    return report.as_json(about, results, {"pgpool": "not installed"})


def test_the_table_shows_ratios_and_says_what_is_left_out(result: report.Result) -> None:
    assert "| select-only, simple | 16 | 2.00 (2.00 - 2.00) | 0.50 (0.50 - 0.50) |" in report.compare(result, "cpu_us")
    assert "Pgpool-II: not installed" in report.reasons(result)
    assert "idle clients, 5000 clients, bare relay: a server connection per client" in report.reasons(result)


def test_everything_is_written_and_can_be_read_again(result: report.Result, tmp_path: Path) -> None:
    report.write(tmp_path, result)
    assert report.read(tmp_path / "latest.json") == result
    for picture in tmp_path.glob("*.svg"):
        ET.parse(picture)  # noqa: S314  (our own)
    assert {path.name for path in tmp_path.iterdir()} == {"latest.json", "latest.md", "cpu.svg", "p99.svg"}


def test_a_page_gets_the_short_form_between_its_marks(result: report.Result, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}\nafter\n")
    report.show_in(page, result)
    report.show_in(page, result)
    text = page.read_text()
    assert text.startswith(f"before\n{report.BEGIN}| case |")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text


def test_words_in_a_picture_are_escaped() -> None:
    ET.fromstring(plots.draw("a < b & c", {"<case>": {"<name>": (0.5, 1.0, 2.0)}}))  # noqa: S314
