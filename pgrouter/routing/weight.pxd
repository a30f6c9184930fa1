# Types of weight.py when it is compiled.
cimport cython

from pgrouter.routing.characters cimport DIGIT, OPERATOR, PUNCTUATION, SPACE, WORD

cdef Py_ssize_t RUN_PER_TOKEN, BYTES_PER_TOKEN, TOKENS_PER_COMMAND
cdef int SEMICOLON
cdef bytes CLASS

@cython.locals(weight=Py_ssize_t, run=Py_ssize_t, before=int, kind=int, i=Py_ssize_t, table="const unsigned char *")
cpdef Py_ssize_t weigh(const unsigned char *buf, Py_ssize_t start, Py_ssize_t end, Py_ssize_t limit) except -1
