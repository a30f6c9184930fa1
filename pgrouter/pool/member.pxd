cimport cython

from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.states cimport ACTIVE, CLOSED, DIALLING, IDLE_STATE, LOGGING_IN, RESETTING

@cython.final
cdef class MemberPool:
    cdef readonly ServerConnection free
    cdef readonly int free_count
    cdef readonly int pending
    cdef public int deficit
    cdef public double fresh_s
    cdef public long long lsn
    cdef readonly object pool
    cdef public object member
    cdef public Py_ssize_t size
    cdef readonly dict servers
    cdef readonly int failures
    cdef readonly object refusal
    cdef readonly object places
    cdef readonly tuple limits
    cdef bint cutting
    cdef readonly set doubted
    cdef readonly double retry_at
    cdef readonly double fenced_at
    cdef readonly object closed

    cpdef int move(self, ServerConnection server, int state) except -1
    cdef int unstack(self, ServerConnection server) except -1
    cpdef ServerConnection take(self)
    cpdef bint is_fresh(self, double wrote_s, long long lsn) noexcept
    cpdef bint can_dial(self, double now) except -1
    cpdef ServerConnection dial_spare(self)
    cpdef ServerConnection dial_needed(self)
    cpdef ServerConnection longest_idle(self)
    cpdef bint ends(self, ServerConnection server) except -1
