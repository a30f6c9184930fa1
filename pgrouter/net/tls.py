"""TLS as codecs between a stream and its socket (see `net.sealed`): contexts made of settings, over Python's ssl.

A context belongs to one side: `for_clients` accepts, `for_servers` connects. It is immutable: a reload makes a new one,
and what is established goes on with the old. `net.openssl` has the same over OpenSSL itself, without ssl's objects on
the data path; it is used where it was built.

Source: PostgreSQL's be-secure-openssl.c and fe-secure-openssl.c: versions, what is verified, channel binding.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError
from pgrouter.net.certificate import distinguished_name, end_point
from pgrouter.net.codec import CodecError

try:
    from pgrouter.net import openssl
except (ImportError, ValueError):  # ValueError: it was compiled, and what it builds upon runs uncompiled
    openssl = None

if TYPE_CHECKING:
    from pathlib import Path

    from pgrouter.config.settings import ListenTls, ServersTls

ALPN = "postgresql"
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
VERIFIED = ("verify-ca", "verify-full")


class TlsContext:
    """Makes the codecs of connections with the same settings."""

    def __init__(self, context: ssl.SSLContext, binding: bytes = b"") -> None:
        self._context = context
        self._binding = binding  # of our own certificate, if we have the server's part

    def accept(self) -> TlsCodec:
        """Return a codec for the server's part of a handshake."""
        return TlsCodec(self._context, self._binding)

    def connect(self, host: str) -> TlsCodec:
        """Return a codec for the client's part; `host` is what the server's certificate must be for, if verified."""
        return TlsCodec(self._context, host=host)


class TlsCodec:
    """One connection's TLS: bytes in, bytes out. See `net.sealed.Codec`."""

    def __init__(self, context: ssl.SSLContext, binding: bytes = b"", host: str | None = None) -> None:
        self.established = False
        self.ended = False
        self._own_binding = binding
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._received, self._to_send, server_side=host is None, server_hostname=host or None
        )
        if host is not None:
            self._handshake()

    # -- for the stream

    def open(self, buffer: memoryview, size: int) -> int:
        """Open what was received, in place; see `Codec.open`."""
        self._received.write(buffer[:size])
        if not self.established:
            self._handshake()
        got = 0
        try:
            while self.established and (self._received.pending or self._tls.pending()):
                n = self._tls.read(len(buffer) - got, buffer[got:])
                if not n:
                    self.ended = True
                    break
                got += n
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise CodecError(_words(error)) from None
        return got

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, ValueError) as error:  # ValueError: a host name that cannot be one
            raise CodecError(_words(error)) from None
        self.established = True

    def seal(self, data: bytes) -> bytes:
        """Return what is to be sent for these bytes."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        return self._to_send.read()

    def output(self) -> bytes:
        """Return what is to be sent besides."""
        return self._to_send.read() if self._to_send.pending else b""

    def finish(self) -> bytes:
        """Return the close_notify."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._to_send.read()

    # -- for the login

    def alpn(self) -> str:
        """Return the protocol that was agreed on; "": none."""
        return self._tls.selected_alpn_protocol() or ""

    def peer_names(self) -> tuple[str, str] | None:
        """Return the common name and the distinguished name (RFC 2253) of the peer's verified certificate, if any."""
        certificate = self._tls.getpeercert()
        return distinguished_name(certificate["subject"]) if certificate else None

    def binding(self) -> bytes:
        """Return what binds a SCRAM exchange to this connection (tls-server-end-point, RFC 5929); b"": nothing does."""
        if self._own_binding:
            return self._own_binding
        der = self._tls.getpeercert(binary_form=True)
        return end_point(der) if der else b""

    def description(self) -> tuple[str, str]:
        """Return version and cipher."""
        name = self._tls.cipher()
        return self._tls.version() or "", name[0] if name else ""


# -- contexts


