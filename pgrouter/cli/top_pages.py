"""What `pgrouter top` shows: pages of columns over the console's views, their rates and their order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pgrouter.cli.remote import Row

KILO = 1024
US_PER_MS = 1000

Show = Callable[[Any], str]


class Column(NamedTuple):
    """One column: from a view's column, as it is or as a rate; `per`: divided by what another one has grown by."""

    title: str
    source: str
    show: Show = str
    rate: bool = False
    per: str = ""


class Page(NamedTuple):
    """One page: a view of the console; without columns all of the view's."""

    title: str
    view: str
    key: tuple[str, ...]
    columns: tuple[Column, ...] = ()


def plain(value: object) -> str:
    """Show a value as it is; nothing for none."""
    if value is None:
        return ""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def number(value: float | None) -> str:
    """Show a rate."""
    return "" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def size(value: float | None) -> str:
    """Show bytes."""
    if value is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if value < KILO:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= KILO
    return f"{value:.1f} TB"


def milliseconds(value: float | None) -> str:
    """Show microseconds as milliseconds."""
    return "" if value is None else f"{value / US_PER_MS:.2f}"


def _gets(row: Row) -> str:
    return "writes" if row["writable"] else "reads" if row["readable"] else "nothing"


def _columns(names: str) -> tuple[Column, ...]:
    return tuple(Column(name, name, plain) for name in names.split())


PAGES: dict[str, Page] = {
    "m": Page("members", "CLUSTER", ("name",), (
        *_columns("name role"), Column("gets", "", _gets), Column("lag", "lag_bytes", size),
        Column("lag ms", "lag_ms", plain), Column("tps", "xact_count", number, rate=True),
        Column("queries/s", "query_count", number, rate=True), Column("busy", "sv_active", plain),
        Column("idle", "sv_idle", plain), Column("why", "reason", plain))),
    "p": Page("pools", "POOLS", ("database", "user"), (
        *_columns("database user cl_active cl_waiting"), Column("maxwait s", "maxwait", plain),
        *_columns("sv_active sv_idle sv_login pool_mode"))),
    "d": Page("databases", "STATS_TOTALS", ("database",), (
        *_columns("database"), Column("tps", "xact_count", number, rate=True),
        Column("queries/s", "query_count", number, rate=True),
        Column("received/s", "bytes_received", size, rate=True), Column("sent/s", "bytes_sent", size, rate=True),
        Column("ms/transaction", "xact_time", milliseconds, per="xact_count"),
        Column("ms/query", "query_time", milliseconds, per="query_count"),
        Column("ms waited/s", "wait_time", milliseconds, rate=True))),
    "c": Page("clients", "CLIENTS", ("id",), (
        *_columns("id user database state addr application_name"), Column("wait s", "wait", plain),
        *_columns("pin route"))),
    "r": Page("routes", "ROUTES", ("target", "reason"), (
        *_columns("target reason count"), Column("per s", "count", number, rate=True))),
    "s": Page("statements", "STATEMENTS", ("fingerprint",)),
    "e": Page("events", "EVENTS", ("id",)),
}  # fmt: skip

Totals = dict[tuple[Any, ...], "Row"]


class Line(NamedTuple):
    """A row on the screen: what is shown, and what it is sorted by."""

    cells: tuple[str, ...]
    values: tuple[Any, ...]


def titles(page: Page, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the columns' titles."""
    if page.columns:
        return tuple(column.title for column in page.columns)
    return tuple(rows[0]) if rows else ()


def totals(page: Page, rows: Sequence[Row]) -> Totals:
    """Return the rows by their key, for the next look."""
    return {tuple(row.get(name) for name in page.key): row for row in rows}


def lines(page: Page, rows: Sequence[Row], before: Totals, seconds: float) -> list[Line]:
    """Return what is shown of some rows, given those of `seconds` ago."""
    found = []
    for row in rows:
        old = before.get(tuple(row.get(name) for name in page.key))
        values = [_value(column, row, old, seconds) for column in page.columns] if page.columns else list(row.values())
        shows = [column.show for column in page.columns] if page.columns else [plain] * len(values)
        found.append(Line(tuple(show(value) for show, value in zip(shows, values, strict=True)), tuple(values)))
    return found


def _value(column: Column, row: Row, old: Row | None, seconds: float) -> object:
    if not column.source:
        return row
    value = row.get(column.source)
    if not column.rate and not column.per:
        return value
    if old is None or value is None or seconds <= 0:
        return None
    grown = max(0, value - old[column.source])
    if column.rate:
        return grown / seconds
    times = row[column.per] - old[column.per]
    return grown / times if times > 0 else None


def ordered(found: list[Line], column: int | None, *, most_first: bool) -> list[Line]:
    """Sort by a column, None: as they came; what has no value there comes last."""
    if column is None or not found or column >= len(found[0].values):
        return found

    def key(line: Line) -> tuple[Any, ...]:
        value = line.values[column]
        return (value,) if isinstance(value, int | float) else (line.cells[column],)

    known = [line for line in found if line.values[column] is not None]
    return sorted(known, key=key, reverse=most_first) + [line for line in found if line.values[column] is None]
