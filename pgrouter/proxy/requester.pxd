cimport cython

from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.protocol.framing cimport copied, frontend_kind
from pgrouter.protocol.outstanding cimport Outstanding
from pgrouter.proxy.batch cimport Batch
from pgrouter.proxy.deferred cimport DeferredStatements
from pgrouter.proxy.session cimport Session
from pgrouter.proxy.statements cimport ClientStatements
from pgrouter.server.connection cimport ServerConnection
from pgrouter.protocol.codes cimport (
    BIND, CLOSE, COPY, COPY_DONE, COPY_FAIL, DESCRIBE, EXECUTE, FLUSH, FUNCTION_CALL, PARSE, QUERY, SYNC
)
from pgrouter.protocol.requests cimport (
    COPY_END as R_COPY_END, EXECUTE as R_EXECUTE, FORWARD, FUNCTION as R_FUNCTION, QUERY as R_QUERY,
    REFUSED as R_REFUSED, REFUSED_QUERY as R_REFUSED_QUERY, SKIP, SYNC as R_SYNC
)
from pgrouter.proxy.flags cimport ASKED, FOREIGN, OPEN, OWN, TO_DISCARD, UNUSUAL
from pgrouter.routing.flags cimport DRAWS
from pgrouter.server.states cimport AWAITS_ANSWERS

cdef int NAMES, NO_SEQUENCES, REPLACED, SEQUENCES

@cython.final
cdef class Requester:
    cdef readonly Session session
    cdef readonly Batch batch
    cdef ClientStatements statements
    cdef readonly DeferredStatements deferred
    cdef readonly object registry
    cdef public int sent
    cdef int sequences

    cdef int begin(self, ServerConnection server, bint on_replica) except -1
    cdef int request(self, ServerConnection server, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, SendBuffer out) except -1
    cdef bint request_unusual(self, ServerConnection server, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, SendBuffer out, bint continues) except -1
    cdef bint request_of_session(self, ServerConnection server, int code, object statement, int effects, SendBuffer out, bint continues) except -1
    cdef int refuse(self, ServerConnection server, int code, int refusal, bint unnamed, SendBuffer out) except -1
    cdef int request_instead(self, ServerConnection server, int code, bytes message, SendBuffer out) except -1
    cdef bint apply_profile(self, ServerConnection server, SendBuffer out) except -1
    cdef int discard_sequences(self, ServerConnection server, SendBuffer out) except -1
