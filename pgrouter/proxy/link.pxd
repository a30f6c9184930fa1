from pgrouter.net cimport libc
from pgrouter.net.gather cimport Gather
from pgrouter.net.poller cimport Poller
from pgrouter.protocol.framing cimport copied, frontend_kind, impossible
from pgrouter.pool.group cimport Group
from pgrouter.protocol.outstanding cimport Outstanding
from pgrouter.proxy.batch cimport Batch
from pgrouter.proxy.statements cimport ClientStatements
from pgrouter.server.connection cimport Peer, ServerConnection

cdef int BIND, CLOSE, COPY_DATA, COPY_DONE, COPY_FAIL, DESCRIBE, EXECUTE, FLUSH, FUNCTION_CALL, PARSE, QUERY, SYNC
cdef int TERMINATE
cdef int COPY, UNKNOWN
cdef int FORWARD, SKIP
cdef int R_QUERY, R_FUNCTION, R_EXECUTE, R_SYNC, R_COPY_END, R_REFUSED, R_REFUSED_QUERY
cdef int IDLE, NAMES, NO_SEQUENCES, SEQUENCES
cdef Py_ssize_t MAX_AGAIN, MAX_NAMED

cdef class Link(Peer):
    cdef readonly Batch batch
    cdef readonly ClientStatements statements
    cdef public Group group
    cdef public object profile
    cdef public object second
    cdef Py_ssize_t body_left
    cdef Py_ssize_t examined
    cdef bint reading
    cdef bint knows
    cdef bint takes_over
    cdef bint asked
    cdef readonly bint open_batch
    cdef readonly bint terminated
    cdef public double idle_at
    cdef readonly double wrote_s
    cdef readonly ServerConnection wrote
    cdef readonly object hub

    cpdef int link(self, ServerConnection server) except -1
    cpdef int unlink(self) except -1
    cdef int note_write(self) except -1
    cdef Py_ssize_t forward(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef int remember(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int look_at(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -1
    cdef bint must_hold(self, int code, const unsigned char *buf, Py_ssize_t pos) except -1
    cdef int request(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out) except -1
    cdef bint request_unusual(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out, bint continues) except -1
    cdef bint request_of_session(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out, bint continues) except -1
    cdef bint has_drawn(self, ServerConnection server) except -1
    cdef int refuse(self, int code, int refusal, bint unnamed, Gather out) except -1
    cdef int request_instead(self, int code, bytes message, Gather out) except -1
    cdef int stream_body(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Py_ssize_t end, Gather out) except -1
    cdef int apply_profile(self, Gather out) except -1
    cdef int take_over(self, Gather out) except -1
    cpdef int violation(self, object error) except -1
    cpdef int leave(self) except -1
