cimport cython

from pgrouter cimport libc
from pgrouter.net.send_buffer cimport SendBuffer

cdef double SHARE_S
cdef double STALL_S

cdef enum:
    EVENTS_PER_ROUND = 256

cdef class Pollable:
    cdef int event(self, unsigned int mask) except -1
    cpdef int on_event(self, unsigned int mask) except -1
    cpdef int turn(self) except -1
    cpdef int close(self) except -1

@cython.final
cdef class Poller:
    cdef readonly double now
    cdef readonly SendBuffer to_client
    cdef readonly SendBuffer to_server
    cdef unsigned char *memory
    cdef readonly Py_ssize_t size
    cdef list streams
    cdef int epoll_fd
    cdef bint called
    cdef int at
    cdef int count
    cdef int waiting
    cdef object turns
    cdef double round_at
    cdef Pollable current
    cdef bint real
    cdef libc.timespec reading
    cdef libc.PyInterpreterState *interpreter
    cdef libc.epoll_event events[EVENTS_PER_ROUND]
    cdef readonly object loop
    cdef object epoll
    cdef bytearray buffer
    cdef list ready
    cdef object thread
    cdef int works
    cdef readonly object clock
    cdef public object on_bug
    cdef public object on_stall
    cdef readonly bint paused

    cpdef double update_clock(self) except -1
    cpdef bint late(self) except -1
    cpdef int put_off(self, Pollable stream) except -1
    cdef int take_turns(self) except -1
    cpdef int call(self) except -1
    cpdef int wait(self, double timeout_s) except -1
    cpdef int register(self, Pollable stream, int fd, unsigned int mask) except -1
    cpdef int unregister(self, int fd) except -1
    cdef int rounds(self, double timeout_s, double deadline) except -1
    cdef bint stalled(self, double gap_s, int wait_ms) except -1
    cpdef resume(self)
    cdef int epoll_wait(self, int wait_ms) except -2
    cdef int handle(self) except -1

cdef int _milliseconds(double seconds) noexcept
