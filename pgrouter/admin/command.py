"""One command of the console, parsed and ready to run, and the error for what is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgrouter.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Column, Row

SHOWN_IN_ERRORS = 60  # characters of an unknown command


def nothing(_context: Context) -> tuple[Row, ...]:
    """Do nothing."""
    return ()


@dataclass(frozen=True, slots=True)
class Command:
    """One command, ready to run; `columns` None: it returns no rows, and is done when `run` has nothing more to yield.

    A None from such a command means: not yet, look again a little later. If its client cancels it meanwhile, the
    error is raised there.
    """

    tag: str
    run: Callable[[Context], Iterable[Row | None]] = nothing
    columns: tuple[Column, ...] | None = None
    admin: bool = False  # not for stats users
    status: bytes = b""  # transaction status afterwards; empty: unchanged
    closes: str = ""  # prepared statement that it deallocates, or ALL_STATEMENTS


def unknown(words: list[str]) -> RouterError:
    """Return the error for a command that does not exist."""
    shown = " ".join(words)
    if len(shown) > SHOWN_IN_ERRORS:
        shown = shown[:SHOWN_IN_ERRORS] + "..."
    return RouterError(
        f'the console knows no such command: "{shown}"',
        detail="This database is the router itself: it holds no tables and runs no SQL.",
        hint="SHOW HELP",
        sqlstate="42601",
    )
