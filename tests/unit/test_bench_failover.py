"""The parts of the failover benchmark that compute: gaps out of moments, figures, tables and the picture."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.failover import follow, report, rivals, timeline
from bench.failover.events import EVENTS
from bench.failover.figures import (
    Gap,
    Outcome,
    Window,
    drawn,
    evaluate,
    first_after,
    longest_gap,
    parse,
    servers_gap,
    spans,
)
from bench.failover.stage import OBSERVER

WINDOW = Window(at_s=100.0, done_s=100.2, end_s=130.0, over_s=150.0)
OLD, NEW = 5001, 5002


def write(at_s: float, number: int, *, client: int = 0, error: str = "", lost: bool = False) -> Outcome:
    return Outcome(at_s - 0.01, at_s, client, "write", number, error, 0 if error else OLD, lost, False)


def every(begin_s: float, end_s: float, first: int) -> list[Outcome]:
    """Ten writes a second."""
    return [write(begin_s + n / 10, first + n) for n in range(round((end_s - begin_s) * 10))]


def rows_of(outcomes: list[Outcome]) -> set[tuple[int, int]]:
    return {outcome.key for outcome in outcomes if outcome.acknowledged}


def test_a_gap_begins_with_the_last_moment_before_the_event() -> None:
    assert longest_gap([90.0, 99.5, 104.0, 105.0], 100.0, 106.0) == Gap(99.5, 104.0)


def test_a_gap_that_lasts_to_the_end_has_not_ended() -> None:
    assert longest_gap([99.0, 101.0], 100.0, 130.0) == Gap(101.0, 130.0, ended=False)


def test_without_any_moment_the_whole_window_is_a_gap() -> None:
    assert longest_gap([], 100.0, 130.0) == Gap(100.0, 130.0, ended=False)


def test_moments_after_the_window_do_not_count() -> None:
    assert longest_gap([99.0, 131.0], 100.0, 130.0) == Gap(99.0, 130.0, ended=False)


def test_what_is_long_past_is_another_story() -> None:
    assert longest_gap([40.0], 100.0, 130.0) == Gap(100.0, 130.0, ended=False)


def test_moments_come_in_any_order() -> None:
    assert longest_gap([104.0, 99.0, 101.0], 100.0, 104.5) == Gap(101.0, 104.0)


def test_what_the_servers_take_and_lose_is_no_write() -> None:
    """An old primary that goes on until 120 hides nothing: only what lasts counts."""
    good = [*every(95, 101, 0), *every(104, 130, 1000)]
    phantom = every(101, 120, 500)
    gap = servers_gap([*good, *phantom], rows_of(good), WINDOW)
    assert gap.begin_s == pytest.approx(100.9)
    assert gap.end_s == pytest.approx(104)
    assert gap.ended


def test_figures_of_a_pause_with_errors() -> None:
    servers = Gap(100.0, 103.0)
    outcomes = [
        *every(95, 100, 0),
        write(100.1, 60, error="57P01", lost=True),
        Outcome(100.3, 100.4, 0, "connect", 60, "refused", 0, False, False),
        Outcome(100.6, 100.7, 0, "connect", 60, "refused", 0, False, False),
        write(101.0, 7, client=1, error="57P01"),
        *every(103.5, 130, 100),
        Outcome(129, 129.1, 0, "read", 300, "", 0, False, True),
    ]
    figures = evaluate(outcomes, rows_of(outcomes), servers, WINDOW)
    assert figures.pause_s == pytest.approx(3.6)
    assert figures.acknowledged_pause_s == figures.pause_s
    assert figures.beyond_s == pytest.approx(0.6)
    assert figures.after_new_primary_s == pytest.approx(0.5)
    assert figures.resumed
    assert figures.errors == {"write 57P01": 2, "connect refused": 2}
    assert figures.error_count == 4
    assert (figures.clients_with_errors, figures.connections_lost, figures.stale_reads) == (2, 1, 1)
    assert figures.rows_lost == 0
    assert figures.writes == 265


def test_rows_that_are_missing_in_the_end_are_lost_and_make_no_end_of_a_pause() -> None:
    lasting, phantom = every(95, 100, 0), every(100, 140, 1000)
    figures = evaluate([*lasting, *phantom], rows_of(lasting), Gap(100.0, 101.0), WINDOW)
    assert figures.rows_lost == 400  # also those after the window, until everything was healthy
    assert figures.rows_not_replicated == 3  # at 100.0, 100.1 and 100.2: by a server that still was the leader
    assert not figures.resumed
    assert figures.acknowledged_pause_s == pytest.approx(0.1)
    assert figures.pause_s == pytest.approx(30.1)
    assert figures.after_new_primary_s is None


def test_rows_that_another_event_lost_are_not_counted_again() -> None:
    phantom = [*every(90, 95, 0), *every(155, 160, 500)]
    assert evaluate(phantom, set(), Gap(100.0, 101.0), WINDOW).rows_lost == 0


def test_a_client_that_hangs_is_seen_though_others_work() -> None:
    working = [write(95 + n / 10, n) for n in range(350)]
    hanging = [write(95 + n / 10, n, client=1) for n in range(60)]
    outcomes = [*working, *hanging]
    figures = evaluate(outcomes, rows_of(outcomes), Gap(100.0, 100.1), WINDOW)
    assert figures.pause_s == pytest.approx(0.1)
    assert figures.worst_client_s == pytest.approx(130 - 100.9)
    assert "0.1 s, a client 29 s, 0 errors" in report.cell(figures, 8)
    ended = [write(50 + n / 10, n, client=1) for n in range(60)]
    later = [write(90 + n / 10, n, client=8 + n % 2) for n in range(400)]  # started in the place of the others
    assert evaluate([*ended, *later], rows_of([*ended, *later]), Gap(100.0, 100.1), WINDOW).worst_client_s < 1


def test_the_first_write_after_the_new_primary_is_not_one_before_the_pause() -> None:
    servers = Gap(100.0, 104.0)
    assert first_after([99.0, 100.01, 104.25], servers, 130.0) == pytest.approx(0.25)
    assert first_after([99.0, 103.98], servers, 130.0) == pytest.approx(-0.02)  # nobody asks the servers all the time
    assert first_after([99.0, 131.0], servers, 130.0) is None
    assert first_after([104.2], Gap(100.0, 130.0, ended=False), 130.0) is None


def test_moments_near_one_another_are_one_span() -> None:
    assert spans([3.0, 1.0, 1.4, 3.5, 9.0], join_s=0.5) == [(1.0, 1.4), (3.0, 3.5), (9.0, 9.0)]
    assert spans([]) == []


def test_a_picture_has_what_was_written_lost_and_refused() -> None:
    lasting, phantom = [*every(95, 101, 0), write(104, 7, client=1)], every(101, 102, 100)
    refused = [write(102.1, 200, error="25006"), write(102.4, 201, error="25006"), write(104.0, 202, error="25006")]
    seen = drawn([*lasting, *phantom, *refused], rows_of(lasting), WINDOW)
    assert seen["written"] == [[0, pytest.approx(-5.0), pytest.approx(0.9)], [1, 4.0, 4.0]]
    assert seen["lost"] == [[0, pytest.approx(1.0), pytest.approx(1.9)]]
    assert seen["errors"] == [[2.0, 2], [4.0, 1]]


def test_a_journal_is_read_without_the_line_that_was_cut_off() -> None:
    outcome = write(100.0, 7, error="57P01", lost=True)
    line = json.dumps(astuple(outcome)) + "\n"
    assert list(parse([line, line[:20]])) == [outcome]


def test_one_template_for_any_leader(tmp_path: Path) -> None:
    text = rivals.configs.pgbouncer((1, 2), 6432, tmp_path / "users", "trust", prepared=False)
    (tmp_path / "template").write_text(rivals.for_any_leader(text))
    follow.put(tmp_path / "template", tmp_path / "pgbouncer.ini", 5433)
    made = (tmp_path / "pgbouncer.ini").read_text()
    assert made.count("port=5433 ") == 2
    assert "@PORT@" not in made
    assert "listen_port = 6432\n" in made
    assert "server_login_retry = 1\n" in made


def test_the_follower_reads_patronis_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"/service/demo/leader": "pg1", "/service/demo/members/pg1": '{"conn_url": "postgres://h:5433/postgres"}'}
    monkeypatch.setattr(follow, "get", lambda _etcd, key: keys.get(key, ""))
    assert follow.leaders_port("etcd", "demo") == 5433
    del keys["/service/demo/leader"]
    assert follow.leaders_port("etcd", "demo") is None


@pytest.fixture
def result() -> report.Result:
    servers = [*every(95, 100, 0), *every(103, 130, 1000)]
    good = [*every(95, 100, 0), write(100.1, 60, error="57P01"), *every(103.2, 130, 1000)]
    bad = [*every(95, 100, 0), *every(100, 130, 2000)]
    outcomes = {OBSERVER: servers, "pgbouncer": bad, "pgrouter": good, "<odd> & name": good}
    rows = {OBSERVER: rows_of(servers), "pgbouncer": rows_of(bad[:50]), "pgrouter": rows_of(good)}
    rows["<odd> & name"] = rows_of(good)
    afterwards = {"helped": ["pgbouncer"], "hung": {"pgrouter": 2}}
    events = [report.event_as_json(event, WINDOW, ("pg0", "pg1"), outcomes, rows) | afterwards for event in EVENTS[:2]]
    about: dict[str, Any] = {
        "when": "2026-01-02T03:04+00:00", "machine": "2 cores", "postgresql": "17", "patroni": "4", "members": 3,
        "clients": 8, "ttl": 30, "loop_wait": 10, "retry_timeout": 10, "load": 0.1, "whole": True,
        "subjects": {"pgbouncer": "1.18.0", "pgrouter": "0.1.0", "<odd> & name": ""},
    }  # fmt: skip
    return {"about": about, "absent": {"pgpool": "not installed"}, "events": events}


def test_the_table_has_pauses_errors_and_lost_rows(result: report.Result) -> None:
    table = report.overview(result)
    assert "| *the servers themselves* | 3.1 s | 3.1 s |" in table
    assert "| pgrouter | 3.3 s, 0.1 errors | 3.3 s, 0.1 errors |" in table
    assert "| PgBouncer | > 30.1 s, 0 errors, 3 rows not replicated, **297 rows lost** |" in table
    details = report.details(result["events"][0], 8)
    assert "| pgrouter | 3.3 | 0.20 | 3.3 | 3.30 | 0.20 | 0.1 | 1 | 0 | 0 | 0 | 0 | 268 |" in details
    assert "| PgBouncer | > 30.1 | 27.00 | 30.1 | 0.10 | never | 0 | 0 | 0 | 300 | 3 | 0 | 300 |" in details
    assert "- pgrouter: write 57P01: 1; 2 clients did not find back" in report.errors(result["events"][0])
    assert "- PgBouncer: none; an operator had to help" in report.errors(result["events"][0])


@pytest.mark.parametrize(("count", "shown"), [(0, "0"), (1, "0.1"), (8, "1"), (12, "1.5"), (1000, "125"), (801, "100")])
def test_counts_of_one_client(count: int, shown: str) -> None:
    assert report.per_client(count, 8) == shown


def test_everything_is_written_and_can_be_read_again(result: report.Result, tmp_path: Path) -> None:
    report.write(tmp_path, result)
    assert report.read(tmp_path / "failover.json") == json.loads(json.dumps(result))
    assert {path.name for path in tmp_path.iterdir()} == {"failover.json", "failover.md", "failover.svg"}
    assert "Left out: Pgpool-II, not installed" in (tmp_path / "failover.md").read_text()
    picture = ET.parse(tmp_path / "failover.svg").getroot()  # noqa: S314  (our own)
    bars = [bar for bar in picture.iter("{http://www.w3.org/2000/svg}rect") if bar.get("fill") == "#e45756"]
    assert len(bars) == 1 + 2  # the legend's, and PgBouncer's lost rows in two events


def test_a_page_gets_the_short_form_between_its_marks(result: report.Result, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}\nafter\n")
    report.show_in(page, result)
    text = page.read_text()
    assert text.startswith(f"before\n{report.BEGIN}| through |")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old\n" not in text


def test_all_events_have_one_scale() -> None:
    axis = timeline.Axis(55.0)
    assert axis.x(-5) == timeline.LEFT
    assert axis.x(55) == timeline.WIDTH - timeline.RIGHT
    assert axis.x(99) == axis.x(55)
    assert list(axis.marks()) == [0, 10, 20, 30, 40, 50]
