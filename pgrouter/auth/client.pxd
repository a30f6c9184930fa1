cimport cython

from pgrouter.auth.scram cimport (
    ClientFirst, Proof, ServerFirst, new_nonce, read_client_final, read_client_first, server_final, server_first
)
from pgrouter.auth.steps cimport READ_MESSAGE
from pgrouter.protocol.codes cimport (
    AUTH_CLEARTEXT, AUTH_MD5, AUTH_SASL, AUTH_SASL_CONTINUE, AUTH_SASL_FINAL, PASSWORD
)
from pgrouter.protocol.framing cimport copied, end_of_string, length_at

cdef Py_ssize_t INT_BYTES, MAX_SASL_BYTES
cdef unsigned int ABSENT
cdef bytes MECHANISM, MECHANISM_PLUS

@cython.final
cdef class ClientIdentity:
    cdef readonly str user
    cdef readonly object credential
    cdef readonly bytes final

cpdef client_login(str auth_type, str user, secret, str why=*, bytes binding=*)
cdef bytes _body(tuple answer, str what, Py_ssize_t limit)
cdef bytes _mechanism(bytes body, bytes binding)
cdef bytes _initial_response(bytes body, Py_ssize_t end)
cdef object _proven(object secret, object known, Proof proof)
