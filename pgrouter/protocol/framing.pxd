cimport cython
from pgrouter.protocol.codes cimport (
    BIND, CLOSE, COPY, COPY_DATA, COPY_DONE, COPY_FAIL, DESCRIBE, ENDS_BATCH, EXECUTE, FLUSH, FUNCTION_CALL,
    IN_BATCH, LAST, MAX_MESSAGE, MAX_SMALL_MESSAGE, PARSE, QUERY, SYNC, TERMINATE, UNKNOWN
)

cdef extern from "<string.h>" nogil:
    void *memchr(const void *where, int byte, size_t n)
    int memcmp(const void *a, const void *b, size_t n)

cdef extern from "Python.h":
    char *PyBytes_AS_STRING(object text)

cdef unsigned char[::1] FRONTEND_KINDS, LARGE_KINDS

cpdef unsigned int length_at(const unsigned char *buf, Py_ssize_t pos) noexcept
@cython.locals(found="const unsigned char *")
cpdef Py_ssize_t end_of_string(const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) noexcept
cpdef bytes copied(const unsigned char *buf, Py_ssize_t start, Py_ssize_t end)
cpdef bint is_same(bytes text, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) noexcept
cpdef Py_ssize_t after_frames(const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end, int number) noexcept
cpdef int frontend_kind(int code) noexcept
cpdef bint impossible(int code, Py_ssize_t length) noexcept
