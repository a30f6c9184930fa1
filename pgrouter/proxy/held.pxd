from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.proxy.names cimport StatementNames
from pgrouter.server.connection cimport ServerConnection
from pgrouter.session.prepared cimport SharedStatement
from pgrouter.protocol.codes cimport CLOSE, DESCRIBE, PARSE
from pgrouter.protocol.requests cimport (
    CHECK, CHECK_UNNAMED, CLOSE as R_CLOSE, FORWARD, PARSE as R_PARSE, REFUSED as R_REFUSED, SKIP
)
from pgrouter.server.states cimport AWAITS_ANSWERS

cdef int OURS, THEIRS
cdef int OLD_PLAN

cdef class HeldStatements(StatementNames):
    cdef public Py_ssize_t limit
    cdef bint unsettled
    cdef public bint temporary

    cdef bint holds(self, ServerConnection server, SharedStatement shared) except -1
    cdef SharedStatement ensure(self, ServerConnection server, bytes name, SendBuffer out)
    cdef SharedStatement meant(self, ServerConnection server, bytes name, SharedStatement shared, object meaning, SendBuffer out)
    cdef bint is_known(self, SharedStatement shared) except -1
    cdef bint check(self, ServerConnection server, SharedStatement shared, bint waits, SendBuffer out) except -1
    cdef bint refuse_unless_held(self, ServerConnection server, SendBuffer out) except -1
    cpdef int renew(self, bytes name) except -1
    cpdef int outdated(self) except -1
    cpdef int part(self, SharedStatement shared, bytes known) except -1
    cdef object meaning(self, ServerConnection server)
    cdef int evict(self, ServerConnection server, SendBuffer out) except -1
    cdef bint ensure_unnamed(self, ServerConnection server, SendBuffer out) except -1
    cdef int describe_unnamed(self, ServerConnection server) except -1
    cpdef bint heard_unnamed(self, ServerConnection server, int ident, bytes known) except -1
