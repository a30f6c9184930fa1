cdef class Verdict:
    cdef readonly int flags
    cdef readonly str reason
