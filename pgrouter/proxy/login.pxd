from pgrouter.auth.client cimport ClientIdentity
from pgrouter.pool.demand cimport Demand
from pgrouter.protocol.framing cimport copied, length_at
from pgrouter.proxy.startup_template cimport StartupTemplate
from pgrouter.proxy.client cimport ClientConnection
from pgrouter.proxy.responder cimport Responder
from pgrouter.proxy.registry cimport Registry, SessionTraits
from pgrouter.protocol.codes cimport (
    BACKEND_KEY_DATA, CANCEL_REQUEST, GSSENC_REQUEST, MAX_STARTUP_PACKET, PASSWORD, SSL_REQUEST
)

cdef unsigned int MAX_ANSWER, LENGTH, SHORTEST
cdef Py_ssize_t AHEAD
cdef int LONG_KEY, SHORT_KEY
cdef bytes AUTHENTICATION_OK, READY_IDLE

cdef class Login(Responder):
    cdef Registry registry
    cdef StartupTemplate application
    cdef object exchange
    cdef bint may_ask_ssl
    cdef bint may_ask_gss
    cdef bytes proof
    cdef bint by_primary

    cdef int first_packet(self, bytes body) except -1
    cdef int begin(self, StartupTemplate application) except -1
    cdef int authenticate(self, object answer) except -1
    cdef int authenticated(self, ClientIdentity identity) except -1
    cpdef int settle(self) except -1
    cdef int welcome(self) except -1
    cdef int say(self, bytes data) except -1
