cimport cython

from pgrouter.net.gather cimport Gather
from pgrouter.protocol.framing cimport copied, end_of_string
from pgrouter.proxy.names cimport StatementNames
from pgrouter.routing.cache cimport StatementCache
from pgrouter.server.connection cimport ServerConnection
from pgrouter.session.prepared cimport SharedStatement

cdef object UNREAD
cdef int PARSE, BIND, DESCRIBE, CLOSE, QUERY, FAILED_TRANSACTION, STATEMENT
cdef int FORWARD, SKIP, FAKE
cdef int R_PARSE, R_PARSE_NAMED, R_BIND, R_DESCRIBE, R_CLOSE, R_CLOSE_NAMED, R_PARSE_UNNAMED, R_CLOSE_UNNAMED

@cython.final
cdef class ClientStatements(StatementNames):
    cdef public Py_ssize_t limit
    cdef public bint by_own_name
    cdef bint unsettled
    cdef public bint temporary
    cdef dict parsed

    cpdef int enter(self, StatementCache cache, object shared) except -1
    cdef object class_of_shared(self, SharedStatement shared)
    cpdef object class_named(self, bytes name)
    cpdef bint define(self, bytes body, object meaning) except -1
    cpdef int close(self, bytes body) except -1
    cdef int begin_batch(self) except -1
    cdef object class_of(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop)
    cdef object class_parsed(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t finish, Py_ssize_t stop)
    cdef int parse(self, ServerConnection server, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out, bint ours=*) except -1
    cdef int parse_in_error(self, ServerConnection server, bytes name, bytes message, bint known, Gather out) except -1
    cdef int bind(self, ServerConnection server, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Py_ssize_t end, Gather out) except -1
    cdef int parse_unseen(self, ServerConnection server) except -1
    cdef int describe_or_close(self, ServerConnection server, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out) except -1
    cdef bint holds(self, ServerConnection server, SharedStatement shared) except -1
    cdef SharedStatement ensure(self, ServerConnection server, bytes name, Gather out)
    cpdef int outdated(self) except -1
    cpdef int renew(self, bytes name) except -1
    cdef object meaning(self, ServerConnection server)
    cdef int evict(self, ServerConnection server, Gather out) except -1
    cdef int ensure_unnamed(self, ServerConnection server, Gather out) except -1
