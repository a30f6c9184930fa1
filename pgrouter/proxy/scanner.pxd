cimport cython

from pgrouter.protocol.framing cimport frontend_kind, impossible
from pgrouter.proxy.batch cimport Batch
from pgrouter.protocol.codes cimport (
    BIND, COPY, ENDS_BATCH, EXECUTE, FLUSH, LAST, MAX_SMALL_MESSAGE, SYNC, UNKNOWN
)
from pgrouter.proxy.outcomes cimport (
    EMPTY, INVALID, MORE, READY, REFUSED, STRAY_COPY, TERMINATED, UNCLASSIFIED
)

cdef int LATER

@cython.final
cdef class BatchScanner:
    cdef readonly Batch batch
    cdef readonly Py_ssize_t scanned
    cdef bint executes
    cdef object judge
    cdef readonly Py_ssize_t at
    cdef readonly Py_ssize_t need
    cdef readonly int code
    cdef readonly int refusal

    cdef int scan(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef int stop(self, int outcome, Py_ssize_t pos, Py_ssize_t at, bint executes) except -1
