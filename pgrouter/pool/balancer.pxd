cimport cython

from pgrouter.pool.member cimport MemberPool
from pgrouter.server.connection cimport ServerConnection

cdef int MAX_DEFICIT

cdef class LastWrite:
    cdef public double last_s

@cython.final
cdef class ReadBalancer:
    cdef readonly double fresh_s
    cdef readonly long long lsn
    cdef list turns
    cdef Py_ssize_t turn
    cdef bint has_deficit
    cdef bint least_active
    cdef readonly list pools

    cdef bint all_fresh(self, double wrote_s, long long lsn) noexcept
    cdef bint any_fresh(self, double wrote_s, long long lsn) except -1
    cdef ServerConnection take(self, double now)
    cdef ServerConnection take_fresh(self, double wrote_s, long long lsn, double now)
    cdef Py_ssize_t least_busy(self) except -1
    cdef MemberPool serve_deficit(self)
