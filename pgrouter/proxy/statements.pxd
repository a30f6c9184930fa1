cimport cython

from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.protocol.framing cimport copied, end_of_string
from pgrouter.proxy.held cimport HeldStatements
from pgrouter.routing.cache cimport StatementCache
from pgrouter.server.connection cimport ServerConnection
from pgrouter.session.prepared cimport SharedStatement
from pgrouter.protocol.codes cimport BIND, CLOSE, DESCRIBE, FAILED_TRANSACTION, PARSE, QUERY
from pgrouter.protocol.requests cimport (
    BIND as R_BIND, CLOSE as R_CLOSE, CLOSE_NAMED as R_CLOSE_NAMED, CLOSE_UNNAMED as R_CLOSE_UNNAMED,
    DESCRIBE as R_DESCRIBE, FAKE, FORWARD, PARSE as R_PARSE, PARSE_NAMED as R_PARSE_NAMED,
    PARSE_UNNAMED as R_PARSE_UNNAMED, SKIP
)

cdef object UNREAD
cdef int STATEMENT
cdef int NAMES

@cython.final
cdef class ClientStatements(HeldStatements):
    cdef public bint by_own_name
    cdef dict parsed

    cpdef int enter(self, StatementCache cache, object shared) except -1
    cdef object class_of_shared(self, SharedStatement shared)
    cpdef object class_named(self, bytes name)
    cpdef bint define(self, bytes body, object meaning) except -1
    cpdef int close(self, bytes body) except -1
    cdef int begin_batch(self) except -1
    cdef bint prepares(self) noexcept
    cdef object class_of(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop)
    cdef object class_requested(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop)
    cdef bint is_named(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -1
    cdef object class_parsed(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t finish, Py_ssize_t stop)
    cdef int parse(self, ServerConnection server, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, SendBuffer out, bint ours=*) except -1
    cdef int close_stale(self, ServerConnection server, bytes name, SendBuffer out) except -1
    cdef int parse_in_error(self, ServerConnection server, bytes name, bytes message, bint known, SendBuffer out) except -1
    cdef int bind(self, ServerConnection server, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Py_ssize_t end, SendBuffer out) except -1
    cdef int describe_named(self, ServerConnection server, bytes name, SendBuffer out) except -1
    cdef int wait(self, ServerConnection server, Py_ssize_t pos, Py_ssize_t end, SendBuffer out) except -1
    cdef int parse_unseen(self, ServerConnection server) except -1
    cdef int describe_or_close(self, ServerConnection server, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, SendBuffer out) except -1
    cdef SharedStatement taken(self, ServerConnection server, bytes body, object statement)
