cimport cython

from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.net.poller cimport Poller
from pgrouter.net.stream cimport Stream
from pgrouter.protocol.framing cimport copied
from pgrouter.protocol.outstanding cimport Outstanding
from pgrouter.server.login cimport ServerLogin
from pgrouter.server.peer cimport Peer
from pgrouter.server.replay cimport ReplayBuffer
from pgrouter.server.session cimport ServerSession
from pgrouter.session.prepared cimport SharedStatement
from pgrouter.protocol.codes cimport (
    COMMAND_COMPLETE, COPY_DATA, DATA_ROW, ERROR_RESPONSE, IDLE, MAX_MESSAGE, NOTICE_RESPONSE, NOTIFICATION_RESPONSE,
    NO_DATA, PARAMETER_DESCRIPTION, PARAMETER_STATUS, READY_FOR_QUERY, ROW_DESCRIPTION
)
from pgrouter.protocol.requests cimport (
    CHECK, CHECK_UNNAMED, CLOSE, FAKE, FORWARD, LATER, PARSE, PARSE_NAMED, QUERY, SKIP, SYNC
)
from pgrouter.server.states cimport ROUTER_ASKS, DIALLING, DISCARDS, LOGGING_IN, ON_LOSS, FORWARDING, RESETS, RESETTING, AWAITS_ANSWERS

cdef Py_ssize_t WHOLE, MOST_CAPTURED, LONGEST_CAPTURED, MOST_DESCRIBED

@cython.final
cdef class ServerConnection(Stream):
    # Fields that every message needs lie together; those for login and close come last.
    cdef readonly Outstanding outstanding
    cdef readonly ServerSession session
    cdef readonly ReplayBuffer replay
    cdef public Peer peer
    cdef readonly int status
    cdef public bint at_sync
    cdef public bint executed
    cdef public int input_state
    cdef public bint fenced
    cdef bint body_forward
    cdef Py_ssize_t body_left
    cdef Peer detached_peer
    cdef public object captured
    cdef public ServerConnection next_idle
    cdef public bint close_when_idle
    cdef public int cancels
    cdef public double used_at
    cdef public double linked_at
    cdef public double asked_at
    cdef public double xact_at
    cdef public double xact_s
    cdef public double query_s
    cdef public unsigned long long xacts
    cdef public unsigned long long queries
    cdef public int state
    cdef public ServerLogin login
    cdef readonly object owner
    cdef readonly object connection_id
    cdef public double created_at
    cdef public object hello
    cdef public object last_error

    cdef Py_ssize_t process_frames(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end, SendBuffer out) except -1
    cdef int message(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, SendBuffer out) except -2
    cdef int error(self, bytes body, SendBuffer out) except -2
    cdef bint may_repeat(self) noexcept
    cdef inline bint is_described(self, int code) noexcept
    cdef int leave_peer(self) except -1
    cdef int ends(self, dict fields) except -2
    cdef int aside(self, int code) except -2
    cdef int break_off(self, SendBuffer out, str why, str sqlstate) except -1
    cdef int fakes(self, SendBuffer out) except -1
    cpdef int flush_fakes(self) except -1
    cpdef int end_chunk(self, SendBuffer out) except -1
    cdef int apply_events(self, list events) except -1
    cdef int close_batch(self) except -1
    cpdef int sync(self) except -1
    cpdef bint at_rest(self) noexcept
    cpdef int logged_in(self, object hello) except -1
    cpdef int lose(self, object error) except -1
    cpdef int inject(self, bytes sql_message) except -1
