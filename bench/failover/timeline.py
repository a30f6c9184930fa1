"""Draws leader changes as SVG: a panel per event, a row per subject, a thin bar per client while it writes."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from bench.failover.figures import BEFORE_S, ERRORS_EVERY_S
from bench.plots import STYLE, text

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, LEFT, RIGHT, TOP = 900, 190, 20, 56
ROW, BAR, PANEL = 26, 12, 66  # height of a row, of its bar, and what a panel takes besides its rows
HEAD = 40  # of a panel, above its rows
TALLEST = 8  # of a mark for errors, in pixels; it is that long for so many in half a second:
MANY_ERRORS = 40
EVERY_S = 10
COLOURS = {"written": "#54a24b", "lost": "#e45756", "errors": "#333"}
LEGEND = {
    "written": "writes acknowledged", "lost": "acknowledged, and lost in the end", "errors": "errors, longer: more",
}  # fmt: skip
OURS = "pgrouter"


class Axis:
    """Where a second lies across the picture."""

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self._scale = (WIDTH - LEFT - RIGHT) / (until_s + BEFORE_S)

    def x(self, second: float) -> float:
        """Give the place of a second after the event, in pixels."""
        return LEFT + (min(max(second, -BEFORE_S), self.until_s) + BEFORE_S) * self._scale

    def marks(self) -> range:
        """Give the seconds that get a line."""
        return range(0, int(self.until_s) + 1, EVERY_S)


def draw(result: dict[str, Any], title: Callable[[str], str]) -> str:
    """Give the picture; `title` names a subject for people."""
    drawn, y = legend(), float(TOP)
    axis = Axis(max((event["seconds"] for event in result["events"]), default=1.0))  # one scale for all
    for event in result["events"]:
        drawn += panel(event, axis, y, title)
        y += PANEL + ROW * len(event["timeline"])
    head = '<text class="title" x="10" y="20">Writes while the leader changes: seconds after the event</text>'
    body = "\n".join([head, *drawn])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}">\n'
        f'<style>{STYLE}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def panel(event: dict[str, Any], axis: Axis, top: float, title: Callable[[str], str]) -> list[str]:
    """Draw one event."""
    rows = event["timeline"]
    first, bottom = top + HEAD, top + HEAD + ROW * len(rows)
    drawn = [f'<text class="title" x="10" y="{top + 12:.0f}">{escape(event["title"])}</text>']
    for second in axis.marks():
        kind = "one" if second == 0 else "grid"
        x = axis.x(second)
        drawn.append(f'<line class="{kind}" x1="{x:.1f}" y1="{first - 6:.0f}" x2="{x:.1f}" y2="{bottom:.0f}"/>')
        drawn.append(text(x, first - 12, str(second), "middle"))
    for i, (name, seen) in enumerate(rows.items()):
        y = first + ROW * i
        if name == OURS:
            drawn.append(f'<rect x="0" y="{y:.0f}" width="{WIDTH}" height="{ROW}" fill="#4c78a8" fill-opacity="0.1"/>')
        drawn += [text(LEFT - 10, y + 2 + BAR / 2, title(name), "end"), *row(seen, axis, y)]
    return drawn


def row(seen: dict[str, list[list[float]]], axis: Axis, y: float) -> list[str]:
    """Draw what the clients of one subject saw: a thin bar per client, and marks that hang under them for errors."""
    drawn = []
    lanes = 1 + max((int(client) for kind in ("written", "lost") for client, _, _ in seen[kind]), default=0)
    for kind in ("written", "lost"):
        for client, begin, end in seen[kind]:
            x, width, lane = axis.x(begin), max(1.5, axis.x(end) - axis.x(begin)), y + 2 + BAR / lanes * client
            box = f'x="{x:.1f}" y="{lane:.2f}" width="{width:.1f}" height="{BAR / lanes:.2f}"'
            drawn.append(f'<rect {box} fill="{COLOURS[kind]}"/>')
    for second, count in seen["errors"]:
        height = 2 + (TALLEST - 2) * min(1.0, count / MANY_ERRORS)
        width = max(1.0, axis.x(second + ERRORS_EVERY_S) - axis.x(second) - 1)
        box = f'x="{axis.x(second):.1f}" y="{y + BAR + 4:.1f}" width="{width:.1f}" height="{height:.1f}"'
        drawn.append(f'<rect {box} fill="{COLOURS["errors"]}"><title>{count:.0f} errors</title></rect>')
    return drawn


def legend() -> list[str]:
    """Say what the colours mean."""
    drawn = []
    for i, (kind, words) in enumerate(LEGEND.items()):
        x = 20 + i * 250
        drawn.append(f'<rect x="{x}" y="33" width="14" height="8" fill="{COLOURS[kind]}"/>')
        drawn.append(text(x + 20, 37, words, "start"))
    return drawn
