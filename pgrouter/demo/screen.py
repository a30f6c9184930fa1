"""The demo's screen: pure functions from the observed state to something `rich` can show, or to one plain line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from pgrouter.demo.director import Change, Event
    from pgrouter.demo.observer import Sight
    from pgrouter.demo.workload import Fault, Totals

EVENTS_SHOWN = 10
OTHER_LINES = 13  # frame, psql line, page, table's frame and heading, clients, and what wraps at 80 columns
KEYS = "f: kill the leader   s: switchover   q: quit"


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything the screen shows at one moment."""

    elapsed_s: float
    psql: str
    page: str  # the router's, for a browser
    sights: tuple[Sight, ...]
    totals: Totals
    reads_per_s: dict[str, float]  # by member
    writes_per_s: float
    events: Sequence[Event]
    keys: bool  # whether there is a terminal to press them on


def role(sight: Sight) -> str:
    """Return what a member is, in one word; a server that reports to be a standby is never shown as the leader."""
    if not sight.reachable:
        return "down"
    if sight.status is None:
        return "standby" if sight.in_recovery else "primary"
    if sight.status.role == "leader":
        return "LEADER" if not sight.in_recovery else "leader to be"
    return "replica" if sight.in_recovery else "former leader"


def state(sight: Sight) -> str:
    """Return Patroni's state of a member."""
    return sight.status.state if sight.status else "-"


def lag(sight: Sight) -> str:
    """Return how far behind a replica is, as text."""
    if sight.status is None or sight.status.role == "leader" or sight.status.lag_bytes is None:
        return "-"
    return f"{sight.status.lag_bytes:,} B"


def member_table(picture: Picture) -> Table:
    """Return the table with a line per member."""
    table = Table(expand=True, title_justify="left")
    table.add_column("member")
    table.add_column("role")
    table.add_column("state")
    for heading in ("lag", "reads served", "reads/s", "writes", "rows"):
        table.add_column(heading, justify="right")
    for sight in picture.sights:
        table.add_row(
            f"{sight.name} :{sight.port}", role(sight), state(sight), lag(sight), f"{sight.reads:,}",
            f"{picture.reads_per_s.get(sight.name, 0.0):.0f}", f"{sight.writes:,}", f"{sight.rows:,}",
            style=style(sight),
        )  # fmt: skip
    return table


def style(sight: Sight) -> str:
    """Return the style of a member's line."""
    return {"LEADER": "bold green", "replica": "", "down": "red"}.get(role(sight), "yellow")


def clients_line(picture: Picture) -> Text:
    """Return what the clients see."""
    totals = picture.totals
    text = Text(
        f"clients: {totals.reads:,} reads, {totals.writes:,} acknowledged writes ({picture.writes_per_s:.0f}/s), "
        f"longest write pause {totals.longest_write_pause_s:.1f} s, "
    )
    return text.append(f"{totals.faults} errors", style="bold red" if totals.faults else "green")


def draw(picture: Picture, height: int) -> Panel:
    """Return the whole screen; with fewer events on a small terminal, since overflow is cut off at the end."""
    shown = min(EVENTS_SHOWN, max(1, height - OTHER_LINES - len(picture.sights)))
    events = [
        Text(f"{e.at_s:6.1f} s  {e.text}", style="red" if e.bad else "", no_wrap=True, overflow="ellipsis")
        for e in picture.events[-shown:]
    ]
    parts: list[RenderableType] = [
        Text.assemble("in another terminal:  ", (picture.psql, "bold cyan")),
        Text.assemble("in a browser:  ", (picture.page, "bold cyan")),
        member_table(picture),
        clients_line(picture),
        *events,
    ]
    keys = f"   {KEYS}" if picture.keys else ""  # in the frame's first line, which is always visible
    return Panel(Group(*parts), title=f"pgrouter demo  {picture.elapsed_s:.0f} s{keys}", title_align="left")


def line(picture: Picture) -> str:
    """Return everything as one plain line."""
    members = "  ".join(f"{s.name} {role(s)} {s.reads} reads {s.writes} writes lag {lag(s)}" for s in picture.sights)
    totals = picture.totals
    return (
        f"{picture.elapsed_s:6.1f} s  {members}  | clients: {totals.reads} reads, {totals.writes} writes, "
        f"{totals.faults} errors, longest write pause {totals.longest_write_pause_s:.1f} s"
    )


def summary(picture: Picture, changes: Sequence[Change], faults: Sequence[Fault], verdict: str) -> str:
    """Return the summary shown at the end."""
    totals = picture.totals
    lines = [
        (
            f"ran {picture.elapsed_s:.0f} s: {totals.reads} reads, {totals.writes} acknowledged writes, "
            f"{totals.faults} errors seen by clients, longest write pause {totals.longest_write_pause_s:.1f} s"
        ),
        *(f"  {s.name}: {s.reads} reads served, {s.writes} rows written here, {role(s)}" for s in picture.sights),
        *map(told, changes),
        *(f"  {count} x {text}" for text, count in Counter(f"{f.client}: {f.text}" for f in faults).most_common(10)),
        f"validator: {verdict}",
    ]
    return "\n".join(lines)


def told(change: Change) -> str:
    """Return how a leader change affected the clients."""
    return (
        f"{change.kind}: {change.old} -> {change.new}, elected after {change.elected_s:.1f} s, "
        f"writes held for {change.writes_held_s:.1f} s, errors seen by clients: {change.client_errors}"
    )
