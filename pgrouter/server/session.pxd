cimport cython

from pgrouter.session.prepared cimport SharedStatement
from pgrouter.protocol.codes cimport PARAMETER_DESCRIPTION, ROW_DESCRIPTION

@cython.final
cdef class ServerSession:
    cdef public object profile
    cdef public object stands_for
    cdef public object unnamed
    cdef public dict prepared
    cdef public object custom
    cdef public object sequence_owner
    cdef public bint sequences_used
    cdef public bint dirty
    cdef public bint discarded
    cdef public object sql_names
    cdef public dict evicted
    cdef public SharedStatement changed
    cdef bytes parameters
    cdef list descriptions

    cpdef int reset(self, object profile) except -1
    cpdef int meet(self, object custom) except -1
    cdef int described(self, int code, bytes body) except -1
    cdef bytes next_description(self, bint done)
    cdef int parse_failed(self, unsigned int ident) except -1
    cdef int close_failed(self, unsigned int ident) except -1
    cdef SharedStatement compare(self, unsigned int ident, bytes known, object server)
