from pgrouter.net.stream cimport Stream

cdef class Peer:
    cdef readonly Stream stream
    cdef public int watches
    cdef public bint mid_frame

    cpdef int on_served(self, object server) except -1
    cpdef int on_refused(self, object error) except -1
    cpdef int on_ready(self) except -1
    cpdef int on_server_lost(self, object error) except -1
    cpdef bint on_error(self, str sqlstate, str routine) except -1
    cpdef int on_let_go(self, object server) except -1
    cpdef int on_named(self, list events) except -1
    cpdef bint on_changed(self, object shared, bytes known) except -1
    cpdef bint on_unnamed(self, object ident, bytes known) except -1
    cpdef int on_deallocated(self) except -1
    cpdef bytes on_words(self, bytes error)
    cpdef int on_waiting(self) except -1
    cpdef bytes on_parameter(self, bytes body)
    cpdef bytes on_notification(self, bytes message)
    cpdef bytes before_ready(self)
