cimport cython

from pgrouter.net.poller cimport Poller
from pgrouter.net.stream cimport Stream
from pgrouter.protocol.framing cimport after_frames, copied
from pgrouter.proxy.batch cimport Batch
from pgrouter.proxy.dispatcher cimport Dispatcher
from pgrouter.proxy.link cimport Link
from pgrouter.proxy.replica cimport ReplicaTransaction
from pgrouter.proxy.scanner cimport BatchScanner
from pgrouter.proxy.session cimport Session
from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.peer cimport Peer
from pgrouter.protocol.codes cimport PARSE, SYNC
from pgrouter.proxy.client_states cimport (
    BLOCKED, CONGESTED, IDLE, LINKED, RESPONDING, SKIPPING, WAITING
)
from pgrouter.proxy.flags cimport ASKED, BEGINS
from pgrouter.server.states cimport DISCARDS
from pgrouter.proxy.outcomes cimport (
    EMPTY, INVALID, MORE, READY, REFUSED, STRAY_COPY, TERMINATED, UNCLASSIFIED
)
from pgrouter.protocol.codes cimport IDLE as NO_TRANSACTION

cdef int PART, SEQUENCES
cdef Py_ssize_t MUCH

@cython.final
cdef class ClientConnection(Stream):
    cdef readonly Link link
    cdef readonly Session session
    cdef readonly Peer peer
    cdef readonly BatchScanner scanner
    cdef readonly Dispatcher dispatcher
    cdef public object responder
    cdef public ReplicaTransaction replica
    cdef public bint waiting
    cdef readonly str mode
    cdef readonly object registry
    cdef readonly object client_id
    cdef public object key
    cdef public object info
    cdef public object address
    cdef readonly double since

    cdef inline int where(self) noexcept
    cdef Py_ssize_t process(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end, bint parted) except -1
    cdef Py_ssize_t in_parts(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t part(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint wants_more(self) except -1
    cdef inline Py_ssize_t begin(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t unready(self, int outcome, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef inline int dispatch(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t at) except -1
    cdef Py_ssize_t refuse(self, int refusal, bint unnamed, Py_ssize_t pos) except -1
    cdef Py_ssize_t swallow(self, Py_ssize_t pos, Py_ssize_t end) except -1
    cpdef int skip(self, Py_ssize_t size) except -1
    cpdef int follow(self, object profile, object startup_profile) except -1
    cpdef int settled(self) except -1
    cdef int answered(self) except -1
    cdef int inside_transaction(self, ServerConnection server) except -1
    cpdef int end_link(self) except -1
    cpdef int proceed(self) except -1
    cpdef int run_again(self) except -1
    cpdef int violation(self, object error) except -1
    cpdef int leave(self) except -1
    cdef int dismantle(self) except -1
