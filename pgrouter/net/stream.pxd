cimport cython

from pgrouter cimport libc
from pgrouter.net.layer cimport Layer
from pgrouter.net.send_buffer cimport SendBuffer
from pgrouter.net.poller cimport Poller, Pollable

cdef unsigned int READ, WRITE, GONE, EDGE, ENDED
cdef Py_ssize_t HEADROOM
cdef int AGAIN, FAILED, EAGAIN, EINTR

cdef class Stream(Pollable):
    # Fields that every message needs lie together, here and in the subclasses: cache misses cost a line each.
    cdef readonly Poller poller
    cdef readonly int fd
    cdef unsigned int mask
    cdef readonly bint closed
    cdef bint direct
    cdef readonly Py_ssize_t buffered
    cdef bytearray pending
    cdef Py_ssize_t need
    cdef public bint put_aside
    cdef readonly unsigned long long received
    cdef readonly unsigned long long sent
    cdef public object partial
    cdef Py_ssize_t pending_start
    cdef readonly object sock
    cdef readonly bint broken
    cdef public Layer sealed

    cpdef int dial(self, int family, object address, object socket_options=*) except -1
    cpdef int attach(self, object sock, unsigned int mask) except -1
    @cython.final
    cdef int set_interest(self, unsigned int mask) except -1
    cpdef int pause(self) except -1
    cpdef int resume(self) except -1
    @cython.final
    cdef inline int read_on(self) except -1
    @cython.final
    cdef int readable(self, unsigned int mask) except -1
    cdef int read_rest(self) except -1
    @cython.final
    cdef int take(self, Py_ssize_t n) except -1
    cpdef int process_partial(self) except -1
    @cython.final
    cdef int keep(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef int put_off(self) except -1
    cpdef int turn(self) except -1
    cpdef int unread(self, bytes data) except -1
    @cython.final
    cdef inline Py_ssize_t receive(self, Py_ssize_t room) except -3
    @cython.final
    cdef inline Py_ssize_t transmit(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -3
    @cython.final
    cdef int send(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int send_indirectly(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int mark_broken(self) except -2
    @cython.final
    cdef int send_gathered(self, SendBuffer gather) except -2
    cpdef int send_bytes(self, bytes data) except -2
    cdef int defer(self, const unsigned char *buf, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int flush_pending(self) except -1
    cpdef Py_ssize_t unsent(self) except -1

    cdef Py_ssize_t on_data(self, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t end) except -1
    cpdef int on_connected(self) except -1
    cpdef int on_unreachable(self, str why) except -1
    cpdef int on_secured(self) except -1
    cpdef int on_eof(self, str why) except -1
    cpdef int on_drained(self) except -1
