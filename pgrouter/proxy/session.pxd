cimport cython

from pgrouter.pool.pool cimport Pool
from pgrouter.proxy.statements cimport ClientStatements
from pgrouter.server.connection cimport ServerConnection

@cython.final
cdef class Session:
    cdef public Pool pool
    cdef public object profile
    cdef readonly ClientStatements statements
    cdef public double wrote_s
    cdef public int consistency
    cdef public long long must_see_lsn
    cdef public ServerConnection last_write_server
    cdef public str pin
    cdef public int leftovers
    cdef public double pinned_at
    cdef public object startup_profile
    cdef readonly dict reported

    cpdef double must_see_s(self) noexcept
    cpdef int note_write(self, double now_s) except -1
    cdef bint has_drawn(self, ServerConnection server) except -1
    cpdef bint owns_sequences(self, ServerConnection server) except -1
