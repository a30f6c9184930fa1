"""SHOW STATS, STATS_TOTALS and STATS_AVERAGES: counters per database; SHOW TOTALS: of all together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.admin.result import columns
from pgrouter.admin.stats import Counters, group_totals

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row

# PgBouncer's irregular names: SHOW STATS has the kind of a number in its name, the other two what it counts.
_AVERAGE_NAMES = {"received": "recv"}
_PLAIN_NAMES = {"received": "bytes_received", "sent": "bytes_sent"}

# ... and prefixes some of them in SHOW STATS_AVERAGES
_PREFIXED = ("client_parse_count", "server_parse_count", "bind_count", "client_login_count")
# In SHOW TOTALS it has the names of its own code.
_INNER_NAMES = {
    "received": "client_bytes",
    "sent": "server_bytes",
    "client_parse_count": "ps_client_parse_count",
    "server_parse_count": "ps_server_parse_count",
    "bind_count": "ps_bind_count",
}

_TOTALS = " ".join(f"total_{name}:numeric" for name in Counters._fields)
_AVERAGES = " ".join(f"avg_{_AVERAGE_NAMES.get(name, name)}:numeric" for name in Counters._fields)
_PLAIN = [_PLAIN_NAMES.get(name, name) for name in Counters._fields]

STATS = columns(f"database {_TOTALS} {_AVERAGES}")
STATS_TOTALS = columns(" ".join(["database", *(f"{name}:numeric" for name in _PLAIN)]))
STATS_AVERAGES = columns(
    " ".join(["database", *(f"avg_{name}:numeric" if name in _PREFIXED else f"{name}:numeric" for name in _PLAIN)])
)
TOTALS = columns("name value:numeric")


def _totals(context: Context) -> Generator[None, None, dict[str, Counters]]:
    """Return the totals by database; there may be thousands of pools, so others have their turn in between."""
    found: dict[str, Counters] = {}
    for group in list(context.app.pools.groups.values()):
        found[group.name] = found.get(group.name, Counters()).plus(group_totals(group))
        yield
    return found


def stats(context: Context) -> Iterator[Row | None]:
    """Yield totals and averages."""
    totals = yield from _totals(context)
    averages = context.app.sampler.averages(context.now, totals)
    for database, total in sorted(totals.items()):
        yield database, *total, *averages[database]


def stats_totals(context: Context) -> Iterator[Row | None]:
    """Yield the totals since the start."""
    totals = yield from _totals(context)
    for database, total in sorted(totals.items()):
        yield database, *total


def stats_averages(context: Context) -> Iterator[Row | None]:
    """Yield the averages of the last periods, per second or per transaction."""
    totals = yield from _totals(context)
    for database, average in sorted(context.app.sampler.averages(context.now, totals).items()):
        yield database, *average


def all_totals(context: Context) -> Iterator[Row | None]:
    """Yield the totals, then the averages, of all databases together."""
    totals = yield from _totals(context)
    averages = context.app.sampler.averages(context.now, totals)
    for prefix, counted in (("total", totals), ("avg", averages)):
        done = Counters()
        for one in counted.values():
            done = done.plus(one)
        for name, value in zip(Counters._fields, done, strict=True):
            yield f"{prefix}_{_INNER_NAMES.get(name, name)}", value
