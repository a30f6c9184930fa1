from pgrouter cimport libc

cdef class NativeCodec:
    cdef readonly bint established
    cdef readonly bint ended

    cdef Py_ssize_t open_at(self, unsigned char *buffer, Py_ssize_t size, Py_ssize_t room) except -1
    cdef int seal_at(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef Py_ssize_t output_at(self, unsigned char **data) except -1
    cdef int sent(self) except -1
