cimport cython

cdef double _slow_s
cdef int CLASSES

@cython.final
cdef class Usage:
    cdef readonly bytes text
    cdef readonly str target
    cdef readonly str reason
    cdef public long long calls
    cdef public long long on_replica
    cdef public long long retries
    cdef public double seconds
    cdef public double longest_s
    cdef long long counts[32]

    @cython.locals(us=cython.ulonglong, at=cython.int)
    cpdef bint add(self, double took_s, bint on_replica) except -1
