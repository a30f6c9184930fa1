cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from pgrouter.auth.steps cimport READ_BYTE, READ_PACKET
from pgrouter.protocol.codes cimport MAX_STARTUP_PACKET
from pgrouter.protocol.framing cimport copied, length_at

cdef extern from "Python.h":
    int PyIter_Send(object iterator, object value, PyObject **result) except -1

cdef unsigned int SHORTEST

@cython.final
cdef class Conversation:
    cdef object steps
    cdef readonly unsigned int longest
    cdef readonly int reads
    cdef readonly object result
    cdef readonly unsigned int messages
    cdef bytes out

    cpdef bint begins(self) noexcept
    cpdef resume(self, answer)
    cpdef bytes sends(self)
    cpdef Py_ssize_t size_at(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -2
    cpdef read(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t size)
    cdef step(self, answer)
