from pgrouter.net cimport libc
from pgrouter.net.gather cimport Gather

cdef enum:
    EVENTS_PER_ROUND = 256

cdef class Watched:
    cpdef int on_event(self, unsigned int mask) except -1
    cpdef int close(self) except -1

cdef class Poller:
    cdef readonly object loop
    cdef object epoll
    cdef int epoll_fd
    cdef list streams
    cdef libc.epoll_event events[EVENTS_PER_ROUND]
    cdef bytearray buffer
    cdef unsigned char *memory
    cdef readonly Py_ssize_t size
    cdef readonly double now
    cdef bint real
    cdef libc.timespec reading
    cdef bint called
    cdef list ready
    cdef readonly object clock
    cdef public object on_bug
    cdef readonly Gather to_client
    cdef readonly Gather to_server

    cpdef double touch(self) except -1
    cpdef int call(self) except -1
    cpdef int wait(self, double timeout_s) except -1
    cpdef int register(self, Watched stream, int fd, unsigned int mask) except -1
    cpdef int unregister(self, int fd) except -1
    cdef int handle(self, int count) except -1

cdef int _milliseconds(double seconds) noexcept
