from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.net.poller cimport Poller
from pgrouter.protocol.framing cimport frontend_kind, impossible
from pgrouter.proxy.batch cimport Batch
from pgrouter.proxy.requester cimport Requester
from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.states cimport ON_LOSS, ON_REFUSAL
from pgrouter.protocol.codes cimport (
    BIND, CLOSE, COPY, COPY_DATA, FAILED_TRANSACTION, FLUSH, FUNCTION_CALL, IDLE, IN_TRANSACTION, PARSE, QUERY, SYNC, TERMINATE, UNKNOWN
)
from pgrouter.protocol.requests cimport FORWARD, FUNCTION as R_FUNCTION, QUERY as R_QUERY

cdef int LATER
cdef Py_ssize_t MAX_AGAIN, MAX_NAMED

cdef class Link(Requester):
    cdef public object retry
    cdef Py_ssize_t body_left
    cdef Py_ssize_t examined
    cdef readonly bint on_replica
    cdef readonly bint terminated
    cdef public double idle_at
    cdef readonly double wrote_s
    cdef readonly object registry

    cpdef int link(self, ServerConnection server) except -1
    cpdef int unlink(self) except -1
    cdef int note_write(self) except -1
    cdef Py_ssize_t forward(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef int remember(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int look_at(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -2
    cdef int hold(self) except -1
    cdef bint must_hold(self, int code, const unsigned char *buf, Py_ssize_t pos) except -1
    cdef int stream_body(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Py_ssize_t end, SendBuffer out) except -1
    cpdef int violation(self, object error) except -1
    cpdef int leave(self) except -1
