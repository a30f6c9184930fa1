cimport cython

from pgrouter cimport libc

cdef Py_ssize_t ROOM

@cython.final
cdef class ReplayBuffer:
    cdef readonly Py_ssize_t size
    cdef public int why
    cdef unsigned char *memory
    cdef Py_ssize_t room
    cdef bytearray batch

    cpdef int begin(self, int why) except -1
    cdef int record(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef int discard(self) except -1
    cpdef bytes contents(self)
    cdef int make_room(self, Py_ssize_t size) except -1
