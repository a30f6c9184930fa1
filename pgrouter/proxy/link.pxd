cimport cython

from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.net.stream cimport Stream
from pgrouter.protocol.framing cimport frontend_kind, impossible
from pgrouter.proxy.batch cimport Batch
from pgrouter.proxy.requester cimport Requester
from pgrouter.proxy.session cimport Session
from pgrouter.proxy.statements cimport ClientStatements
from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.peer cimport Peer
from pgrouter.protocol.codes cimport (
    BIND, CLOSE, COPY, COPY_DATA, FAILED_TRANSACTION, FLUSH, FUNCTION_CALL, IDLE, IN_TRANSACTION, PARSE, QUERY, SYNC, TERMINATE, UNKNOWN
)
from pgrouter.protocol.requests cimport FORWARD, FUNCTION as R_FUNCTION, QUERY as R_QUERY
from pgrouter.proxy.flags cimport ASKED, BEGINS, ENDS, HAS_STARTUP, OPEN, REPEATABLE, SPLIT, TO_DISCARD
from pgrouter.routing.flags cimport DRAWS, READS, WRITES
from pgrouter.server.states cimport ON_LOSS, ON_REFUSAL, RESETS

cdef int LATER
cdef Py_ssize_t MAX_AGAIN, MAX_NAMED

@cython.final
cdef class Link:
    cdef readonly Stream client
    cdef readonly Peer peer
    cdef public ServerConnection server
    cdef readonly Session session
    cdef readonly Batch batch
    cdef readonly Requester requester
    cdef public object retry
    cdef public Py_ssize_t body_left
    cdef public Py_ssize_t examined
    cdef public double idle_at
    cdef readonly bint on_replica
    cdef readonly bint terminated
    cdef readonly object registry

    cpdef int begin(self, ServerConnection server) except -1
    cpdef int release(self) except -1
    cpdef int note_write(self) except -1
    cdef ServerConnection detach(self)
    cdef Py_ssize_t forward(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef int remember(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int violation(self, object error) except -1
    cdef int close_client(self) except -1
    cdef int look_at(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -2
    cdef int hold(self) except -1
    cdef bint must_hold(self, int code, const unsigned char *buf, Py_ssize_t pos) except -1
    cdef int stream_body(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Py_ssize_t end, SendBuffer out) except -1
