# Types of cache.py when it is compiled.
cimport cython

from pgrouter.protocol.framing cimport is_same
from pgrouter.routing.fingerprint cimport Fingerprinter
from pgrouter.routing.weight cimport weigh

cdef Py_ssize_t _BIG_BYTES, _HEAVIEST, _LIGHT, _SHORT_BYTES, _ENTRY_BYTES, _NAME_BYTES, _SETTING_BYTES, _LEARNED, _RECENT, _RECENT_KEY_BYTES
cdef object _STRICT, _BY_TEXT

cpdef bytes _short(bytes key)

@cython.final
cdef class StatementCache:
    cdef readonly object classify
    cdef public object late
    cdef public object on_learned
    cdef public bint has_reader
    cdef readonly bytes wanted
    cdef bytes _answered
    cdef object _answer
    cdef Py_ssize_t _half_bytes
    cdef Py_ssize_t _max_parsed_bytes
    cdef Py_ssize_t _big_bytes
    cdef Fingerprinter _fingerprinter
    cdef dict _young
    cdef dict _old
    cdef dict _learned
    cdef object _usages
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
    cpdef object lookup_now(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end, bint unusual_strings=*)
    cpdef object learn(self, bytes text, statement)
    @cython.locals(key=bytes)
    cpdef object remember_refusal(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end)
    @cython.locals(text=bytes)
    cdef object _by_text(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end)
    cdef bint _is_too_long(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _forget_recent(self) except -1
    cpdef clear(self)
    cdef object _find(self, bytes key)
    @cython.locals(weight=Py_ssize_t)
    cdef object _learn(self, bytes key, bytes text)
    cdef object _note(self, bytes key, bytes text, statement)
    cdef object _refused(self, known)
    cdef object _counted(self, bytes key, statement)
    @cython.locals(cost=Py_ssize_t)
    cdef void _store(self, bytes key, statement) except *
    @cython.locals(names=Py_ssize_t)
    cdef Py_ssize_t _cost(self, bytes key, statement) except -1
    @cython.locals(i=Py_ssize_t)
    cdef bint _is_ambiguous(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) noexcept
