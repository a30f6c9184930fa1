cimport cython

from pgrouter.net.poller cimport Poller
from pgrouter.pool.member cimport MemberPool
from pgrouter.pool.balancer cimport ReadBalancer, LastWrite
from pgrouter.pool.demand cimport Demand
from pgrouter.pool.kinds cimport AGAIN, FRESH, OTHER_READ, OTHER_WRITE, OWN, READ, WRITE
from pgrouter.pool.waiting cimport WaitingClients
from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.peer cimport Peer
from pgrouter.server.states cimport ACTIVE, IDLE_STATE


@cython.final
cdef class Pool:
    cdef readonly Poller poller
    cdef readonly MemberPool writer
    cdef readonly ReadBalancer readers
    cdef double tenure_s
    cdef readonly bint standby
    cdef public bint sequences
    cdef readonly bint forgotten
    cdef readonly int clients
    cdef readonly double left_at
    cdef readonly bint draining
    cdef bint falls_back
    cdef readonly LastWrite writes
    cdef readonly bint outdated
    cdef readonly object pools
    cdef readonly object settings
    cdef readonly bint limited
    cdef readonly object name
    cdef readonly object database
    cdef readonly object user
    cdef public object credential
    cdef readonly dict members
    cdef readonly MemberPool last_writer
    cdef readonly WaitingClients waiting
    cdef readonly object parameters
    cdef dict of_cluster
    cdef public long long wait_us
    cdef readonly object departed

    cpdef ServerConnection take(self, Demand demand, Peer peer)
    cdef ServerConnection take_certain(self, Demand demand)
    cpdef bint needs_primary(self, double wrote_s, long long lsn) except -1
    cpdef release(self, ServerConnection server)
    cdef tuple next_waiter(self, MemberPool pool)
    cdef object _queue_of(self, MemberPool pool)
    cpdef bint learns(self) except -1
    cpdef bint must_wait(self) except -1
    cpdef bint has_room(self, bint reads) except -1
    cdef ServerConnection exchange(self, ServerConnection server, object custom, Peer peer, bint reads)
    cdef bint no_reader(self) except -1
