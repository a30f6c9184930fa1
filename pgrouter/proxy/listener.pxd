from pgrouter.net.acceptor cimport Acceptor
from pgrouter.net.poller cimport Poller
from pgrouter.proxy.client cimport ClientConnection
from pgrouter.proxy.registry cimport Registry

cdef unsigned int READ

cdef class Listener:
    cdef Poller poller
    cdef Registry registry
    cdef str mode
    cdef Acceptor acceptor
    cdef str tls_mode
    cdef object tls
    cdef readonly str name

    cpdef int accepted(self, object sock, tuple address) except -1
