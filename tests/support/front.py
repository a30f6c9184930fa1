"""A router for the tests of a whole module, and what must be true of every router after its tests."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from support.router import RouterFactory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.router import Router, Settings

# What a router must never log, whatever is done to it.
BUG = re.compile(r"^.*(bug in|Traceback|internal error|never retrieved|was never awaited).*$", re.MULTILINE)


@contextmanager
def running(settings: Settings, *, users: Mapping[str, str] | None = None) -> Iterator[Router]:
    """Run a router; at the end it must still be alive, must have logged no bug, and must end when asked."""
    factory = RouterFactory()
    try:
        router = factory(settings, users=users)
        yield router
        assert router.process.alive
        factory.stop_all()
        text = router.log_text()
        if found := BUG.search(text):
            pytest.fail(f"the router has logged a bug:\n{text[found.start() : found.start() + 4000]}")
    finally:
        factory.stop_all()
        factory.remove()


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def peak_rss_mb(pid: int) -> float:
    """Return the largest resident memory that a process ever had since the last `reset_peak`, in MiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def reset_peak(pid: int) -> None:
    """Make `peak_rss_mb` count from now on (proc(5): write 5 to clear_refs)."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as clear:  # noqa: PTH123
        clear.write("5")
