from pgrouter.protocol.framing cimport copied, frontend_kind, length_at
from pgrouter.proxy.client cimport ClientConnection
from pgrouter.protocol.codes cimport MAX_MESSAGE, UNKNOWN

cdef unsigned int LONGEST

cdef class Responder:
    cdef readonly ClientConnection client
    cdef unsigned int longest
    cdef public bint leaves
    cdef readonly double asked_at

    cpdef Py_ssize_t on_bytes(self, bytes data) except -1
    cpdef bint knows(self, int code) except -1
    cpdef on_message(self, int code, bytes body)
    cpdef bint on_long_message(self, int code) except -1
