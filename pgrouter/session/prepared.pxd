cdef class SharedStatement:
    cdef readonly object ident
    cdef readonly bytes name
    cdef readonly bytes body
    cdef readonly bytes parse
    cdef readonly object meaning
    cdef public object statement
    cdef public object judge
    cdef public Py_ssize_t users
