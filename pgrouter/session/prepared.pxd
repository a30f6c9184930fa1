cimport cython

from pgrouter.protocol.framing cimport copied, is_same

@cython.no_gc  # a hundred thousand of them would slow down every garbage collection, and they are in no cycle
cdef class SharedStatement:
    cdef readonly object ident
    cdef readonly bytes name
    cdef readonly bytes body
    cdef readonly bytes parse
    cdef readonly object meaning
    cdef public object statement
    cdef public object judge
    cdef public Py_ssize_t users
    cdef public bytes description
    cdef public object first

cdef class Names(dict):
    cdef bytes last_name
    cdef SharedStatement last
    cdef readonly dict by_number

    @cython.locals(name=bytes, shared=SharedStatement)
    cdef SharedStatement find(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end)
