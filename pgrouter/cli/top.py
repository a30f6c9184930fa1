"""`pgrouter top`: a running router, live in a terminal, from anywhere: it asks the console."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import psycopg
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pgrouter.cli import remote
from pgrouter.cli.top_pages import PAGES, Totals, lines, ordered, titles, totals
from pgrouter.demo.keys import key_reader

if TYPE_CHECKING:
    import argparse

    from rich.console import RenderableType

    from pgrouter.cli.remote import Remote

AROUND = 5  # lines of the screen that are no rows
KEYS = "  ".join(f"{key}: {page.title}" for key, page in PAGES.items()) + "   < >: sort by   -: reverse   q: quit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    remote.add_arguments(parser)
    parser.add_argument("-d", "--delay", type=float, default=2.0, metavar="SECONDS", help="between two looks")
    parser.add_argument("-n", "--looks", type=int, help="end after so many")
    parser.add_argument("-b", "--batch", action="store_true", help="write text, as without a terminal")
    parser.add_argument("--page", choices=[page.title for page in PAGES.values()], default="members")


def run(args: argparse.Namespace) -> int:
    """Show the router until q or Ctrl-C; return the exit code."""
    try:
        with remote.connected(args) as router:
            Top(router, args, Console(highlight=False)).run()
    except psycopg.Error as error:
        return remote.complain(error)
    except KeyboardInterrupt:
        return 130
    return 0


class Top:
    """What is shown, and how it is sorted."""

    def __init__(self, router: Remote, args: argparse.Namespace, console: Console) -> None:
        self._router = router
        self._args = args
        self._console = console
        self._page = next(page for page in PAGES.values() if page.title == args.page)
        self._sort: int | None = None
        self._most_first = True
        self._columns = 0
        self._before: Totals = {}
        self._looked_s = 0.0

    def run(self) -> None:
        """Look, show, and follow the keys."""
        if self._args.batch or not self._console.is_terminal:
            looks = self._args.looks or sys.maxsize
            for number in range(looks):
                self._console.print(self._look(None))
                if number < looks - 1:
                    time.sleep(self._args.delay)
            return
        with key_reader(wanted=True) as read_key, Live(console=self._console, screen=True, auto_refresh=False) as live:
            looks = 0
            while looks != self._args.looks:
                live.update(self._look(self._console.height - AROUND), refresh=True)
                looks += 1
                if not self._follow(read_key(self._args.delay)):
                    return

    def _follow(self, key: str) -> bool:
        """Do what a key says; whether to go on."""
        if key in PAGES:
            self._page, self._sort, self._before = PAGES[key], None, {}
        elif key in ("<", ">") and self._columns:
            first, step = (-1, 1) if key == ">" else (0, -1)
            self._sort = ((first if self._sort is None else self._sort) + step) % self._columns
        elif key == "-":
            self._most_first = not self._most_first
        return key != "q"

    def _look(self, most: int | None) -> RenderableType:
        rows = self._router.rows_or_none(self._page.view)
        state = {row["key"]: row["value"] for row in self._router.rows("STATE")}
        lists = {row["list"]: row["items"] for row in self._router.rows("LISTS")}
        now = time.monotonic()
        found = lines(self._page, rows, self._before, now - self._looked_s)
        found = ordered(found, self._sort, most_first=self._most_first)
        self._before, self._looked_s = totals(self._page, rows), now
        names = titles(self._page, rows)
        self._columns = len(names)
        table = Table(box=None, pad_edge=False, expand=False, header_style="dim")
        for at, (name, cells) in enumerate(zip(names, zip(*(line.cells for line in found), strict=True), strict=False)):
            mark = "" if at != self._sort else " v" if self._most_first else " ^"
            numbers = all(cell[:1].isdigit() or not cell for cell in cells)
            table.add_column(f"{name}{mark}", justify="right" if numbers else "left", no_wrap=True)
        for line in found[:most]:
            table.add_row(*(Text(cell) for cell in line.cells))
        more = f"   {len(found) - most} more" if most is not None and len(found) > most else ""
        head = (
            f"{time.strftime('%H:%M:%S')}  primary: {state.get('primary') or 'none'}   "
            f"clients: {lists.get('used_clients', 0)}   servers in use: {lists.get('used_servers', 0)}"
        )
        parts: list[RenderableType] = [Text(head), Text(f"{self._page.title}{more}", style="bold"), table]
        if most is not None:
            parts.append(Text(KEYS, style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)
