"""Draws ratios as SVG: a row per case, a dot per subject with its spread, a line where pgrouter is."""

from __future__ import annotations

import math
from html import escape

Rows = dict[str, dict[str, tuple[float, float, float]]]  # case -> subject -> least, median, greatest; pgrouter is 1

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d")
LEFT, RIGHT, TOP, ROW, DOT = 250, 30, 70, 16, 4.5
WIDTH = 900
MARKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
STYLE = (
    "text{font:12px sans-serif;fill:#333}.title{font-weight:bold;font-size:14px}.grid{stroke:#ddd}"
    ".one{stroke:#333;stroke-width:2}"
)


class Scale:
    """Where a ratio lies across the picture: logarithmic, so that twice and half are equally far from 1."""

    def __init__(self, rows: Rows) -> None:
        values = [value for row in rows.values() for spread in row.values() for value in spread if value > 0]
        self.least = min([0.8, *values]) * 0.95
        self.greatest = max([1.25, *values]) * 1.05

    def x(self, value: float) -> float:
        """Give the place of a ratio in pixels."""
        part = math.log(max(value, self.least) / self.least) / math.log(self.greatest / self.least)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def marks(self) -> list[float]:
        """Give the ratios that get a line."""
        return [mark for mark in MARKS if self.least <= mark <= self.greatest]


def draw(title: str, rows: Rows) -> str:
    """Give the picture."""
    subjects = list(dict.fromkeys(name for row in rows.values() for name in row))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(subjects)}
    scale = Scale(rows)
    drawn, y = [], float(TOP)
    for case, row in rows.items():
        height = ROW * max(1, len(row)) + ROW
        drawn.append(text(LEFT - 10, y + (height - ROW) / 2, case, "end"))
        for i, (name, spread) in enumerate(row.items()):
            drawn += dot(scale, y + i * ROW, spread, colours[name])
        y += height
    grid = [line(scale.x(mark), "one" if mark == 1 else "grid", y) for mark in scale.marks()]
    words = [text(scale.x(mark), TOP - 14, f"{mark:g}", "middle") for mark in scale.marks()]
    head = [f'<text class="title" x="10" y="20">{escape(title)}: the others, pgrouter = 1 (line)</text>']
    body = "\n".join([*head, *legend(colours), *grid, *words, *drawn])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10:.0f}" width="{WIDTH}">\n'
        f'<style>{STYLE}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def dot(scale: Scale, y: float, spread: tuple[float, float, float], colour: str) -> list[str]:
    """Draw the median, and a line from the least to the greatest."""
    least, median, greatest = map(scale.x, spread)
    return [
        f'<line x1="{least:.1f}" y1="{y:.1f}" x2="{greatest:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="1.5"/>',
        f'<circle cx="{median:.1f}" cy="{y:.1f}" r="{DOT}" fill="{colour}"><title>{spread[1]:.2f}</title></circle>',
    ]


def line(x: float, kind: str, bottom: float) -> str:
    """Draw a line from top to bottom."""
    return f'<line class="{kind}" x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{bottom:.0f}"/>'


def text(x: float, y: float, words: str, anchor: str) -> str:
    """Write words."""
    return f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def legend(colours: dict[str, str]) -> list[str]:
    """Say whose the colours are."""
    drawn = []
    for i, (name, colour) in enumerate(colours.items()):
        x = 20 + i * 140
        drawn += [f'<circle cx="{x}" cy="37" r="{DOT}" fill="{colour}"/>', text(x + 10, 37, name, "start")]
    return drawn
