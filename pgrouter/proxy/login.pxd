cimport cython

from pgrouter.auth.client cimport ClientIdentity
from pgrouter.auth.steps cimport READ_PACKET
from pgrouter.protocol.codes cimport BACKEND_KEY_DATA, CANCEL_REQUEST, GSSENC_REQUEST, SSL_REQUEST
from pgrouter.protocol.framing cimport length_at
from pgrouter.proxy.startup_template cimport StartupTemplate

cdef int LONG_KEY, SHORT_KEY

@cython.final
cdef class Introduce:
    cdef readonly StartupTemplate startup

@cython.final
cdef class Encrypt:
    cdef readonly bint tls
    cdef readonly str name

cdef class CheckEncryption:
    cdef readonly str user

cdef class Admit:
    pass

@cython.final
cdef class LookUpUser:
    cdef readonly str user
    cdef readonly str database

@cython.final
cdef class WaitForPool:
    cdef readonly StartupTemplate startup
    cdef readonly ClientIdentity identity

@cython.final
cdef class WaitForCatalog:
    pass

@cython.final
cdef class ApplySettings:
    cdef readonly bint on_primary

@cython.final
cdef class Welcome:
    pass

@cython.final
cdef class Refusal:
    cdef readonly object error
    cdef readonly bint by_replica

@cython.final
cdef class Cancellation:
    cdef readonly object client_id
    cdef readonly bytes key

@cython.final
cdef class ConsoleSession:
    pass
