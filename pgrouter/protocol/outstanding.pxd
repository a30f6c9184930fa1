cimport cython

from pgrouter.net cimport libc

cdef int FORWARD, SKIP, FAKE, OUT_OF_SYNC
cdef int WRONG, PART, ENDS, ABORTS
cdef int SHIFT
cdef int QUERY, FUNCTION, PARSE, PARSE_NAMED, BIND, DESCRIBE, EXECUTE, CLOSE, CLOSE_NAMED, SYNC, COPY_END
cdef int REFUSED, REFUSED_QUERY, PARSE_UNNAMED, PARSE_FAILED, CLOSE_UNNAMED, CHECK, CHECK_UNNAMED
cdef int COPY_IN_RESPONSE, COMMAND_COMPLETE, ERROR_RESPONSE
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
    cdef readonly bint told
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
