"""Tables of what was measured: ratios of neighbouring runs first, medians after them."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench import plots
from bench.cases import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.rounds import Results

Result = dict[str, Any]  # what the JSON file holds
OURS = "pgrouter"
TITLES = {
    "direct": "no proxy", "relay": "bare relay", "pgbouncer": "PgBouncer", "haproxy": "HAProxy",
    "haproxy-threads": "HAProxy, all threads", "pgpool": "Pgpool-II", "pgrouter": "pgrouter",
    "pgrouter-one": "pgrouter, one standby",
}  # fmt: skip
UNITS = {
    "cpu_us": "CPU µs/tx", "tps": "tx/s", "p50_ms": "p50 ms", "p95_ms": "p95 ms", "p99_ms": "p99 ms",
    "memory_kib": "memory KiB", "client_kib": "KiB/idle client",
}  # fmt: skip
BEGIN, END = "<!-- bench: written by `make bench` -->\n", "<!-- bench: end -->"


def as_json(about: Result, results: Results, absent: dict[str, str]) -> Result:
    """Make of everything what can be written as JSON: a list of numbers per case, subject and figure."""
    cases: Result = {}
    for case, runs in results.figures.items():
        cases[case] = {}
        for subject in sorted(runs, key=list(about["subjects"]).index):  # they ran in random order
            rows = [asdict(row) for row in runs[subject]]
            known = [name for name in UNITS if rows[0][name] is not None]
            cases[case][subject] = {name: [row[name] for row in rows] for name in known}
    return {"about": about, "absent": absent, "cases": cases, "left_out": results.left_out}


def read(path: Path) -> Result:
    """Read an earlier result."""
    found: Result = json.loads(path.read_text())
    return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Give the ratio of each round, in ascending order; a round that one of the two lacks is no pair."""
    return sorted(mine / other for mine, other in zip(ours, theirs, strict=False) if other)


def with_spread(values: Sequence[float]) -> str:
    """Show the median, and the least and the greatest."""
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} ({values[0]:.2f} - {values[-1]:.2f})"


def measured(result: Result) -> list[Case]:
    """Give the cases that have figures, in the order of the table."""
    return [case for case in CASES if case.name in result["cases"]]


def others(result: Result) -> list[str]:
    """Give the subjects that pgrouter is compared with."""
    return [name for name in result["about"]["subjects"] if name != OURS]


def compare(result: Result, figure: str) -> str:
    """Give a table: pgrouter's figure divided by that of each other subject in the same round."""
    names = [n for n in others(result) if any(figure in r.get(n, {}) for r in result["cases"].values())]
    lines = [["case", "clients", *(TITLES.get(name, name) for name in names)]]
    for case in measured(result):
        runs = result["cases"][case.name]
        ours = runs.get(OURS, {}).get(figure, [])
        cells = []
        for name in names:
            out = name in result["left_out"].get(case.name, {})
            cells.append("left out" if out else with_spread(ratios(ours, runs.get(name, {}).get(figure, []))))
        if ours:
            lines.append([case.title, str(case.clients), *cells])
    return markdown(lines)


def crowd(result: Result) -> str:
    """Give a table: what a transaction costs with many clients, divided by what it costs with sixteen."""
    runs = result["cases"]
    lines = [["subject", *(f"{case.clients} clients" for case in CASES if case.name in ("simple-100", "simple-1000"))]]
    for name in result["about"]["subjects"]:
        few = runs.get("simple", {}).get(name, {}).get("cpu_us", [])
        many = [runs.get(case, {}).get(name, {}).get("cpu_us", []) for case in ("simple-100", "simple-1000")]
        if few and any(many):
            lines.append([TITLES.get(name, name), *(with_spread(ratios(m, few)) for m in many)])
    return markdown(lines) if len(lines) > 1 else ""


def medians(result: Result) -> str:
    """Give a table of medians; they are of one machine and hour, so only to be read beside each other."""
    lines = [["case", "clients", "subject", *UNITS.values()]]
    for case in measured(result):
        for name, figures in result["cases"][case.name].items():
            cells = [show(statistics.median(figures[unit])) if unit in figures else "-" for unit in UNITS]
            lines.append([case.title, str(case.clients), TITLES.get(name, name), *cells])
    return markdown(lines)


