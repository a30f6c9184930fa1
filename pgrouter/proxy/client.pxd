from pgrouter.net.gather cimport Gather
from pgrouter.net.stream cimport Poller, Stream
from pgrouter.protocol.framing cimport frontend_kind, length_at
from pgrouter.pool.group cimport Group
from pgrouter.protocol.outstanding cimport Outstanding
from pgrouter.proxy.batch cimport Batch
from pgrouter.proxy.statements cimport ClientStatements
from pgrouter.server.connection cimport Peer, ServerConnection

cdef int PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, FLUSH, QUERY, FUNCTION_CALL
cdef int COPY_DATA, COPY_DONE, COPY_FAIL, TERMINATE
cdef unsigned int MAX_MESSAGE
cdef int UNKNOWN, IN_BATCH, ENDS_BATCH, COPY, LAST
cdef int FORWARD, SKIP
cdef int R_QUERY, R_FUNCTION, R_EXECUTE, R_SYNC, R_COPY_END
cdef int IDLE
cdef int SPLIT, ONLY_PRIMARY
cdef Py_ssize_t MAX_BATCH, MAX_NAMED, AHEAD

cdef class ClientConnection(Peer):
    cdef readonly object hub
    cdef public Group group
    cdef public object conversation
    cdef readonly ClientStatements statements
    cdef readonly Batch batch
    cdef public object profile
    cdef public object startup_profile
    cdef public bint waiting
    cdef readonly dict told
    cdef public str pin
    cdef Py_ssize_t body_left
    cdef bint open_batch
    cdef bint asked
    cdef Py_ssize_t examined
    cdef readonly object client_id
    cdef public object key
    cdef public object info
    cdef public object address
    cdef readonly bint terminated
    cdef public double since

    cdef Py_ssize_t begin(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef int examine(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -1
    cdef int count_route(self) except -1
    cdef int take_server(self) except -1
    cpdef int link(self, ServerConnection server) except -1
    cpdef int unlink(self) except -1
    cdef Py_ssize_t forward(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef bint must_hold(self, int code, const unsigned char *buf, Py_ssize_t pos) except -1
    cdef int request(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out) except -1
    cdef int stream_body(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Py_ssize_t end, Gather out) except -1
    cdef int apply_profile(self, Gather out) except -1
    cdef Py_ssize_t converse(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cpdef int violation(self, object error) except -1
    cpdef int leave(self) except -1
