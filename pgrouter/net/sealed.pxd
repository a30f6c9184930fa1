from pgrouter cimport libc
from pgrouter.net.poller cimport Pollable
from pgrouter.net.stream cimport AGAIN, ENDED, FAILED, Stream

cdef Py_ssize_t HEADROOM

cpdef int secure(Stream stream, object codec, bytes received=*) except -1

cdef class Sealed(Pollable):
    cdef Stream stream
    cdef readonly object codec
    cdef bint waits

    cpdef int readable(self, unsigned int mask) except -1
    cdef int read(self, unsigned int mask) except -1
    cdef int opened(self, Py_ssize_t n) except -1
    cpdef int send(self, bytes data) except -2
    cdef int push(self, bytes data) except -2
    cpdef int finish(self) except -1