def show(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def reasons(result: Result) -> str:
    """Say what is left out and why."""
    lines = [f"- {TITLES.get(name, name)}: {why}" for name, why in result["absent"].items()]
    titles = {case.name: f"{case.title}, {case.clients} clients" for case in CASES}
    for case, subjects in result["left_out"].items():
        lines += [f"- {titles.get(case, case)}, {TITLES.get(name, name)}: {why}" for name, why in subjects.items()]
    return "\n".join(lines) or "Nothing."


def markdown(lines: Iterable[Sequence[str]]) -> str:
    """Lay out a table whose columns after the first are numbers."""
    head, *rows = lines
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def conditions(result: Result) -> str:
    """Say what was measured, where and when."""
    about = result["about"]
    versions = ", ".join(f"{TITLES.get(n, n)} {v}".strip() for n, v in about["subjects"].items() if n != "direct")
    return (
        f"{about['when'][:10]}: {versions}; PostgreSQL {about['postgresql']}, a primary and two standbys, "
        f"Python {about['python']}; {about['machine']}, on which clients and servers run, too. "
        f"{about['rounds']} rounds of {about['seconds']:g} s in random order; load of the machine before: "
        f"{about['load']}. pgrouter parses, routes and balances every statement, as Pgpool-II does; the others do not."
    )


def summary(result: Result) -> str:
    """Give the short form: processor time per transaction."""
    meaning = "Processor time of pgrouter per transaction, divided by that of the other: median (least - greatest)."
    return f"{compare(result, 'cpu_us')}\n\n{meaning} {conditions(result)}"


def page(result: Result) -> str:
    """Give everything as one page."""
    sections = [
        ("Processor time per transaction, pgrouter divided by the other", compare(result, "cpu_us")),
        ("Latency p50, pgrouter divided by the other", compare(result, "p50_ms")),
        ("Latency p95, pgrouter divided by the other", compare(result, "p95_ms")),
        ("Latency p99, pgrouter divided by the other", compare(result, "p99_ms")),
        ("Transactions per second, pgrouter divided by the other", compare(result, "tps")),
        ("Memory, pgrouter divided by the other", compare(result, "memory_kib")),
        ("Memory per idle client, pgrouter divided by the other", compare(result, "client_kib")),
        ("Processor time per transaction, many clients divided by sixteen", crowd(result)),
        ("Left out", reasons(result)),
        ("Medians: of this machine at this time, not to be compared with any other", medians(result)),
    ]
    head = f"# What was measured\n\n{conditions(result)}\n\nEach cell: median (least - greatest) of the rounds.\n"
    return head + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections if text)


def write(out: Path, result: Result) -> None:
    """Write JSON, page and plots."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "latest.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "latest.md").write_text(page(result))
    for figure, title in (("cpu_us", "Processor time per transaction"), ("p99_ms", "Latency, p99")):
        (out / f"{figure.partition('_')[0]}.svg").write_text(plots.draw(title, relative(result, figure)))


def relative(result: Result, figure: str) -> plots.Rows:
    """Give for each case what the others need, pgrouter being 1: (least, median, greatest)."""
    rows: plots.Rows = {}
    for case in measured(result):
        runs = result["cases"][case.name]
        ours = runs.get(OURS, {}).get(figure, [])
        found = {}
        for name in others(result):
            if values := ratios(runs.get(name, {}).get(figure, []), ours):
                found[TITLES.get(name, name)] = (values[0], statistics.median(values), values[-1])
        if found:
            rows[f"{case.title}, {case.clients}"] = found
    return rows


def show_in(readme: Path, result: Result) -> None:
    """Put the short form between the marks of a page."""
    put_between(readme, BEGIN, END, summary(result))


def put_between(page: Path, begin: str, end: str, words: str) -> None:
    """Put words between two marks of a page; without the marks it is left alone."""
    before, mark, rest = page.read_text().partition(begin)
    if mark:
        page.write_text(f"{before}{begin}{words}\n{end}{rest.partition(end)[2]}")
