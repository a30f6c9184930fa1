from pgrouter.net.gather cimport Gather
from pgrouter.proxy.names cimport StatementNames
from pgrouter.server.connection cimport ServerConnection
from pgrouter.session.prepared cimport SharedStatement

cdef int CLOSE, DESCRIBE, PARSE
cdef int CHECK, CHECK_UNNAMED, FORWARD, SKIP, OURS, THEIRS
cdef int R_CLOSE, R_PARSE, R_REFUSED, OLD_PLAN, WAITING

cdef class HeldStatements(StatementNames):
    cdef public Py_ssize_t limit
    cdef bint unsettled
    cdef public bint temporary

    cdef bint holds(self, ServerConnection server, SharedStatement shared) except -1
    cdef SharedStatement ensure(self, ServerConnection server, bytes name, Gather out)
    cdef SharedStatement meant(self, ServerConnection server, bytes name, SharedStatement shared, object meaning, Gather out)
    cdef bint is_known(self, SharedStatement shared) except -1
    cdef bint check(self, ServerConnection server, SharedStatement shared, bint waits, Gather out) except -1
    cdef bint refuse_unless_held(self, ServerConnection server, Gather out) except -1
    cpdef int renew(self, bytes name) except -1
    cpdef int outdated(self) except -1
    cpdef int part(self, SharedStatement shared, bytes known) except -1
    cdef object meaning(self, ServerConnection server)
    cdef int evict(self, ServerConnection server, Gather out) except -1
    cdef bint ensure_unnamed(self, ServerConnection server, Gather out) except -1
    cdef int describe_unnamed(self, ServerConnection server) except -1
    cpdef bint heard_unnamed(self, ServerConnection server, int ident, bytes known) except -1
