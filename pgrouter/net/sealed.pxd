from pgrouter cimport libc
from pgrouter.net.codec cimport NativeCodec
from pgrouter.net.layer cimport Layer
from pgrouter.net.poller cimport Poller
from pgrouter.net.stream cimport AGAIN, ENDED, FAILED, Stream

cdef Py_ssize_t HEADROOM

cpdef int secure(Stream stream, object codec, bytes received=*) except -1

cdef class Sealed(Layer):
    cdef Stream stream
    cdef NativeCodec native
    cdef bint waits

    cdef int read(self, unsigned int mask) except -1
    cdef int opened(self, Py_ssize_t n) except -1
    cdef bint is_established(self) except -1
    cdef bint has_ended(self) except -1
    cdef Py_ssize_t open(self, Py_ssize_t n) except -1
    cdef int push_output(self) except -2
    cdef int push_bytes(self, bytes data) except -2
    cdef int push(self, const unsigned char *buf, Py_ssize_t size) except -2
