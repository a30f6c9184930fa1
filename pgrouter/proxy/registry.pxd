from pgrouter.pool.pool cimport Pool
from pgrouter.proxy.batch cimport RouteCounts
from pgrouter.proxy.client cimport ClientConnection
from pgrouter.proxy.client_peer cimport ClientPeer
from pgrouter.routing.cache cimport StatementCache
from pgrouter.server.connection cimport ServerConnection
from pgrouter.server.states cimport RESETS

cdef int IDLE

cdef class SessionTraits:
    cdef object parameters
    cdef bint unusual_strings
    cdef object facts
    cdef int consistency
    cdef long long must_see_lsn
    cdef StatementCache statements
    cdef object shared
    cdef object database
    cdef bint keeps_server
    cdef int forbidden
    cdef Py_ssize_t prepared_statements
    cdef long long idle_ms
    cdef public bytes welcome

cdef class Registry:
    cdef readonly object settings
    cdef readonly object access
    cdef readonly object pools
    cdef readonly object databases
    cdef readonly object names
    cdef readonly object open_console
    cdef readonly object pool_shows
    cdef readonly object profiles
    cdef readonly object crowd
    cdef readonly dict clients
    cdef readonly dict logging_in
    cdef readonly object strangers
    cdef readonly object derivations
    cdef int forgotten
    cdef readonly RouteCounts routes
    cdef readonly object errors
    cdef readonly long long logins
    cdef readonly object sync
    cdef readonly dict idle_limits
    cdef public set timed_out
    cdef readonly object socket_options
    cdef readonly object application
    cdef dict traits
    cdef Py_ssize_t max_clients
    cdef bint tells

    cpdef ClientPeer peer_of(self, ClientConnection client)
    cpdef int arrived(self, ClientConnection client) except -1
    cpdef bint admit(self, ClientConnection client) except -1
    cpdef int logged_in(self, ClientConnection client, SessionTraits traits=*) except -1
    cpdef bint is_console(self, str database) except -1
    cpdef SessionTraits traits_of(self, ClientConnection client)
    cdef int _learn(self, ClientConnection client, SessionTraits traits) except -1
