from pgrouter.pool.pool cimport Pool

cdef class StartupTemplate:
    cdef readonly tuple parameters
    cdef readonly str user
    cdef readonly str database
    cdef readonly str name
    cdef readonly bint replicates
    cdef readonly bint long_keys
    cdef readonly bytes negotiation
    cdef public object profile
    cdef public Pool pool
