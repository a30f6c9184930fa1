from pgrouter.routing.usage cimport Usage

cdef class Verdict:
    cdef readonly int flags
    cdef readonly str reason
    cdef readonly Usage usage
