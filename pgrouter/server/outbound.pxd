from pgrouter.auth.conversation cimport Conversation
from pgrouter.net.stream cimport Stream
from pgrouter.server.states cimport DIALLING, LOGGING_IN

cdef class OutboundConnection(Stream):
    # Fields for login and close come first; those that every message needs follow, continued in the subclass.
    cdef readonly object connection_id
    cdef public double created_at
    cdef public object hello
    cdef public object last_error
    cdef public Conversation login
    cdef readonly object owner
    cdef public int state

    cdef Py_ssize_t login_data(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef int continue_login(self, object answer) except -1
    cpdef int lose(self, object error) except -1
