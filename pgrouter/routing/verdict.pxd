cdef class Verdict:
    cdef readonly bint reads
    cdef readonly bint quiet
    cdef readonly str reason
    cdef readonly bint draws
    cdef readonly bint writes
