# cython: language_level=3, boundscheck=False, wraparound=False
"""TLS over OpenSSL itself: the contexts and codecs of `net.tls`, without Python objects for what passes.

Built where OpenSSL's headers are; elsewhere Python's ssl module does the same, slower. There is no version of this
module that is not compiled, so it is the one .pyx.
"""

from pgrouter.net.codec cimport NativeCodec

from pgrouter.net.certificate import end_point
from pgrouter.net.codec import CodecError

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL_CTX
    ctypedef struct SSL
    ctypedef struct SSL_METHOD
    ctypedef struct SSL_CIPHER
    ctypedef struct BIO
    ctypedef struct BIO_METHOD
    ctypedef struct X509
    ctypedef struct X509_NAME
    ctypedef struct X509_STORE
    ctypedef struct X509_VERIFY_PARAM
    ctypedef struct STACK_OF_X509_NAME "STACK_OF(X509_NAME)"

    const SSL_METHOD *TLS_server_method()
    const SSL_METHOD *TLS_client_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *method)
    void SSL_CTX_free(SSL_CTX *context)
    long SSL_CTX_set_mode(SSL_CTX *context, long mode)
    unsigned long SSL_CTX_set_options(SSL_CTX *context, unsigned long options)
    int SSL_CTX_set_min_proto_version(SSL_CTX *context, int version)
    int SSL_CTX_set_cipher_list(SSL_CTX *context, const char *ciphers)
    int SSL_CTX_use_certificate_chain_file(SSL_CTX *context, const char *file)
    int SSL_CTX_use_PrivateKey_file(SSL_CTX *context, const char *file, int kind)
    int SSL_CTX_check_private_key(const SSL_CTX *context)
    int SSL_CTX_load_verify_locations(SSL_CTX *context, const char *file, const char *directory)
    int SSL_CTX_set_default_verify_paths(SSL_CTX *context)
    void SSL_CTX_set_client_CA_list(SSL_CTX *context, STACK_OF_X509_NAME *names)
    STACK_OF_X509_NAME *SSL_load_client_CA_file(const char *file)
    X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *context)
    int X509_STORE_load_locations(X509_STORE *store, const char *file, const char *directory)
    int X509_STORE_set_flags(X509_STORE *store, unsigned long flags)
    void SSL_CTX_set_verify(SSL_CTX *context, int mode, void *callback)
    int SSL_CTX_set_session_id_context(SSL_CTX *context, const unsigned char *name, unsigned int size)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *context, long mode)
    int SSL_CTX_set_num_tickets(SSL_CTX *context, size_t number)
    int SSL_CTX_set_alpn_protos(SSL_CTX *context, const unsigned char *names, unsigned int size)
    void SSL_CTX_set_alpn_select_cb(SSL_CTX *context, int (*choose)(
        SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *) noexcept, void *arg)
    int SSL_select_next_proto(unsigned char **out, unsigned char *out_size, const unsigned char *server,
        unsigned int server_size, const unsigned char *client, unsigned int client_size)

    SSL *SSL_new(SSL_CTX *context)
    void SSL_free(SSL *ssl)
    void SSL_set_bio(SSL *ssl, BIO *received, BIO *to_send)
    void SSL_set_accept_state(SSL *ssl)
    void SSL_set_connect_state(SSL *ssl)
    int SSL_do_handshake(SSL *ssl)
    int SSL_read(SSL *ssl, void *buffer, int size)
    int SSL_write(SSL *ssl, const void *data, int size)
    int SSL_shutdown(SSL *ssl)
    int SSL_get_error(const SSL *ssl, int result)
    long SSL_get_verify_result(const SSL *ssl)
    int SSL_set_tlsext_host_name(SSL *ssl, const char *name)
    int SSL_set1_host(SSL *ssl, const char *name)
    void SSL_set_hostflags(SSL *ssl, unsigned int flags)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl)
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *param, const char *address)
    void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **name, unsigned int *size)
    X509 *SSL_get1_peer_certificate "SSL_get_peer_certificate" (const SSL *ssl)
    const char *SSL_get_version(const SSL *ssl)
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl)
    const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher)

    BIO *BIO_new(const BIO_METHOD *method)
    const BIO_METHOD *BIO_s_mem()
    void BIO_free(BIO *bio)
    int BIO_write(BIO *bio, const void *data, int size)
    int BIO_read(BIO *bio, void *buffer, int size)
    long BIO_get_mem_data(BIO *bio, char **data)
    long BIO_reset(BIO *bio)
    size_t BIO_ctrl_pending(BIO *bio)
    long BIO_set_mem_eof_return(BIO *bio, long value)

    long SSL_MODE_RELEASE_BUFFERS, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_AUTO_RETRY
    unsigned long SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_CIPHER_SERVER_PREFERENCE
    int SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_VERIFY_CLIENT_ONCE
    int SSL_ERROR_NONE, SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN, SSL_ERROR_SSL
    int SSL_FILETYPE_PEM, TLS1_2_VERSION, TLS1_3_VERSION
    long SSL_SESS_CACHE_OFF
    int SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_ALERT_FATAL, OPENSSL_NPN_NEGOTIATED
    unsigned int X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS

