cimport cython

from pgrouter cimport libc

cdef Py_ssize_t ROOM

@cython.final
cdef class SendBuffer:
    cdef const unsigned char *source
    cdef object py_source
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef bytearray scratch
    cdef Py_ssize_t used

    cdef void reset(self, const unsigned char *source) noexcept
    cdef int clear(self) except -1
    cdef inline int add(self, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int spill(self, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int add_head(self, int code, Py_ssize_t length) except -1
    cpdef int add_bytes(self, bytes data) except -1
    cdef inline Py_ssize_t length(self) noexcept
    cdef int shrink(self) except -1
