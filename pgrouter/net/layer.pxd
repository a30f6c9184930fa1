from pgrouter.net.poller cimport Pollable

cdef class Layer(Pollable):
    cdef readonly object codec

    cdef int readable(self, unsigned int mask) except -1
    cdef int send(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int finish(self) except -1
