from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.protocol.framing cimport copied, end_of_string, frontend_kind
from pgrouter.pool.pool cimport Pool
from pgrouter.protocol.outstanding cimport Outstanding
from pgrouter.proxy.batch cimport Batch
from pgrouter.proxy.statements cimport ClientStatements
from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.peer cimport Peer
from pgrouter.protocol.codes cimport (
    BIND, CLOSE, COPY, COPY_DONE, COPY_FAIL, DESCRIBE, EXECUTE, FLUSH, FUNCTION_CALL, PARSE, QUERY, SYNC
)
from pgrouter.protocol.requests cimport (
    COPY_END as R_COPY_END, EXECUTE as R_EXECUTE, FORWARD, FUNCTION as R_FUNCTION, QUERY as R_QUERY,
    REFUSED as R_REFUSED, REFUSED_QUERY as R_REFUSED_QUERY, SKIP, SYNC as R_SYNC
)
from pgrouter.server.states cimport WAITING

cdef int NAMES, NO_SEQUENCES, REPLACED, SEQUENCES

cdef class Requester(Peer):
    cdef readonly Batch batch
    cdef readonly ClientStatements statements
    cdef public Pool group
    cdef public object profile
    cdef bint owns_sequences
    cdef bint must_discard_sequences
    cdef readonly bint asked
    cdef readonly bint open_batch
    cdef dict portals
    cdef readonly object deallocating
    cdef readonly ServerConnection last_write_server

    cdef int request(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, SendBuffer out) except -1
    cdef bint deferred(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -1
    cdef int forget_portals(self, ServerConnection server) except -1
    cdef bint request_unusual(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, SendBuffer out, bint continues) except -1
    cdef bint request_of_session(self, int code, object statement, int effects, SendBuffer out, bint continues) except -1
    cdef bint has_drawn(self, ServerConnection server) except -1
    cdef int refuse(self, int code, int refusal, bint unnamed, SendBuffer out) except -1
    cdef int request_instead(self, int code, bytes message, SendBuffer out) except -1
    cdef bint apply_profile(self, SendBuffer out) except -1
    cdef int take_over(self, SendBuffer out) except -1
