cimport cython

from pgrouter.server.peer cimport Peer
from pgrouter.session.prepared cimport SharedStatement
from pgrouter.protocol.codes cimport PARAMETER_DESCRIPTION, ROW_DESCRIPTION
from pgrouter.protocol.requests cimport CHECK, CHECK_UNNAMED, CLOSE, PARSE, PARSE_NAMED

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
    cdef bint apply_events(self, list events, object server, Peer peer) except -1
    cdef bint checked_unnamed(self, unsigned int ident, bint done, Peer peer) except -1
    cdef bint checked(self, unsigned int ident, bint done, object server, Peer peer) except -1
    cdef SharedStatement compare(self, unsigned int ident, bytes known, object server)
