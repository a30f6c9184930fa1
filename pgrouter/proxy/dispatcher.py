"""Finds a server for a batch that has been routed: what it demands of the pool, given what the session must see."""

from __future__ import annotations

import cython

from pgrouter.pool.demand import Demand
from pgrouter.pool.member import MemberPool
from pgrouter.pool.pool import Pool
from pgrouter.proxy.batch import Batch, RouteCounts
from pgrouter.proxy.link import Link
from pgrouter.routing.statement import Effect, Reason
from pgrouter.server.connection import ServerConnection
from pgrouter.session.consistency import SESSION

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.pool.kinds import AGAIN, FRESH, OTHER_READ, OTHER_WRITE, OWN, READ, WRITE
    from pgrouter.proxy.flags import SPLIT
    from pgrouter.routing.flags import READS

OWN_WRITE = Reason.OWN_WRITE
SEQUENCES = int(Effect.SEQUENCES)


class Dispatcher:
    """The demand of a client's current batch."""

    def __init__(self, link: Link, routes: RouteCounts) -> None:
        self.link = link
        self.session = link.session
        self.batch = link.batch
        self.routes = routes
        self.demand = Demand()

    def choose(self) -> int:
        """Decide whether a replica may get the batch, and which; count it."""
        if self.link.retry is not None:
            return self.choose_retry()
        if self.batch.decided & READS == 0:
            self.demand.kind = WRITE
            self.demand.reads = False
            return self.routes.add(self.batch.reason, False)
        self.demand.kind = READ
        self.demand.reads = True
        if self.batch.traits & SPLIT and not self.session.pool.standby:  # a standby cluster has no writes
            must_see_s: cython.double = (
                self.session.wrote_s if self.session.consistency == SESSION else self.session.must_see_s()
            )
            if not self.session.pool.readers.all_fresh(must_see_s, self.session.must_see_lsn):
                self.demand.kind = FRESH
                self.demand.reads = False
                if self.session.pool.needs_primary(must_see_s, self.session.must_see_lsn):
                    return self.routes.add(OWN_WRITE, False)
        return self.routes.add(self.batch.reason, True)

    def choose_retry(self) -> int:
        """Decide where the retry of a batch goes."""
        batch: Batch = self.batch
        demand: Demand = self.demand
        pool: Pool = self.session.pool
        self.link.retry.route(self)
        demand.reads = batch.decided & READS
        demand.kind = OTHER_READ if demand.reads else OTHER_WRITE
        demand.avoid = self.link.retry.lost
        if batch.may_use_replica() and not pool.readers.any_fresh(self.session.must_see_s(), self.session.must_see_lsn):
            demand.reads = False
        return self.routes.add(batch.reason, batch.decided & READS != 0)

    def take(self) -> ServerConnection | None:
        """Return a free server; None: the client waits for one."""
        if self.batch.effects & SEQUENCES:
            self.claim()
        elif self.demand.kind == WRITE:
            if self.session.pool.sequences and self.session.last_write_server is not None:
                self.demand.kind = AGAIN
                self.demand.server = self.session.last_write_server
        elif self.demand.kind != READ:
            self.see()
        server: ServerConnection = self.session.pool.take(self.demand, self.link.peer)
        if server is not None and server.session.custom is not None:
            return self.unacquainted(server)
        return server

    def claim(self) -> int:
        """Demand the server whose sequence values are ours."""
        own: cython.bint = self.session.last_write_server is not None and not self.goes_on()
        self.session.pool.sequences = True
        if own:
            self.demand.kind = OWN
            self.demand.server = self.session.last_write_server
            return 0
        return self.see()

    def see(self) -> int:
        """Demand what the session must see."""
        self.demand.must_see_s = self.session.must_see_s()
        self.demand.must_see_lsn = self.session.must_see_lsn
        return 0

    def take_fresh(self) -> ServerConnection | None:
        """Do the same in place of a server that has not replayed what the batch must see."""
        self.link.retry = None
        self.demand.kind = FRESH
        self.demand.reads = False
        return self.take()

    def lacks_own_server(self) -> cython.bint:
        """Whether the batch, which asks for sequence values, cannot have them: only one of our own writes leaves some.

        When a client of the pool asks for the first time, its last write must have taken a value: servers discard them
        before they write for another client only from then on.
        """
        if self.session.owns_sequences(self.session.last_write_server):
            return False
        return not self.goes_on()

    def goes_on(self) -> cython.bint:
        """Whether the batch continues a transaction on the primary, whose server will report that it has no values."""
        return (
            self.link.retry is not None
            and self.link.retry.inside
            and not self.session.owns_sequences(self.session.last_write_server)
        )

    def unacquainted(self, server: ServerConnection) -> ServerConnection | None:
        """Return a server that has met no custom settings but ours: others would read as '' and not NULL; None: wait.

        If the batch sets all of these, any server will do.
        """
        ours = self.session.profile.custom
        strange = server.session.custom - ours
        touched = self.batch.touched
        if not strange or self.session.pin is not None or (touched is not None and touched.covers(strange)):
            return server
        return self.session.pool.exchange(server, ours, self.link.peer, self.batch.decided & READS != 0)

    def is_fresh(self, server: ServerConnection) -> cython.bint:
        """Whether a server has replayed what the current batch must see."""
        pool: MemberPool = server.owner
        return pool.is_fresh(self.session.must_see_s(), self.session.must_see_lsn)
