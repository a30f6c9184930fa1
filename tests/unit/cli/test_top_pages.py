"""What `pgrouter top` makes of two looks at a router."""

from __future__ import annotations

from typing import Any

import pytest

from pgrouter.admin.views import VIEWS
from pgrouter.cli.top_pages import PAGES, Page, lines, number, ordered, plain, size, titles, totals

MEMBERS, DATABASES = PAGES["m"], PAGES["d"]


def member(name: str, **values: Any) -> dict[str, Any]:
    return {
        "name": name, "role": "replica", "writable": False, "readable": True, "lag_bytes": 0, "lag_ms": 0,
        "xact_count": 0, "query_count": 0, "sv_active": 0, "sv_idle": 0, "reason": "",
    } | values  # fmt: skip


def shown(page: Page, rows: list[dict[str, Any]], before: list[dict[str, Any]], seconds: float) -> list[dict[str, str]]:
    names = titles(page, rows)
    return [dict(zip(names, line.cells, strict=True)) for line in lines(page, rows, totals(page, before), seconds)]


def test_rates_are_what_has_come_since_the_last_look() -> None:
    before = [member("a", xact_count=100, query_count=1000)]
    rows = [member("a", xact_count=105, query_count=1600, lag_bytes=2048), member("b", xact_count=7)]
    a, b = shown(MEMBERS, rows, before, 2.0)
    assert (a["tps"], a["queries/s"], a["lag"], a["gets"]) == ("2.5", "300", "2.0 kB", "reads")
    assert (b["tps"], b["queries/s"]) == ("", "")  # it is new
    (again,) = shown(MEMBERS, [member("a", xact_count=3)], before, 2.0)  # the router was restarted
    assert again["tps"] == "0.0"


def test_means_are_of_what_has_come_since_the_last_look() -> None:
    zero = dict.fromkeys(
        ("xact_count", "query_count", "bytes_received", "bytes_sent", "xact_time", "query_time", "wait_time"), 0
    )
    now = zero | {"xact_count": 10, "xact_time": 25_000, "bytes_sent": 1 << 21}
    (line,) = shown(DATABASES, [now | {"database": "d"}], [zero | {"database": "d"}], 1.0)
    assert (line["ms/transaction"], line["ms/query"], line["sent/s"]) == ("2.50", "", "2.0 MB")


def test_the_order() -> None:
    rows = [member("a", xact_count=1), member("b", xact_count=9), member("c"), member("d", xact_count=5)]
    found = lines(MEMBERS, rows, totals(MEMBERS, [member(name) for name in "abd"]), 1.0)
    tps = titles(MEMBERS, rows).index("tps")
    assert [line.cells[0] for line in ordered(found, tps, most_first=True)] == ["b", "d", "a", "c"]
    assert [line.cells[0] for line in ordered(found, tps, most_first=False)] == ["a", "d", "b", "c"]
    assert [line.cells[0] for line in ordered(found, 0, most_first=True)] == ["d", "c", "b", "a"]
    assert ordered(found, None, most_first=True) == found
    assert ordered(found, 99, most_first=True) == found
    assert ordered([], 0, most_first=True) == []


@pytest.mark.parametrize("page", [page for page in PAGES.values() if page.columns], ids=lambda page: page.title)
def test_pages_read_columns_that_the_console_has(page: Page) -> None:
    names = {column.name for column in VIEWS[page.view].columns}
    read = {column.source for column in page.columns} | {column.per for column in page.columns} | set(page.key)
    assert read - {""} <= names


def test_a_page_without_columns_has_all_of_the_view() -> None:
    page = Page("x", "X", ("id",))
    assert shown(page, [{"id": 1, "what": None, "on": True}], [], 0) == [{"id": "1", "what": "", "on": "yes"}]
    assert titles(page, []) == ()


def test_how_values_are_shown() -> None:
    assert [size(value) for value in (None, 0, 1023, 1024, 1 << 30, 1 << 50)] == [
        "",
        "0 B",
        "1023 B",
        "1.0 kB",
        "1.0 GB",
        "1024.0 TB",
    ]
    assert [number(value) for value in (None, 0.0, 9.94, 10.6)] == ["", "0.0", "9.9", "11"]
    assert [plain(value) for value in (None, True, 0, "x")] == ["", "yes", "0", "x"]
