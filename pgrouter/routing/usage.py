"""How often statements ran, and for how long, by fingerprint: for SHOW STATEMENTS and the log of slow ones.

The statistics outlive the cache of classes, and are bounded: when there are too many, those that ran least are dropped,
as pg_stat_statements does. On the data path a statement costs a few additions (`Usage.add`); it is looked up only when
it is classified.

The same file runs compiled (with usage.pxd) and as plain Python. Not thread-safe.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cython

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.routing.statement import Statement

CLASSES = 32  # of times: number i has those below 2**i microseconds
MOST = 2000  # statements of a database
DROPPED = 20  # one of so many is dropped when there are too many
LONGEST = 1000  # bytes of a text; what is longer is counted together with all that begin alike

_slow_s = math.inf


def log_slower_than(seconds: float) -> None:
    """Let `Usage.add` tell statements that took longer than that."""
    global _slow_s  # noqa: PLW0603  (a C variable when compiled)
    _slow_s = seconds


class Usage:
    """One statement's."""

    def __init__(self, text: bytes, target: str, reason: str) -> None:
        self.text = text  # normalized, without literals
        self.target = target
        self.reason = reason  # why it goes there
        self.calls = 0
        self.on_replica = 0
        self.retries = 0
        self.seconds = 0.0
        self.longest_s = 0.0
        if cython.compiled:
            for at in range(CLASSES):
                self.counts[at] = 0
        else:
            self.counts = [0] * CLASSES

    def add(self, took_s: cython.double, on_replica: cython.bint) -> cython.bint:
        """Count a call; whether it was slow."""
        us = cython.cast(cython.ulonglong, took_s * 1e6) if took_s > 0 else 0
        at = 0
        while us > 0 and at < CLASSES - 1:
            us >>= 1
            at += 1
        self.counts[at] += 1
        self.calls += 1
        self.on_replica += on_replica
        self.seconds += took_s
        self.longest_s = max(self.longest_s, took_s)
        return took_s > _slow_s

    def quantile_s(self, share: float) -> float:
        """Return a time that this share of the calls did not exceed, by the classes: at most twice too long."""
        wanted = share * self.calls
        seen = 0
        for at in range(CLASSES):
            seen += self.counts[at]
            if seen >= wanted:
                return min((1 << at) / 1e6, self.longest_s)
        return self.longest_s

    def absorb(self, statement: Statement) -> None:
        """Take over where the statement goes now: the catalog may have changed."""
        self.target, self.reason = statement.target.name.lower(), statement.reason


class Usages:
    """Those of one database."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[bytes, Usage] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Usage]:
        return iter(list(self._known.values()))

    def of(self, key: bytes, statement: Statement) -> Usage:
        """Return the usage of a statement, by its key in the cache of classes."""
        text = key
        if key[:1] == b"\0":  # a text with its literals, which are nobody's business
            text = f"({statement.tag or 'not normalized'})".encode()
        elif len(key) > LONGEST:
            text = key[:LONGEST] + b"..."
        usage = self._known.get(text)
        if usage is None:
            if len(self._known) >= self._most:
                self._drop()
            usage = self._known[text] = Usage(text, "", "")
        usage.absorb(statement)
        return usage

    def _drop(self) -> None:
        least = sorted(self._known.items(), key=_by_calls)[: max(1, self._most // DROPPED)]
        for text, _ in least:
            del self._known[text]
        self.dropped += len(least)


def _by_calls(item: tuple[bytes, Usage]) -> int:
    return item[1].calls
