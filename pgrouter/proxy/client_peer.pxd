cimport cython

from pgrouter.proxy.client cimport ClientConnection
from pgrouter.proxy.dispatcher cimport Dispatcher
from pgrouter.proxy.link cimport Link
from pgrouter.proxy.session cimport Session
from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.peer cimport Peer
from pgrouter.protocol.codes cimport IDLE
from pgrouter.routing.flags cimport WRITES
from pgrouter.server.states cimport DISCARDS, ON_LOSS, AWAITS_ANSWERS

cdef int CODE

@cython.final
cdef class ClientPeer(Peer):
    cdef readonly ClientConnection client

    cdef int heard(self) except -1
    cdef bint may_retry(self, ServerConnection server) except -1
    cdef bint retry_with(self, object retry) except -1
