from pgrouter.net.gather cimport Gather
from pgrouter.protocol.framing cimport end_of_string
from pgrouter.routing.cache cimport StatementCache
from pgrouter.server.connection cimport ServerConnection

cdef int PARSE, BIND, DESCRIBE, CLOSE, QUERY, FAILED_TRANSACTION, STATEMENT
cdef int FORWARD, SKIP, FAKE
cdef int R_PARSE, R_PARSE_NAMED, R_BIND, R_DESCRIBE, R_CLOSE, R_CLOSE_NAMED

cdef class ClientStatements:
    cdef readonly StatementCache cache
    cdef object shared
    cdef public bint unusual_strings
    cdef bint unsettled
    cdef public bint temporary
    cdef readonly dict named
    cdef dict parsed
    cdef readonly list unconfirmed
    cdef list closing
    cdef public object unnamed_class
    cdef readonly bytes unnamed_parse

    cpdef int enter(self, StatementCache cache, object shared) except -1
    cdef object class_of_shared(self, object shared)
    cdef int begin_batch(self) except -1
    cdef object class_of(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop)
    cdef object class_parsed(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t finish, Py_ssize_t stop)
    cdef int parse(self, ServerConnection server, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out, bint ours=*) except -1
    cdef int parse_in_error(self, ServerConnection server, bytes name, bytes message, Gather out) except -1
    cdef int bind(self, ServerConnection server, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Py_ssize_t end, Gather out) except -1
    cdef int parse_unseen(self, ServerConnection server) except -1
    cdef int describe_or_close(self, ServerConnection server, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out) except -1
    cdef object ensure(self, ServerConnection server, bytes name, Gather out)
    cpdef int outdated(self) except -1
    cpdef int renew(self, bytes name) except -1
    cdef object meaning(self, ServerConnection server)
    cdef int evict(self, ServerConnection server, Gather out) except -1
    cdef int ensure_unnamed(self, ServerConnection server, Gather out) except -1
    cpdef int settle(self, list events) except -1
    cpdef int take_back(self) except -1
    cdef int forget_unnamed(self) except -1
    cdef int discard(self, bytes name) except -1
    cpdef int forget(self) except -1
    cdef int forget_closing(self) except -1
    cdef int deallocate_all(self, ServerConnection server) except -1
    cpdef int forget_unconfirmed(self) except -1
