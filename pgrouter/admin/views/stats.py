"""SHOW STATS, STATS_TOTALS and STATS_AVERAGES: counters per database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.admin.result import columns
from pgrouter.admin.stats import Counters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row

# PgBouncer's irregular names: SHOW STATS has the kind of a number in its name, the other two what it counts.
_AVERAGE_NAMES = {"received": "recv"}
_PLAIN_NAMES = {"received": "bytes_received", "sent": "bytes_sent"}

_TOTALS = " ".join(f"total_{name}:int" for name in Counters._fields)
_AVERAGES = " ".join(f"avg_{_AVERAGE_NAMES.get(name, name)}:int" for name in Counters._fields)
_PLAIN = " ".join(f"{_PLAIN_NAMES.get(name, name)}:int" for name in Counters._fields)

STATS = columns(f"database {_TOTALS} {_AVERAGES}")
STATS_TOTALS = columns(f"database {_PLAIN}")
STATS_AVERAGES = columns(f"database {_PLAIN}")


def stats(context: Context) -> Iterator[Row]:
    """Yield totals and averages."""
    averages = context.app.sampler.averages(context.now)
    for database, total in sorted(context.app.sampler.totals().items()):
        yield database, *total, *averages[database]


def stats_totals(context: Context) -> Iterator[Row]:
    """Yield the totals since the start."""
    for database, total in sorted(context.app.sampler.totals().items()):
        yield database, *total


def stats_averages(context: Context) -> Iterator[Row]:
    """Yield the averages of the last periods, per second or per transaction."""
    for database, average in sorted(context.app.sampler.averages(context.now).items()):
        yield database, *average
