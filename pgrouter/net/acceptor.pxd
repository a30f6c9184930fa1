from pgrouter cimport libc
from pgrouter.net.poller cimport Poller, Pollable

cdef extern from "<unistd.h>" nogil:
    int c_close "close" (int fd)

cdef unsigned int READ
cdef int IPV4

cdef class Acceptor(Pollable):
    cdef Poller poller
    cdef object accepted
    cdef int family
    cdef object sock
    cdef int fd
    cdef object address
    cdef unsigned int last_number
    cdef str last_host
    cdef double at_once
    cdef bint watched

    cdef bint accept_one(self) except -1
    cdef object accept(self)
    cdef object accept_ipv4(self)
    cdef int unwatch(self) except -1

cdef class Accepted:
    cdef int fd
