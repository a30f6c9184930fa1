from pgrouter.routing.cache cimport StatementCache

cdef unsigned int REMEMBERED

cdef class UnnamedStatement:
    cdef readonly StatementCache cache
    cdef public object unnamed_class
    cdef readonly bytes unnamed_parse
    cdef public bint unusual_strings
    cdef unsigned int turn
    cdef unsigned int rest_turn
    cdef list earlier
    cdef unsigned int earliest
    cdef bytes rest
    cdef list describing
    cdef bytes described
    cdef bytes description
    cdef bint changed

    cdef bint is_described(self) noexcept
    cdef unsigned int define_unnamed(self, bytes parse) except? 0xFFFFFFFF
    cdef int remember_earlier(self) except -1
    cdef int rested(self) except -1
    cdef bint is_remembered(self, unsigned int turn) noexcept
    cdef int unnamed_kept(self, unsigned int turn) except -1
    cdef int unnamed_failed(self, unsigned int turn) except -1
    cdef int unnamed_was(self, unsigned int turn, bytes parse) except -1
    cdef int become(self, bytes parse) except -1
    cdef object classified(self, bytes parse)
    cdef int forget_unnamed(self) except -1
