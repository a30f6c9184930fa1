"""Kinds of demands, see `pool.demand`."""

from __future__ import annotations

WRITE = 0  # the primary's connection
READ = 1  # that of a replica, in turn
FRESH = 2  # of a replica that has replayed what the read must see, else the primary's
AGAIN = 3  # the one last written to, if it is idle; else any for a write
OWN = 4  # no other one than that
OTHER_READ = 5  # of a replica other than `avoid` that has replayed what the read must see
OTHER_WRITE = 6  # the primary's, unless that is `avoid`
