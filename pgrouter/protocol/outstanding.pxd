cimport cython

cdef int FORWARD, SKIP, FAKE, OUT_OF_SYNC
cdef int WRONG, PART, ENDS, ABORTS
cdef int SHIFT
cdef int QUERY, FUNCTION, PARSE, PARSE_NAMED, BIND, DESCRIBE, EXECUTE, CLOSE, CLOSE_NAMED, SYNC, COPY_END
cdef int REFUSED, REFUSED_QUERY, PARSE_UNNAMED, PARSE_FAILED, CLOSE_UNNAMED
cdef int COPY_IN_RESPONSE, COMMAND_COMPLETE, ERROR_RESPONSE
cdef unsigned char[::1] VERDICTS

@cython.final
cdef class Outstanding:
    cdef unsigned char[::1] entries
    cdef unsigned int[::1] ids
    cdef readonly Py_ssize_t head
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t mask
    cdef readonly bint copying
    cdef readonly bint skipping
    cdef readonly bint uncertain
    cdef public bint unnamed_lost
    cdef readonly Py_ssize_t fakes
    cdef readonly list events

    cpdef int push(self, int kind, int action, unsigned int ident=*) except -1
    cdef int grow(self) except -1
    cdef inline int front(self) noexcept
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
