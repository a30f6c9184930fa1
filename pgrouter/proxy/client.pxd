from pgrouter.net.poller cimport Poller
from pgrouter.protocol.framing cimport copied, frontend_kind, impossible
from pgrouter.proxy.batch cimport RouteCounts
from pgrouter.proxy.link cimport Link
from pgrouter.server.connection cimport ServerConnection

cdef int BIND, EXECUTE, FLUSH, PARSE, SYNC
cdef int COPY, ENDS_BATCH, LAST, UNKNOWN
cdef int IDLE
cdef Py_ssize_t AHEAD, MAX_BATCH, MAX_SMALL_MESSAGE

cdef class ClientConnection(Link):
    cdef RouteCounts routes
    cdef readonly str mode
    cdef public object conversation
    cdef public object startup_profile
    cdef public bint waiting
    cdef readonly dict told
    cdef public str pin
    cdef public double pinned_at
    cdef public int state
    cdef readonly object client_id
    cdef public object key
    cdef public object info
    cdef public object address
    cdef public double since

    cdef Py_ssize_t begin(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t refused(self, int refusal, bint unnamed, Py_ssize_t pos) except -1
    cdef Py_ssize_t swallow(self, Py_ssize_t pos, Py_ssize_t end) except -1
    cpdef int skip(self, Py_ssize_t size) except -1
    cdef int take_server(self) except -1
    cdef int take_own(self) except -1
    cdef bint has_own(self, ServerConnection server) except -1
    cdef int run_again(self) except -1
    cdef Py_ssize_t converse(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
