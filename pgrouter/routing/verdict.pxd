cdef class Verdict:
    cdef readonly bint reads
    cdef readonly bint stateless
    cdef readonly str reason
    cdef readonly bint draws
    cdef readonly bint writes
