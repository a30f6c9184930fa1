"""Tries new bodies of functions in a process of their own before they are parsed in the router's.

PostgreSQL's parser is C code, and whoever may create a function chooses what it reads: what crashes it must cost
nothing. The process is a fork that parses each body once; a body that ends it, or takes it too long, is not parsed
again, and its function counts as one in a language that nobody reads.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import warnings
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pgrouter.routing import bodies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgrouter.routing.catalog_facts import Facts, Function

log = logging.getLogger("pgrouter.catalog")

PATIENCE_S = 10.0  # without a body that is done
MOST_CRASHES = 20  # then the rest is not parsed either
MOST_TRIED = 500_000  # texts that are known to be harmless, by their hashes
NICE = 5


def harmless(facts: Facts, tried: set[int]) -> Facts:
    """Return the facts without the bodies that crash the parser; `tried` has the hashes of those known not to."""
    untried = [row for row in facts.functions if row.definition and hash(row.definition) not in tried]
    if not untried:
        return facts
    crashing = {row.oid for row in _crashing(untried, facts)}
    if len(tried) > MOST_TRIED:
        tried.clear()
    tried.update(hash(row.definition) for row in untried if row.oid not in crashing)
    if not crashing:
        return facts
    return replace(facts, functions=[_unread(row) if row.oid in crashing else row for row in facts.functions])


def _unread(row: Function) -> Function:
    log.warning("the body of the function %s.%s cannot be read: it crashes the parser", row.schema, row.name)
    return replace(row, language=f"{row.language} that crashes the parser", definition="")


def _crashing(rows: Sequence[Function], facts: Facts) -> list[Function]:
    found: list[Function] = []
    at = 0
    while at < len(rows):
        done = _tried(rows[at:], facts)
        at += done
        if at < len(rows):
            found.append(rows[at])
            at += 1
            if len(found) >= MOST_CRASHES:
                return [*found, *rows[at:]]
    return found


def _tried(rows: Sequence[Function], facts: Facts) -> int:
    """Parse the bodies in a process; return how many it has survived."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: the child takes none of their locks
        pid = os.fork()
    if pid == 0:
        _parse_all(writes, rows, facts)
    os.close(writes)
    done = 0
    try:
        while select.select([reads], [], [], PATIENCE_S)[0]:
            said = os.read(reads, 65536)
            done += len(said)
            if not said:
                break
    finally:
        os.close(reads)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return done


def _parse_all(writes: int, rows: Sequence[Function], facts: Facts) -> None:
    """Parse them in the child, with a byte for each that is done; never returns."""
    try:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.closerange(3, writes)
        os.closerange(writes + 1, os.sysconf("SC_OPEN_MAX"))
        os.nice(NICE)
        gc.disable()
        for row in rows:
            with contextlib.suppress(Exception):  # the router will meet it, too
                bodies.read(row.definition, row.language, facts.builtin_types, {})
            os.write(writes, b".")
    finally:
        os._exit(0)
