cimport cython

from pgrouter.pool.kinds cimport READ
from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.peer cimport Peer

@cython.final
cdef class WaitTimes:
    cdef readonly list counts

    cpdef int add(self, double waited_s) except -1

@cython.final
cdef class WaitingClients:
    cdef readonly object writes
    cdef readonly object reads
    cdef readonly object logins
    cdef readonly list claims
    cdef bint queued

    cpdef int add(self, Peer peer, double now, bint reads) except -1
    cdef bint is_queued(self) except -1
    cdef tuple claimant(self, ServerConnection server, bint of_writer)
    cdef int forget(self, Peer peer) except -1
