cimport cython

from pgrouter.auth.conversation cimport Conversation
from pgrouter.net.stream cimport Stream


cdef Py_ssize_t MOST_BYTES
cdef int MOST_MESSAGES

@cython.final
cdef class ServerLogin:
    cdef Stream connection
    cdef Conversation conversation
    cdef readonly object attempt
    cdef int messages
    cdef Py_ssize_t size

    cdef Py_ssize_t feed(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef int go_on(self, object answer) except -1
    cdef int fail(self, object error) except -1
