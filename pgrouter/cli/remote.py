"""A session with a router's console, from anywhere: for the commands that look at a running router."""

from __future__ import annotations

import contextlib
import getpass
import sys
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

Row = dict[str, Any]

CONNECT_TIMEOUT_S = 5
CONSOLE = "pgrouter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; what is missing is taken from libpq's environment (PGHOST, PGUSER, PGPASSWORD ...)."""
    parser.add_argument("conninfo", nargs="?", default="", help="libpq's connection string or URI of the router")
    parser.add_argument("--host", help="address, or directory of the Unix socket")
    parser.add_argument("-p", "--port", type=int, help="port (default: PGPORT, or 5432)")
    parser.add_argument("-U", "--user", help="one of admin.admin_users or admin.stats_users")
    parser.add_argument("-W", "--password", action="store_true", help="ask for the password")


class Remote:
    """A router whose console answers."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def rows(self, view: str) -> list[Row]:
        """Return the rows of a view of the console, such as `POOLS`."""
        return self._connection.execute(f"SHOW {view}".encode()).fetchall()

    def rows_or_none(self, view: str) -> list[Row]:
        """Return the rows of a view, none if this router does not have it or this user may not see it."""
        try:
            return self.rows(view)
        except (psycopg.errors.SyntaxError, psycopg.errors.InsufficientPrivilege):
            return []


@contextlib.contextmanager
def connected(args: argparse.Namespace) -> Iterator[Remote]:
    """Connect as the arguments say.

    Raises:
        psycopg.Error: the router cannot be reached, or does not let this user in.

    """
    with psycopg.connect(conninfo(args), autocommit=True, row_factory=dict_row) as connection:
        yield Remote(connection)


def conninfo(args: argparse.Namespace) -> str:
    """Return libpq's connection string for these arguments."""
    named = {"host": args.host, "port": args.port, "user": args.user}
    given = {name: value for name, value in named.items() if value is not None}
    known = conninfo_to_dict(args.conninfo)
    defaults: dict[str, Any] = {"dbname": CONSOLE, "connect_timeout": CONNECT_TIMEOUT_S}
    if args.password:
        given["password"] = getpass.getpass()
    return make_conninfo(**(defaults | known | given))


def complain(error: psycopg.Error) -> int:
    """Say why the router cannot be asked; return the exit code."""
    sys.stderr.write(f"{str(error).strip()}\n")
    return 1


def as_text(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table, for a terminal or a pipe."""
    cells = [[name for name in columns], *([_text(row.get(name)) for name in columns] for row in rows)]  # noqa: C416
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
