from pgrouter.proxy.unnamed cimport UnnamedStatement
from pgrouter.server.connection cimport ServerConnection
from pgrouter.session.prepared cimport Names
from pgrouter.protocol.requests cimport (
    CLOSE_NAMED as R_CLOSE_NAMED, CLOSE_UNNAMED as R_CLOSE_UNNAMED, PARSE_FAILED as R_PARSE_FAILED,
    PARSE_NAMED as R_PARSE_NAMED, PARSE_UNNAMED as R_PARSE_UNNAMED, QUERY as R_QUERY
)

cdef class StatementNames(UnnamedStatement):
    cdef public bint closes_unnamed
    cdef bint has_batch_names
    cdef readonly Names named
    cdef readonly list pending_parses
    cdef readonly list pending_closes
    cdef object shared
    cdef dict failed

    cpdef int on_parse_results(self, list events) except -1
    cpdef int take_back(self) except -1
    cdef bint may_come_back(self) noexcept
    cdef int at_rest(self) except -1
    cdef int undefine(self, bytes name) except -1
    cdef int reopen(self, bytes name, object shared) except -1
    cdef bytes in_clients_words(self, bytes error)
    cpdef int discard(self, bytes name) except -1
    cpdef int forget(self) except -1
    cpdef int forget_named(self) except -1
    cdef int forget_closing(self) except -1
    cpdef int deallocated(self, object statement, ServerConnection server) except -1
    cpdef int forget_unconfirmed(self) except -1
