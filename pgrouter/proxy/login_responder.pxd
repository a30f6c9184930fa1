from pgrouter.auth.client cimport ClientIdentity
from pgrouter.auth.conversation cimport Conversation
from pgrouter.auth.steps cimport READ_PACKET
from pgrouter.pool.demand cimport Demand
from pgrouter.protocol.codes cimport PASSWORD
from pgrouter.proxy.client cimport ClientConnection
from pgrouter.proxy.login cimport (
    Admit, ApplySettings, Cancellation, CheckEncryption, Encrypt, Introduce, LookUpUser, Refusal, WaitForCatalog, WaitForPool
)
from pgrouter.proxy.registry cimport Registry, SessionTraits
from pgrouter.proxy.responder cimport Responder
from pgrouter.proxy.startup_template cimport StartupTemplate

cdef Py_ssize_t AHEAD
cdef unsigned int MAX_ANSWER
cdef object PENDING

cdef class LoginResponder(Responder):
    cdef Registry registry
    cdef Conversation conversation
    cdef StartupTemplate startup
    cdef SessionTraits traits
    cdef object admission
    cdef str tls_mode
    cdef object tls
    cdef Py_ssize_t ahead

    cdef object encrypt(self, Encrypt request)
    cdef bint may_come(self, int code) noexcept
    cdef object impossible(self, bytes data, Py_ssize_t at)
    cdef int advance(self, object answer) except -1
    cdef object perform(self, object request)
    cdef object look_up(self, str user, str database)
    cdef int introduce(self, StartupTemplate startup) except -1
    cpdef int go_ahead(self) except -1
    cdef object enter_pool(self, StartupTemplate startup, ClientIdentity identity)
    cdef object apply_settings(self, bint on_primary)
    cdef int ask(self, server) except -1
    cdef bytes welcome(self)
    cdef int finish(self, object result) except -1
    cdef int fail(self, object error) except -1
    cdef int flush(self) except -1
    cdef Py_ssize_t too_early(self, Py_ssize_t end, Py_ssize_t used) except -1
    cdef object derive(self, wanted)
