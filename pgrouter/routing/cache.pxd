# Types of cache.py when it is compiled.
cimport cython

from pgrouter.protocol.framing cimport is_same
from pgrouter.routing.fingerprint cimport Fingerprinter

cdef Py_ssize_t _ENTRY_BYTES, _NAME_BYTES, _SETTING_BYTES, _LEARNED, _RECENT, _RECENT_KEY_BYTES
cdef object _STRICT, _LONG, _BY_TEXT

@cython.final
cdef class StatementCache:
    cdef object _classify
    cdef Py_ssize_t _half_bytes
    cdef Py_ssize_t _max_parsed_bytes
    cdef Fingerprinter _fingerprinter
    cdef dict _young
    cdef dict _old
    cdef dict _learned
    cdef list _recent
    cdef list _texts
    cdef list _of_texts
    cdef Py_ssize_t _young_bytes
    cdef Py_ssize_t _old_bytes
    cdef public unsigned long long hits
    cdef public unsigned long long misses
    cdef public unsigned long long evictions

    @cython.locals(key=bytes, slot=Py_ssize_t)
    cpdef object lookup(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end, bint unusual_strings=*)
    @cython.locals(text=bytes, size=Py_ssize_t, step=Py_ssize_t, h=Py_ssize_t, i=Py_ssize_t, slot=Py_ssize_t)
    cpdef object lookup_again(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end, bint unusual_strings=*)
    @cython.locals(key=bytes)
    cpdef object remember_refusal(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end)
    @cython.locals(text=bytes)
    cdef object _by_text(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end)
    cdef int _forget_recent(self) except -1
    cpdef clear(self)
    cdef object _find(self, bytes key)
    cdef object _learn(self, bytes key, bytes text)
    cdef object _refused(self, known)
    @cython.locals(cost=Py_ssize_t)
    cdef void _store(self, bytes key, statement) except *
    @cython.locals(names=Py_ssize_t)
    cdef Py_ssize_t _cost(self, bytes key, statement) except -1
    @cython.locals(i=Py_ssize_t)
    cdef bint _is_ambiguous(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) noexcept
