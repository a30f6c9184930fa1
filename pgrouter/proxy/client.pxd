cimport cython

from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.net.poller cimport Poller
from pgrouter.protocol.framing cimport after_frames, copied, frontend_kind, impossible, length_at
from pgrouter.pool.member cimport MemberPool
from pgrouter.proxy.batch cimport Batch, RouteCounts
from pgrouter.proxy.link cimport Link
from pgrouter.server.connection cimport ServerConnection
from pgrouter.protocol.codes cimport (
    BIND, COPY, ENDS_BATCH, EXECUTE, FLUSH, FUNCTION_CALL, IDLE, LAST, MAX_SMALL_MESSAGE, PARSE, QUERY, SYNC,
    UNKNOWN
)
from pgrouter.server.states cimport ON_LOSS, ON_REFUSAL, WAITING

cdef int LATER, PART
cdef Py_ssize_t MUCH
cdef int CODE

@cython.final
cdef class ClientConnection(Link):
    cdef public object responder
    cdef RouteCounts routes
    cdef public str pin
    cdef public bint waiting
    cdef bint stale
    cdef bint works
    cdef bint parted
    cdef Py_ssize_t scanned
    cdef object judge
    cdef public long long must_see_lsn
    cdef public int consistency
    cdef readonly str mode
    cdef public object startup_profile
    cdef readonly dict reported
    cdef public double pinned_at
    cdef public int leftovers
    cdef public object transaction
    cdef public bint can_move
    cdef Py_ssize_t stays
    cdef readonly object client_id
    cdef public object key
    cdef public object info
    cdef public object address
    cdef public double since

    cdef Py_ssize_t begin(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t in_parts(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t part(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t start, Py_ssize_t end) except -1
    cdef Py_ssize_t go_on_later(self, Py_ssize_t pos, Py_ssize_t at, bint works) except -1
    cdef Py_ssize_t refused(self, int refusal, bint unnamed, Py_ssize_t pos) except -1
    cdef Py_ssize_t swallow(self, Py_ssize_t pos, Py_ssize_t end) except -1
    cpdef int skip(self, Py_ssize_t size) except -1
    cpdef int follow(self, object profile, object startup_profile) except -1
    cdef int choose(self) except -1
    cpdef double must_see_s(self) noexcept
    cdef bint is_fresh(self, ServerConnection server) except -1
    cdef bint stopped(self) noexcept
    cdef int take_server(self) except -1
    cdef inline bint may_read_anywhere(self) noexcept
    cdef ServerConnection unacquainted(self, ServerConnection server)
    cdef int take_own(self) except -1
    cpdef int end_link(self) except -1
    cpdef int take_up(self) except -1
    cdef inline int proceed(self) except -1
    cdef bint has_own(self, ServerConnection server) except -1
    cdef bint may_move(self) except -1
    cdef Py_ssize_t go_on(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef bint is_long(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t stay(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end, Py_ssize_t size) except -1
    cdef Py_ssize_t stay_to_its_end(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t end_of_batch(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -2
    cdef Py_ssize_t refuse_batch(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t at) except -1
    cpdef int move(self, object second) except -1
    cpdef object moved(self, bytes batch)
    cdef int run_again(self) except -1
    cdef Py_ssize_t converse(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
