from pgrouter.net.stream cimport Stream

cdef class BytesStream(Stream):
    cpdef Py_ssize_t on_bytes(self, bytes data) except -1