def for_clients(tls: ListenTls, path: str, alpn: str = ALPN) -> TlsContext:
    """Return what accepts TLS with these settings; `path` is theirs in the file, `alpn` what is spoken.

    Raises:
        ConfigError: a file cannot be used.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _limit(context, tls.min_version, tls.ciphers, path)
    context.set_alpn_protocols([alpn])
    _present(context, tls.cert, tls.key, path)
    if tls.ca:  # as PostgreSQL: a certificate is asked for, and one that is shown must be valid
        _trust(context, tls.ca, tls.crl, path)
        context.verify_mode = ssl.CERT_OPTIONAL
    binding = end_point(_first_certificate(tls.cert))
    if alpn != ALPN:  # off the data path
        return TlsContext(context, binding)
    return _native(tls, path, server=True, binding=binding, verify=tls.ca is not None) or TlsContext(context, binding)


def for_servers(tls: ServersTls, path: str = "servers.tls") -> TlsContext:
    """Return what connects with TLS with these settings. Raises as `for_clients` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode == "verify-full"
    verified = tls.mode in VERIFIED or tls.ca is not None
    context.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
    _limit(context, tls.min_version, tls.ciphers, path)
    context.set_alpn_protocols([ALPN])
    if tls.cert:
        _present(context, tls.cert, tls.key, path)
    if tls.ca:
        _trust(context, tls.ca, tls.crl, path)
    elif verified:
        context.load_default_certs()
    verify_host = tls.mode == "verify-full"
    return _native(tls, path, server=False, verify=verified, verify_host=verify_host) or TlsContext(context)


def _native(tls: ListenTls | ServersTls, path: str, **more: object) -> TlsContext | None:
    """Return the same over OpenSSL itself, if that was built; what is wrong with the files is known already."""
    if openssl is None:
        return None
    names = ("min_version", "ciphers", "cert", "key", "ca", "crl")
    try:
        return openssl.Context(**{name: getattr(tls, name) for name in names}, **more)
    except openssl.OpenSslError as error:
        raise ConfigError([f"{path}: {error}"]) from None


def _limit(context: ssl.SSLContext, version: str, ciphers: str, path: str) -> None:
    context.minimum_version = VERSIONS[version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if ciphers:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError:
            raise ConfigError([f"{path}.ciphers: OpenSSL knows no such cipher"]) from None


def _present(context: ssl.SSLContext, cert: Path, key: Path | None, path: str) -> None:
    check_key(key or cert, f"{path}.key" if key else f"{path}.cert")
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _Protected:
        raise ConfigError([f"{path}.key: is protected by a passphrase: {key or cert}"]) from None
    except ssl.SSLError as error:
        raise ConfigError([f"{path}.cert: {_words(error)}: {cert}"]) from None
    except OSError as error:
        raise ConfigError([f"{path}.cert: cannot be read: {error.strerror}: {cert}"]) from None


def _trust(context: ssl.SSLContext, ca: Path, crl: Path | None, path: str) -> None:
    for key, file in (("ca", ca), ("crl", crl)):
        if file:
            try:
                context.load_verify_locations(file)
            except ssl.SSLError as error:
                raise ConfigError([f"{path}.{key}: {_words(error)}: {file}"]) from None
            except OSError as error:
                raise ConfigError([f"{path}.{key}: cannot be read: {error.strerror}: {file}"]) from None
    if crl:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def check_key(file: Path, path: str) -> None:
    """Refuse a private key that others can read, by PostgreSQL's rule.

    Raises:
        ConfigError: the file is missing, or has group or world access; one of root's may be read by a group.

    """
    try:
        found = file.stat()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}: {file}"]) from None
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError([f"{path}: must be owned by the router's user or root: {file}"])
    forbidden = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO if found.st_uid == 0 else stat.S_IRWXG | stat.S_IRWXO
    if found.st_mode & forbidden:
        raise ConfigError(
            [f"{path}: has group or world access; expected u=rw (0600), or u=rw,g=r (0640) of root: {file}"]
        )


class _Protected(Exception):
    """A key needs a passphrase."""


def _no_password() -> str:
    raise _Protected


def _first_certificate(file: Path) -> bytes:
    """Return the first certificate of a PEM file, as DER: that is the one which is shown."""
    text = file.read_text("ascii", errors="replace")
    begin = text.find(ssl.PEM_HEADER)
    end = text.find(ssl.PEM_FOOTER, begin)
    return ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)] + "\n")


def _words(error: Exception) -> str:
    """Return what OpenSSL says, as PostgreSQL logs it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return str(error)
