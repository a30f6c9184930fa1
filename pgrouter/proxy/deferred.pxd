cimport cython

from pgrouter.protocol.framing cimport copied, end_of_string
from pgrouter.proxy.batch cimport Batch
from pgrouter.proxy.statements cimport ClientStatements
from pgrouter.server.connection cimport ServerConnection
from pgrouter.protocol.codes cimport BIND, EXECUTE, QUERY
from pgrouter.server.states cimport DISCARDS

@cython.final
cdef class DeferredStatements:
    cdef readonly Batch batch
    cdef readonly ClientStatements statements
    cdef dict portals
    cdef object deallocating

    cdef bint follow(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -1
    cdef int forget(self, ServerConnection server) except -1
    cdef int deallocated(self, ServerConnection server) except -1
