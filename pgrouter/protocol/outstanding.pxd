cimport cython

from pgrouter cimport libc
from pgrouter.protocol.codes cimport (
    BIND_COMPLETE, CLOSE_COMPLETE, COMMAND_COMPLETE, COPY_DATA, COPY_DONE, COPY_IN_RESPONSE, COPY_OUT_RESPONSE,
    DATA_ROW, EMPTY_QUERY_RESPONSE, ERROR_RESPONSE, FUNCTION_CALL_RESPONSE, NO_DATA, PARAMETER_DESCRIPTION,
    PARSE_COMPLETE, PORTAL_SUSPENDED, READY_FOR_QUERY, ROW_DESCRIPTION
)
from pgrouter.protocol.requests cimport (
    ABORTS, BIND, CHECK, CHECK_UNNAMED, CLOSE, CLOSE_NAMED, CLOSE_UNNAMED, COPY_END, DESCRIBE, ENDS, EXECUTE, FAKE,
    FORWARD, FUNCTION, OUT_OF_SYNC, PARSE, PARSE_FAILED, PARSE_NAMED, PARSE_UNNAMED, PART, QUERY, REFUSED,
    REFUSED_QUERY, SHIFT, SYNC
)

cdef int SKIP
cdef int WRONG
cdef unsigned char[::1] VERDICTS

@cython.final
cdef class Outstanding:
    cdef unsigned long long *entries
    cdef readonly int head
    cdef readonly int count
    cdef int mask
    cdef readonly int fakes
    cdef readonly int checks
    cdef readonly bint copying
    cdef readonly bint skipping
    cdef readonly bint has_events
    cdef readonly bint uncertain
    cdef public bint unnamed_lost
    cdef readonly list events
    cdef bytearray memory

    cpdef int push(self, int kind, int action, unsigned int ident=*) except -1
    cpdef int push_check(self, int kind, int action, unsigned int ident) except -1
    cdef int allot(self, int size) except -1
    cdef int grow(self) except -1
    cdef int tell(self, int kind, unsigned int ident, bint done) except -1
    cdef inline int front(self) noexcept
    cdef inline int action(self) noexcept
    cdef inline int behind(self, int place) noexcept
    cpdef int refusal(self) except -1
    cdef int pop(self) except -1
    cpdef int answer(self, int code) except -2
    cdef int end_front(self) except -1
    cdef int drop_copy_ends(self) except -1
    cdef int end_copy(self, bint failed) except -1
    cdef int abort(self) except -1
    cdef int lose(self, int kind, int action, unsigned int ident) except -1
    cpdef int take_fake(self) except -1
    cpdef list take_events(self)
    cpdef int clear(self) except -1
