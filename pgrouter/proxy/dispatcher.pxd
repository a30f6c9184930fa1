cimport cython

from pgrouter.pool.balancer cimport ReadBalancer
from pgrouter.pool.demand cimport Demand
from pgrouter.pool.member cimport MemberPool
from pgrouter.pool.pool cimport Pool
from pgrouter.proxy.batch cimport Batch, RouteCounts
from pgrouter.proxy.link cimport Link
from pgrouter.proxy.session cimport Session
from pgrouter.server.connection cimport ServerConnection
from pgrouter.pool.kinds cimport AGAIN, FRESH, OTHER_READ, OTHER_WRITE, OWN, READ, WRITE
from pgrouter.proxy.flags cimport SPLIT
from pgrouter.routing.flags cimport READS

cdef int SEQUENCES, SESSION
cdef str OWN_WRITE

@cython.final
cdef class Dispatcher:
    cdef readonly Link link
    cdef readonly Session session
    cdef readonly Batch batch
    cdef readonly Demand demand
    cdef readonly RouteCounts routes

    cdef int choose(self) except -1
    cdef int choose_retry(self) except -1
    cdef ServerConnection take(self)
    cdef int claim(self) except -1
    cdef int see(self) except -1
    cdef ServerConnection take_fresh(self)
    cdef bint lacks_own_server(self) except -1
    cdef bint goes_on(self) noexcept
    cdef ServerConnection unacquainted(self, ServerConnection server)
    cdef bint is_fresh(self, ServerConnection server) except -1
