cimport cython

from pgrouter.protocol.framing cimport copied

cdef int EQUALS, COMMA
cdef int BINDING, NAME, NONCE, SALT, COUNT, SIGNATURE
cdef dict _BINDINGS

@cython.final
cdef class ClientFirst:
    cdef readonly bytes gs2_header
    cdef readonly bytes bare
    cdef readonly bytes nonce
    cdef readonly bytes channel

@cython.final
cdef class ServerFirst:
    cdef readonly bytes message
    cdef readonly bytes nonce
    cdef readonly bytes salt
    cdef readonly int iterations

@cython.final
cdef class Proof:
    cdef readonly bytes client_key
    cdef readonly bytes signed

    cpdef bint holds(self, bytes stored_key) except -1

cpdef bytes new_nonce()
cpdef bytes encode(bytes raw)
cpdef bytes decode(bytes text, str what)
cdef bytes _hmac_of_user(bytes key, bytes data)
cdef bytes _xor(bytes left, bytes right)
cdef bint _is_nonce(bytes text) noexcept
cdef Py_ssize_t _attribute(bytes message, Py_ssize_t start, int letter) except -1
cdef bytes _signed(ClientFirst first, ServerFirst challenge, bytes unproven)
cpdef ClientFirst read_client_first(bytes message, bytes mechanism=*, bytes binding=*)
cpdef ServerFirst server_first(ClientFirst first, bytes nonce, bytes salt, int iterations)
cpdef Proof read_client_final(bytes message, ClientFirst first, ServerFirst challenge, bytes stored_key)
cpdef bytes server_final(Proof proof, bytes server_key)
