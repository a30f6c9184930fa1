from pgrouter.proxy.statements cimport ClientStatements

cdef int PARSE, BIND, DESCRIBE, QUERY
cdef int REPLICA, BEGIN_READ_ONLY, DISCARD, UNSEEN
cdef int SPLIT, ONLY_PRIMARY, ONLY_REPLICA

cdef class Batch:
    cdef ClientStatements statements
    cdef public int mode
    cdef public bint has_startup
    cdef public bint reads
    cdef public str reason
    cdef public bint deallocates
    cdef public int effects
    cdef public object touched
    cdef public bint resets

    cdef int begin(self) except -1
    cdef int to_primary(self, str reason) except -1
    cdef int unseen(self) except -1
    cpdef int settled(self) except -1
    cdef int examine(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -1
    cdef int account(self, object statement) except -1
    cdef int touch(self, object settings) except -1
