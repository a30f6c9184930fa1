cimport cython

from pgrouter.net cimport libc
from pgrouter.net.gather cimport Gather
from pgrouter.net.poller cimport Poller
from pgrouter.net.stream cimport Stream
from pgrouter.protocol.framing cimport copied, end_of_string, frontend_kind, length_at
from pgrouter.protocol.outstanding cimport Outstanding

cdef int COMMAND_COMPLETE, COPY_DATA, DATA_ROW, ERROR_RESPONSE, NOTICE_RESPONSE, NOTIFICATION_RESPONSE, PARAMETER_STATUS, READY_FOR_QUERY
cdef int FORWARD, SKIP, FAKE, OUT_OF_SYNC
cdef int QUERY, SYNC, PARSE, PARSE_NAMED, CLOSE
cdef int IDLE, DIALLING, LOGGING_IN, RESETTING
cdef unsigned int MAX_MESSAGE
cdef Py_ssize_t ROOM, WHOLE

cdef class Peer(Stream):
    cdef public ServerConnection server
    cdef public Py_ssize_t again
    cdef public bint resets
    cdef public bint discards
    cdef public bint elsewhere
    cdef public bint repeats

    cpdef int on_served(self, ServerConnection server) except -1
    cpdef int on_refused(self, object error) except -1
    cpdef int on_ready(self) except -1
    cpdef int on_server_lost(self, object error) except -1
    cpdef bint on_error(self, str sqlstate, str routine) except -1
    cpdef int on_let_go(self, ServerConnection server) except -1
    cpdef int on_named(self, list events) except -1
    cpdef bytes on_words(self, bytes error)
    cpdef int on_waiting(self) except -1
    cpdef bytes on_parameter(self, bytes body)
    cpdef bytes on_notification(self, bytes message)
    cpdef bytes before_ready(self)

@cython.final
cdef class ServerConnection(Stream):
    cdef readonly Outstanding owed
    cdef public Peer peer
    cdef readonly object owner
    cdef public int state
    cdef readonly int status
    cdef public bint at_sync
    cdef public bint executed
    cdef public bint held
    cdef public bint fenced
    cdef readonly bint mid_frame
    cdef bint body_forward
    cdef Py_ssize_t body_left
    cdef public object login
    cdef Peer let_go
    cdef public object collector
    cdef public object profile
    cdef public object unnamed
    cdef public object written_by
    cdef unsigned char *copy
    cdef Py_ssize_t room
    cdef public ServerConnection below
    cdef public bint evicts
    cdef public bint doomed
    cdef public bint dirty
    cdef public int cancels
    cdef public double created_at
    cdef public double used_at
    cdef public double linked_at
    cdef public double asked_at
    cdef public double xact_at
    cdef public double xact_s
    cdef public double query_s
    cdef public unsigned long long xacts
    cdef public unsigned long long queries
    cdef readonly bytearray batch
    cdef bint drawn
    cdef public bint discarded
    cdef public object presented
    cdef public dict prepared
    cdef public dict evicted
    cdef public object hello
    cdef public object last_error
    cdef readonly object connection_id

    cdef int make_room(self, Py_ssize_t size) except -1

    cdef Py_ssize_t look(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end, Gather out) except -1
    cdef int message(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop, Gather out) except -2
    cdef int error(self, bytes body, Gather out) except -2
    cdef int ends(self, dict fields) except -2
    cdef int aside(self, int code) except -2
    cdef int break_off(self, Gather out, str why, str sqlstate) except -1
    cdef int fakes(self, Gather out) except -1
    cpdef int flush_fakes(self) except -1
    cpdef int end_chunk(self, Gather out) except -1
    cdef int settle(self, list events) except -1
    cdef int close_batch(self) except -1
    cpdef int sync(self) except -1
    cpdef bint at_rest(self) noexcept
    cdef Py_ssize_t login_data(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cpdef int inject(self, bytes sql_message) except -1
    cpdef int lose(self, object error) except -1
