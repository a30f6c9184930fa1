cimport cython

from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.net.stream cimport Stream
from pgrouter.protocol.framing cimport copied, frontend_kind, impossible, length_at
from pgrouter.proxy.link cimport Link
from pgrouter.server.connection cimport ServerConnection
from pgrouter.protocol.codes cimport BIND, COPY, ENDS_BATCH, FUNCTION_CALL, IDLE, LAST, PARSE, QUERY
from pgrouter.proxy.flags cimport ASKED
from pgrouter.server.states cimport ON_REFUSAL

cdef Py_ssize_t TO_ITS_END

@cython.final
cdef class ReplicaTransaction:
    cdef readonly Link link
    cdef readonly object record
    cdef Py_ssize_t scanned
    cdef Py_ssize_t stays
    cdef public bint can_move

    cdef bint is_open(self) except -1
    cdef Py_ssize_t go_on(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef bint is_long(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t stay(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end, Py_ssize_t size) except -1
    cdef Py_ssize_t stay_to_its_end(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t end_of_batch(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -2
    cdef Py_ssize_t refuse_batch(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t at) except -1
