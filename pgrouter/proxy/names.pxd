from pgrouter.proxy.unnamed cimport UnnamedStatement
from pgrouter.server.connection cimport ServerConnection
from pgrouter.session.prepared cimport Names

cdef int FAILED_TRANSACTION
cdef int R_PARSE_NAMED, R_CLOSE_NAMED, R_QUERY, R_EXECUTE, R_PARSE_UNNAMED, R_PARSE_FAILED, R_CLOSE_UNNAMED

cdef class StatementNames(UnnamedStatement):
    cdef public bint closes_unnamed
    cdef bint gossip
    cdef object deallocated
    cdef readonly Names named
    cdef readonly list unconfirmed
    cdef readonly list closing
    cdef object shared
    cdef dict failed
    cdef Names gone

    cpdef int settle(self, list events) except -1
    cpdef int take_back(self) except -1
    cdef bint may_come_back(self) noexcept
    cdef int at_rest(self) except -1
    cdef int undefine(self, bytes name) except -1
    cdef int reopen(self, bytes name, object shared) except -1
    cdef int reallocate(self) except -1
    cdef int forget_deallocated(self) except -1
    cdef bytes in_clients_words(self, bytes error)
    cpdef int discard(self, bytes name) except -1
    cpdef int forget(self) except -1
    cpdef int forget_named(self) except -1
    cdef int forget_closing(self) except -1
    cdef int deallocate_all(self, ServerConnection server) except -1
    cpdef int forget_unconfirmed(self) except -1
