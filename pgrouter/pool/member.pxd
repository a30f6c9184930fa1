from pgrouter.server.connection cimport ServerConnection

cdef int ACTIVE, CLOSED, DIALLING, IDLE_STATE, LOGGING_IN, RESETTING

cdef class MemberPool:
    cdef readonly object group
    cdef public object member
    cdef public Py_ssize_t size
    cdef readonly dict servers
    cdef readonly list idle
    cdef readonly int pending
    cdef readonly int failures
    cdef public int missed
    cdef readonly set doubted
    cdef bint cutting
    cdef readonly double retry_at
    cdef public double fresh_s
    cdef public long long lsn
    cdef readonly double fenced_at
    cdef readonly object closed

    cpdef move(self, ServerConnection server, int state)
    cpdef ServerConnection take(self)
    cdef bint is_fresh(self, double wrote_s, long long lsn) noexcept
    cpdef bint can_dial(self, double now) except -1
