"""The clients that wait for a connection of a pool: queues for writes and reads, and those that want a certain one."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import cython

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.pool.kinds import READ

if TYPE_CHECKING:
    from pgrouter.server.connection import ServerConnection
    from pgrouter.server.peer import Peer

# What may replace the connection of a claim if that is lost: nothing; else any for a READ or WRITE (`pool.kinds`)
NOTHING_ELSE = -1


BOUNDS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)


class WaitTimes:
    """How long clients have waited until they were served: how many up to each of BOUNDS_S, the last one for more."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)

    def add(self, waited_s: cython.double) -> int:
        """Count a client."""
        at: cython.int = 0
        for bound_s in BOUNDS_S:
            if waited_s <= bound_s:
                break
            at += 1
        self.counts[at] += 1
        return 0


class WaitingClients:
    """Queues of (client, since), the longest waiting first."""

    def __init__(self) -> None:
        self.writes = deque()
        self.reads = deque()
        self.logins = deque()  # for the parameters that a login reports
        self.claims = []  # for a particular connection: (client, since, connection, see NOTHING_ELSE)
        self.queued = False  # there may be somebody in the queues of reads and writes

    def add(self, peer: Peer, now: cython.double, reads: cython.bint) -> int:
        """Put a client at the end of a queue."""
        queue = self.reads if reads else self.writes
        queue.append((peer, now))
        self.queued = True
        return 0

    def is_queued(self) -> cython.bint:
        """Whether somebody waits for a read or a write."""
        if self.queued and not (self.writes or self.reads):
            self.queued = False
        return self.queued

    def claimant(self, server: ServerConnection, of_writer: cython.bint) -> tuple | None:
        """Dequeue the client that has waited longest for this particular connection; `of_writer`: to the primary."""
        for claim in self.claims:
            if claim[2] is server and (of_writer or claim[3] == READ):
                self.claims.remove(claim)
                return claim
        return None

    def claim_other(self, server: ServerConnection, other: ServerConnection) -> None:
        """Let those who claim a connection wait for another one, which is dialled in its place."""
        self.claims[:] = [
            (peer, since, other, kind) if claimed is server else (peer, since, claimed, kind)
            for peer, since, claimed, kind in self.claims
        ]

    def forget(self, peer: Peer) -> int:
        """Remove a client that has gone."""
        for queue in (self.writes, self.reads, self.logins, self.claims):
            for entry in list(queue) if queue else ():
                if entry[0] is peer:
                    queue.remove(entry)
        return 0

    def queues(self) -> tuple:
        """Return each queue, and whether what it waits for is a read."""
        return (self.writes, False), (self.reads, True), (self.logins, True)