cdef extern from "<openssl/x509v3.h>" nogil:
    unsigned long X509_V_FLAG_CRL_CHECK, X509_V_FLAG_CRL_CHECK_ALL
    long X509_V_OK
    const char *X509_verify_cert_error_string(long number)
    int i2d_X509(X509 *certificate, unsigned char **out)
    void X509_free(X509 *certificate)
    X509_NAME *X509_get_subject_name(const X509 *certificate)
    int X509_NAME_print_ex(BIO *out, const X509_NAME *name, int indent, unsigned long flags)
    int X509_NAME_get_text_by_NID(X509_NAME *name, int nid, char *buffer, int size)
    unsigned long XN_FLAG_RFC2253, ASN1_STRFLGS_ESC_MSB
    int NID_commonName
    int X509_NAME_get_index_by_NID(X509_NAME *name, int nid, int last)
    ctypedef struct X509_NAME_ENTRY
    ctypedef struct ASN1_STRING
    X509_NAME_ENTRY *X509_NAME_get_entry(const X509_NAME *name, int at)
    ASN1_STRING *X509_NAME_ENTRY_get_data(const X509_NAME_ENTRY *entry)
    int ASN1_STRING_to_UTF8(unsigned char **out, ASN1_STRING *text)
    void OPENSSL_free(void *memory)

cdef extern from "<openssl/err.h>" nogil:
    unsigned long ERR_get_error()
    unsigned long ERR_peek_last_error()
    const char *ERR_reason_error_string(unsigned long error)
    void ERR_clear_error()

cdef const unsigned char *PROTOCOLS = <const unsigned char *> b"\x0apostgresql"
cdef unsigned int PROTOCOLS_SIZE = 11
cdef char *SESSIONS = b"pgrouter"
VERSIONS = {"TLSv1.2": TLS1_2_VERSION, "TLSv1.3": TLS1_3_VERSION}


cdef int _choose(SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *offered,
                 unsigned int size, void *arg) noexcept nogil:
    """Agree on "postgresql", or end the handshake, as PostgreSQL does."""
    if SSL_select_next_proto(
        <unsigned char **> out, out_size, PROTOCOLS, PROTOCOLS_SIZE, offered, size
    ) == OPENSSL_NPN_NEGOTIATED:
        return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_ALERT_FATAL


class OpenSslError(Exception):
    """OpenSSL has refused a file or a setting; the text says why."""


