"""What a client demands of its pool: a connection for a read or a write, and which ones will do."""

from __future__ import annotations

import cython

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.pool.kinds import READ, WRITE


class Demand:
    """A demand (`pool.kinds`), filled in anew for each batch: the data path creates no objects."""

    def __init__(self, reads: cython.bint = False) -> None:  # noqa: FBT002 (C has no keyword arguments)
        self.kind = READ if reads else WRITE
        self.reads = reads  # it waits in the queue of reads
        self.must_see_s = -1.0  # time of the last write that a read must see
        self.must_see_lsn = 0  # and the WAL up to here
        self.server = None  # for AGAIN and OWN
        self.avoid = None  # a MemberPool, for OTHER_READ and OTHER_WRITE
