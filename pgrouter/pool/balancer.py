"""The members of a pool that share the reads: whose turn it is, and which have replayed what a session must see."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import cython

from pgrouter.pool.member import MemberPool
from pgrouter.session.consistency import NOWHERE

if TYPE_CHECKING:
    from pgrouter.server.connection import ServerConnection

MAX_DEFICIT = 200  # at most so many reads are made up for after a replica had no idle connection


class LastWrite:
    """The time of the last write through this router, which strict reads must see."""

    def __init__(self) -> None:
        self.last_s = -1.0


class ReadBalancer:
    """The member pools to read from, in the order of their turns."""

    def __init__(self) -> None:
        self.turn = 0
        self.follow([], [], False)

    def follow(self, pools: list[MemberPool], turns: list[MemberPool], least_active: bool) -> None:  # noqa: FBT001 (C has no keyword arguments)
        """Share reads among these from now on; a pool occurs in `turns` as often as its weight."""
        self.pools = pools
        self.turns = turns
        self.least_active = least_active
        self.turn = self.turn % len(turns) if turns else 0
        self.has_deficit = False  # some pool was passed over and must make up for it
        for pool in pools:
            pool.deficit = 0
        self.refresh()

    def refresh(self) -> None:
        """Recompute how far the members have replayed."""
        self.fresh_s = min((pool.fresh_s for pool in self.pools), default=inf)
        self.lsn = min((pool.lsn for pool in self.pools), default=NOWHERE)

    # -- freshness

    def all_fresh(self, wrote_s: cython.double, lsn: cython.longlong) -> cython.bint:
        """Whether any of them can serve a read that must see writes up to this time and WAL position."""
        return wrote_s < self.fresh_s and lsn <= self.lsn

    def any_fresh(self, wrote_s: cython.double, lsn: cython.longlong) -> cython.bint:
        """Whether at least one of them can serve such a read."""
        pool: MemberPool
        for pool in self.pools:  # noqa: SIM110 (a generator would be a call per pool)
            if pool.is_fresh(wrote_s, lsn):
                return True
        return False

    # -- taking

    def take(self, now: cython.double) -> ServerConnection | None:
        """Return an idle connection of the next member; one that has none is passed over this time, and dialled."""
        step: cython.Py_ssize_t
        pool: MemberPool
        turns: list = self.turns
        size: cython.Py_ssize_t = len(turns)
        if self.has_deficit:
            pool = self.serve_deficit()
            if pool is not None:
                return pool.take()
        first: cython.Py_ssize_t = self.least_busy() if self.least_active else self.turn
        self.turn = first + 1 if first + 1 < size else 0
        pool = turns[first]
        if pool.free is not None:
            return pool.take()
        if not self.least_active:
            pool.deficit = min(pool.deficit + 1, MAX_DEFICIT)
            self.has_deficit = True
        if not pool.pending and pool.can_dial(now):
            pool.dial_spare()
        for step in range(1, size):
            pool = turns[(first + step) % size]
            if pool.free is not None:
                return pool.take()
        return None

    def take_fresh(self, wrote_s: cython.double, lsn: cython.longlong, now: cython.double) -> ServerConnection | None:
        """Return an idle connection of a member that has replayed what such a read must see."""
        step: cython.Py_ssize_t
        pool: MemberPool
        turns: list = self.turns
        size: cython.Py_ssize_t = len(turns)
        first: cython.Py_ssize_t = self.least_busy() if self.least_active else self.turn
        for step in range(size):
            pool = turns[(first + step) % size]
            if not pool.is_fresh(wrote_s, lsn):
                continue
            if pool.free is not None:
                self.turn = (first + step + 1) % size
                return pool.take()
            if not pool.pending and pool.can_dial(now):
                pool.dial_spare()
        return None

    def take_other(self, lost: MemberPool, wrote_s: float, lsn: int) -> ServerConnection | None:
        """Return an idle connection to retry such a read; `lost` has lost one, so its others may be dead, too."""
        pool: MemberPool
        for pool in self.pools:
            if pool is not lost and pool.free is not None and pool.is_fresh(wrote_s, lsn):
                return pool.take()
        return None

    def least_busy(self) -> cython.Py_ssize_t:
        """Return the turn of the member with the fewest active connections; of several, the next one in order."""
        step: cython.Py_ssize_t
        best: cython.Py_ssize_t = self.turn
        pool: MemberPool
        turns: list = self.turns
        size: cython.Py_ssize_t = len(turns)
        active: cython.Py_ssize_t
        fewest: cython.Py_ssize_t = -1
        for step in range(size):
            pool = turns[(self.turn + step) % size]
            active = len(pool.servers) - pool.free_count - pool.pending
            if fewest < 0 or active < fewest:
                fewest = active
                best = (self.turn + step) % size
        return best

    def serve_deficit(self) -> MemberPool | None:
        """Return a member pool that was passed over for want of an idle connection, until its deficit is gone."""
        pool: MemberPool
        behind: cython.bint = False
        for pool in self.pools:
            if pool.deficit and pool.free is not None:
                pool.deficit -= 1
                return pool
            behind = behind or pool.deficit > 0
        self.has_deficit = behind
        return None