cdef class Context:
    """Makes the codecs of connections with the same settings; see `net.tls.TlsContext`."""

    cdef SSL_CTX *context
    cdef bint server
    cdef bint verifies_host
    cdef bytes binding

    def __cinit__(self, *, bint server, binding=b"", min_version="TLSv1.2", ciphers="", cert=None, key=None, ca=None,
                  crl=None, bint verify=False, bint verify_host=False):
        """Read files and settings.

        Raises:
            OpenSslError: one cannot be used.

        """
        self.context = SSL_CTX_new(TLS_server_method() if server else TLS_client_method())
        if self.context == NULL:
            raise MemoryError
        self.server = server
        self.binding = binding
        self.verifies_host = verify_host
        SSL_CTX_set_mode(self.context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        SSL_CTX_set_options(
            self.context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE
        )
        SSL_CTX_set_session_cache_mode(self.context, SSL_SESS_CACHE_OFF)
        _check(SSL_CTX_set_min_proto_version(self.context, VERSIONS[min_version]))
        if ciphers:
            _check(SSL_CTX_set_cipher_list(self.context, ciphers.encode()))
        if cert:
            self.present(str(cert).encode(), str(key or cert).encode())
        if server:
            SSL_CTX_set_num_tickets(self.context, 1)
            SSL_CTX_set_session_id_context(self.context, <const unsigned char *> SESSIONS, 8)
            SSL_CTX_set_alpn_select_cb(self.context, _choose, NULL)
        else:
            SSL_CTX_set_alpn_protos(self.context, PROTOCOLS, PROTOCOLS_SIZE)
        if ca:
            self.trust(str(ca).encode(), str(crl).encode() if crl else None)
        elif verify:
            SSL_CTX_set_default_verify_paths(self.context)
        if verify:
            SSL_CTX_set_verify(self.context, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, NULL)

    def __dealloc__(self):
        SSL_CTX_free(self.context)

    cdef int present(self, bytes cert, bytes key) except -1:
        _check(SSL_CTX_use_certificate_chain_file(self.context, cert))
        _check(SSL_CTX_use_PrivateKey_file(self.context, key, SSL_FILETYPE_PEM))
        return _check(SSL_CTX_check_private_key(self.context))

    cdef int trust(self, bytes ca, bytes crl) except -1:
        cdef X509_STORE *store = SSL_CTX_get_cert_store(self.context)
        _check(SSL_CTX_load_verify_locations(self.context, ca, NULL))
        if self.server:
            SSL_CTX_set_client_CA_list(self.context, SSL_load_client_CA_file(ca))
        if crl is not None:
            _check(X509_STORE_load_locations(store, crl, NULL))
            X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
        return 0

    def accept(self):
        """Return a codec for the server's part of a handshake."""
        return OpenSslCodec(self, None)

    def connect(self, str host):
        """Return a codec for the client's part; `host` is what the server's certificate must be for, if verified."""
        return OpenSslCodec(self, host)


cdef class OpenSslCodec(NativeCodec):
    """One connection's TLS: bytes in, bytes out."""

    cdef SSL *ssl
    cdef BIO *received
    cdef BIO *to_send
    cdef bytes own_binding

    def __init__(self, Context context, host):
        self.ssl = SSL_new(context.context)
        self.received = BIO_new(BIO_s_mem())
        self.to_send = BIO_new(BIO_s_mem())
        if self.ssl == NULL or self.received == NULL or self.to_send == NULL:
            raise MemoryError
        BIO_set_mem_eof_return(self.received, -1)
        BIO_set_mem_eof_return(self.to_send, -1)
        SSL_set_bio(self.ssl, self.received, self.to_send)  # owns both from now on
        self.own_binding = context.binding
        if host is None:
            SSL_set_accept_state(self.ssl)
            return
        SSL_set_connect_state(self.ssl)
        self.name(host.encode("idna") if host else b"", context.verifies_host)
        self.handshake()

    def __dealloc__(self):
        SSL_free(self.ssl)

    cdef int name(self, bytes host, bint verify) except -1:
        """Say which host is wanted (SNI, never an address), and whom the certificate must be for."""
        cdef X509_VERIFY_PARAM *param = SSL_get0_param(self.ssl)
        cdef bint is_address = b":" in host or host.replace(b".", b"").isdigit()
        if host and not is_address:
            SSL_set_tlsext_host_name(self.ssl, host)
        if verify:
            if is_address:
                return _check(X509_VERIFY_PARAM_set1_ip_asc(param, host))
            SSL_set_hostflags(self.ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
            return _check(SSL_set1_host(self.ssl, host))
        return 0

    # -- for the stream

    cdef int handshake(self) except -1:
        cdef int result
        ERR_clear_error()
        result = SSL_do_handshake(self.ssl)
        if result == 1:
            self.established = True
        elif SSL_get_error(self.ssl, result) != SSL_ERROR_WANT_READ:
            raise self.failure()
        return 0

    cdef object failure(self):
        """Return what has gone wrong, as PostgreSQL logs it."""
        cdef unsigned long error = ERR_get_error()
        cdef long verified = SSL_get_verify_result(self.ssl)
        ERR_clear_error()
        if verified != X509_V_OK:
            return CodecError("certificate verify failed: " + X509_verify_cert_error_string(verified).decode())
        return CodecError(_reason(error))

    cdef Py_ssize_t open_at(self, unsigned char *buffer, Py_ssize_t size, Py_ssize_t room) except -1:
        cdef Py_ssize_t got = 0
        cdef int n, error
        if BIO_write(self.received, buffer, <int> size) != size:
            raise MemoryError
        if not self.established:
            self.handshake()
        if not self.established:
            return 0
        while got < room:
            ERR_clear_error()
            n = SSL_read(self.ssl, buffer + got, <int> (room - got))
            if n > 0:
                got += n
                continue
            error = SSL_get_error(self.ssl, n)
            if error == SSL_ERROR_WANT_READ:
                break
            if error == SSL_ERROR_ZERO_RETURN:
                self.ended = True
                break
            raise self.failure()
        return got

    cdef int seal_at(self, const unsigned char *data, Py_ssize_t size) except -1:
        ERR_clear_error()
        if size and SSL_write(self.ssl, data, <int> size) != size:
            raise self.failure()
        return 0

    cdef Py_ssize_t output_at(self, unsigned char **data) except -1:
        return BIO_get_mem_data(self.to_send, <char **> data)

    cdef int sent(self) except -1:
        BIO_reset(self.to_send)
        return 0

    def finish(self):
        """Return the close_notify."""
        ERR_clear_error()
        SSL_shutdown(self.ssl)
        ERR_clear_error()
        return self.output()

    # -- for the login

    def alpn(self):
        """Return the protocol that was agreed on; "": none."""
        cdef const unsigned char *name = NULL
        cdef unsigned int size = 0
        SSL_get0_alpn_selected(self.ssl, &name, &size)
        return (<const char *> name)[:size].decode() if size else ""

    cdef bytes certificate(self):
        """Return the peer's certificate as DER; None: it has shown none."""
        cdef X509 *found = SSL_get1_peer_certificate(self.ssl)
        cdef unsigned char *der = NULL
        cdef int size
        if found == NULL:
            return None
        size = i2d_X509(found, &der)
        X509_free(found)
        if size <= 0:
            return None
        try:
            return (<char *> der)[:size]
        finally:
            OPENSSL_free(der)

    def peer_names(self):
        """Return the common name and the distinguished name (RFC 2253) of the peer's verified certificate, if any."""
        cdef X509 *found = SSL_get1_peer_certificate(self.ssl)
        if found == NULL:
            return None
        try:
            if SSL_get_verify_result(self.ssl) != X509_V_OK:
                return None
            return _common_name(X509_get_subject_name(found)), _printed(X509_get_subject_name(found))
        finally:
            X509_free(found)

    def binding(self):
        """Return what binds a SCRAM exchange to this connection (tls-server-end-point, RFC 5929); b"": nothing does."""
        if self.own_binding:
            return self.own_binding
        der = self.certificate()
        return end_point(der) if der else b""

    def description(self):
        """Return version and cipher."""
        cdef const SSL_CIPHER *cipher = SSL_get_current_cipher(self.ssl)
        name = SSL_CIPHER_get_name(cipher).decode() if cipher != NULL else ""
        return SSL_get_version(self.ssl).decode(), name


cdef str _common_name(X509_NAME *subject):
    """Return the last common name; "" if there is none, or it has a NUL (as PostgreSQL refuses it)."""
    cdef int at = -1, found = -1, size
    cdef unsigned char *text = NULL
    while True:
        at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)
        if at < 0:
            break
        found = at
    if found < 0:
        return ""
    size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, found)))
    if size < 0:
        return ""
    try:
        name = (<char *> text)[:size].decode("utf-8", "replace")
    finally:
        OPENSSL_free(text)
    return "" if "\0" in name else name


cdef str _printed(X509_NAME *subject):
    cdef BIO *out = BIO_new(BIO_s_mem())
    cdef char *text = NULL
    cdef long size
    if out == NULL:
        raise MemoryError
    try:
        X509_NAME_print_ex(out, subject, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB)
        size = BIO_get_mem_data(out, &text)
        return text[:size].decode("utf-8", "replace")
    finally:
        BIO_free(out)


cdef str _reason(unsigned long error):
    cdef const char *reason = ERR_reason_error_string(error)
    return reason.decode() if reason != NULL else "unexpected end of TLS"


cdef int _check(long result) except -1:
    cdef unsigned long error
    if result != 1:
        error = ERR_peek_last_error()
        ERR_clear_error()
        raise OpenSslError(_reason(error))
    return 0
