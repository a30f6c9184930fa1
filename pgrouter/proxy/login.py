"""The login of a client, from its first byte to the first ReadyForQuery, as a generator (see `auth.conversation`).

It yields what it needs (what must be done or waited for) and returns what became of it. It knows neither sockets nor
pools: `proxy.login_responder` does what it asks.

Source: protocol chapter, "Start-up"; backend/tcop/backend_startup.c.
"""

from __future__ import annotations

import struct
from os import urandom

import cython

from pgrouter.auth.admission import authenticate
from pgrouter.auth.client import ClientIdentity
from pgrouter.errors import FeatureNotSupported, InvalidAuthorization, RouterError
from pgrouter.protocol.framing import length_at
from pgrouter.protocol.messages import READY_IDLE
from pgrouter.proxy.startup_template import StartupTemplate

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.auth.steps import READ_PACKET
    from pgrouter.protocol.codes import BACKEND_KEY_DATA, CANCEL_REQUEST, GSSENC_REQUEST, SSL_REQUEST

LONG_KEY = 32  # bytes of a cancel key in protocol 3.2, as PostgreSQL's own
SHORT_KEY = 4

_key_head = struct.Struct("!BII").pack


# -- requests


class Introduce:
    """The client has said who it wants to be: the log names it from now on."""

    def __init__(self, startup: StartupTemplate) -> None:
        self.startup = startup


class Encrypt:
    """The client asks for encryption; it is sent whether there is some now. Nothing may have been sent ahead of it."""

    def __init__(self, tls: cython.bint, name: str) -> None:
        self.tls = tls  # else GSSAPI, which there never is
        self.name = name  # in the error message


class CheckEncryption:
    """Refuse the client if its connection is not protected as its listener demands."""

    def __init__(self, user: str) -> None:
        self.user = user


class Admit:
    """It has proved who it is: count it among those of `pool.max_clients`."""


class LookUpUser:
    """Find out how a user has to authenticate, and its secret: it is sent an `Admission`."""

    def __init__(self, user: str, database: str) -> None:
        self.user = user
        self.database = database


class WaitForPool:
    """Enter the client's pool, and wait until the parameters of its servers are known."""

    def __init__(self, startup: StartupTemplate, identity: ClientIdentity) -> None:
        self.startup = startup
        self.identity = identity


class WaitForCatalog:
    """Wait until the catalog of the client's database has been read, or that takes too long."""


class ApplySettings:
    """Have a server apply the settings of the startup packet, if none has yet: it is sent None, or a `Refusal`."""

    def __init__(self, on_primary: cython.bint) -> None:
        self.on_primary = on_primary


class Welcome:
    """It is sent AuthenticationOk and the ParameterStatus messages."""


ENCRYPT_TLS, ENCRYPT_GSS = Encrypt(tls=True, name="SSL"), Encrypt(tls=False, name="GSSAPI encryption")
ADMIT, WAIT_FOR_CATALOG, WELCOME = Admit(), WaitForCatalog(), Welcome()
APPLY_SETTINGS, APPLY_ON_PRIMARY = ApplySettings(on_primary=False), ApplySettings(on_primary=True)


class Refusal:
    """A server has refused the settings; `by_replica`: there is a primary, which may have already what they name."""

    def __init__(self, error: RouterError, by_replica: cython.bint) -> None:
        self.error = error
        self.by_replica = by_replica


# -- results; a bytes object, the cancel key, is that of a complete login


class Cancellation:
    """It was a CancelRequest."""

    def __init__(self, client_id: int, key: bytes) -> None:
        self.client_id = client_id
        self.key = key


class ConsoleSession:
    """The client has logged in to the console, which greets it."""


CONSOLE = ConsoleSession()


# -- the login


def login(registry, client_id: int):
    """Log a client in; return its cancel key, or that it was a Cancellation, or CONSOLE.

    `registry` parses startup packets (`application`) and knows the console's names (`is_console`). If a client begins
    with TLS instead of asking for it, the first packet that is read is None.

    Raises:
        ProtocolViolation: 08P01, the client does not follow the protocol.
        FeatureNotSupported: 0A000, another protocol version, or a replication connection.
        InvalidAuthorization: 28000, no user, or one that is not let in.
        AuthenticationFailed: 28P01, wrong password or unknown user.
        RouterError: a server has refused the settings; the SQLSTATE is its own.

    """
    # The beginning of a connection, also of one that only cancels
    asked_ssl = asked_gss = False  # PostgreSQL, too, refuses a second one
    while True:
        packet = yield READ_PACKET
        if packet is None:  # direct TLS
            asked_ssl = asked_gss = True
            continue
        request: cython.uint = length_at(packet, 0)
        if request == SSL_REQUEST and not asked_ssl:
            asked_ssl = True
            if (yield ENCRYPT_TLS):
                asked_gss = True  # not inside TLS
        elif request == GSSENC_REQUEST and not asked_gss:
            asked_gss = True
            yield ENCRYPT_GSS
        else:
            break
    if request == CANCEL_REQUEST:
        return Cancellation(int.from_bytes(packet[4:8], "big"), packet[8:])
    if request >> 16 != 3:
        raise _unsupported(request)

    # Who it wants to be
    startup: StartupTemplate = registry.application(packet)
    if not startup.user:
        raise InvalidAuthorization("no PostgreSQL user name specified in startup packet")
    yield Introduce(startup)
    if startup.replicates:
        raise _replication()
    if startup.negotiation:
        yield startup.negotiation
    yield CheckEncryption(startup.user)

    # Whether it is that
    admission = yield LookUpUser(startup.user, startup.database)
    identity: ClientIdentity = yield from authenticate(admission)
    if identity.final:
        yield identity.final  # the client does not answer it
    yield ADMIT

    # What it connects to, with its settings
    if registry.is_console(startup.database):
        return CONSOLE
    yield WaitForPool(startup, identity)
    yield WAIT_FOR_CATALOG
    refusal: Refusal = yield APPLY_SETTINGS
    if refusal is not None and refusal.by_replica:
        refusal = yield APPLY_ON_PRIMARY
    if refusal is not None:
        raise refusal.error

    # Start of the session: AuthenticationOk, ParameterStatus, BackendKeyData, ReadyForQuery
    yield (yield WELCOME)
    key: bytes = urandom(LONG_KEY if startup.long_keys else SHORT_KEY)
    yield _key_head(BACKEND_KEY_DATA, 8 + len(key), client_id) + key + READY_IDLE
    return key


def _unsupported(version: int) -> FeatureNotSupported:
    return FeatureNotSupported(
        f"unsupported frontend protocol {version >> 16}.{version & 0xFFFF}: server supports 3.0 to 3.2",
        severity="FATAL",
    )


def _replication() -> FeatureNotSupported:
    return FeatureNotSupported(
        "replication connections do not pass through pgrouter",
        hint="Connect to the member itself for pg_basebackup, pg_receivewal or logical replication.",
        severity="FATAL",
    )
