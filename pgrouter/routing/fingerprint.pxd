# Types of fingerprint.py when it is compiled.
cimport cython

from pgrouter cimport libc
from pgrouter.routing.characters cimport (
    DIGIT, DOLLAR, DOT, DOUBLE_QUOTE, OPERATOR, PUNCTUATION, QUOTE, SPACE, WORD
)

cdef Py_ssize_t _SCRATCH_BYTES, _SCRATCH_KEPT_BYTES
cdef bytes CLASS, FOLDED
cdef int NO_HINT

cpdef bytes fingerprint(const unsigned char *buf, Py_ssize_t start, Py_ssize_t end)
cpdef int leading_hint(const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1

@cython.final
cdef class Fingerprinter:
    cdef bytearray _scratch
    cdef const unsigned char *_class
    cdef const unsigned char *_folded
    cdef const unsigned char *_buf
    cdef unsigned char *_out
    cdef Py_ssize_t _pos
    cdef Py_ssize_t _end
    cdef Py_ssize_t _n
    cdef int _last
    cdef int _hint
    cdef bint _gap
    cdef bint _in_list

    @cython.locals(need=Py_ssize_t)
    cdef int _begin(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef bytes key(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end)
    cpdef bint scan(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef bytes take(self)
    @cython.locals(step=Py_ssize_t, i=Py_ssize_t, h=Py_ssize_t)
    cpdef Py_ssize_t slot(self, Py_ssize_t size) noexcept
    cpdef bint is_key(self, bytes key) noexcept
    cpdef int hint(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bytes _whole_text(self, Py_ssize_t start)
    cdef inline void _put(self, int byte) noexcept
    @cython.locals(c=int, kind=int)
    cdef inline bint _token(self) except -1

    cdef inline void _part_words(self) noexcept
    @cython.locals(buf="const unsigned char *", out="unsigned char *", folded="const unsigned char *",
                   end=Py_ssize_t, i=Py_ssize_t, shift=Py_ssize_t)
    cdef inline bint _word(self, int c) except -1
    cdef inline bint _is_prefix(self, int c, Py_ssize_t i) noexcept
    cdef bint _prefixed_string(self, int c) noexcept
    @cython.locals(i=Py_ssize_t)
    cdef bint _quoted_name(self) noexcept

    @cython.locals(i=Py_ssize_t)
    cdef inline bint _operator(self, int c) except -1
    cdef inline void _sign(self, int c) noexcept
    @cython.locals(i=Py_ssize_t)
    cdef inline bint _dot(self) except -1
    cdef inline bint _punctuation(self, int c) noexcept
    @cython.locals(n=Py_ssize_t, kind=int)
    cdef inline bint _after_in(self) noexcept

    cdef Py_ssize_t _line_end(self, Py_ssize_t i) noexcept
    @cython.locals(begin=Py_ssize_t, i=Py_ssize_t, depth=Py_ssize_t)
    cdef bint _block_comment(self) except -1
    cdef void _take_hint(self, Py_ssize_t i, Py_ssize_t end) except *

    @cython.locals(n=Py_ssize_t)
    cdef inline bint _constant(self, int byte) noexcept
    @cython.locals(i=Py_ssize_t, c=int)
    cdef inline bint _string(self, bint escapes, bint doubled) noexcept
    cdef inline bint _is_coded(self, int c) noexcept
    @cython.locals(c=int, newline=bint)
    cdef Py_ssize_t _continuation(self, Py_ssize_t i) noexcept
    @cython.locals(i=Py_ssize_t, tag_end=Py_ssize_t)
    cdef bint _dollar(self) noexcept
    @cython.locals(i=Py_ssize_t, k=Py_ssize_t)
    cdef bint _dollar_quoted(self, Py_ssize_t length) noexcept
    cdef bint _parameter(self, Py_ssize_t i) noexcept
    cdef inline Py_ssize_t _digits(self, Py_ssize_t i) noexcept
    @cython.locals(i=Py_ssize_t, k=Py_ssize_t, whole=bint)
    cdef inline bint _number(self) except -1
    @cython.locals(value="long long", k=Py_ssize_t)
    cdef inline bint _fits_int4(self, Py_ssize_t i) noexcept
    @cython.locals(n=Py_ssize_t)
    cdef inline bint _is_precision(self) except -1
