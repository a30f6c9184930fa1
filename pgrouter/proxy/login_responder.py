"""Does what a client's login (`proxy.login`) needs: reads, sends, finds its pool, has a server apply its settings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import cython

from pgrouter.auth.admission import trusted
from pgrouter.auth.conversation import Conversation
from pgrouter.auth.secret import Derivation
from pgrouter.auth.server import ServerRefused
from pgrouter.errors import (
    AuthenticationFailed,
    ProtocolViolation,
    RouterError,
    TooManyClients,
)
from pgrouter.net.sealed import secure
from pgrouter.pool.demand import Demand
from pgrouter.protocol import codes, messages
from pgrouter.proxy import startup_settings
from pgrouter.proxy.arrival import arrival, check_encryption, is_own, peer_uid
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.client_info import ClientInfo
from pgrouter.proxy.login import (
    CONSOLE,
    Admit,
    ApplySettings,
    Cancellation,
    CheckEncryption,
    Encrypt,
    Introduce,
    LookUpUser,
    Refusal,
    WaitForCatalog,
    WaitForPool,
    login,
)
from pgrouter.proxy.registry import SessionTraits
from pgrouter.proxy.responder import Responder
from pgrouter.proxy.startup_template import StartupTemplate

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.auth.steps import READ_PACKET
    from pgrouter.protocol.codes import PASSWORD

if TYPE_CHECKING:
    from pgrouter.server.connection import ServerConnection

AHEAD = 64 * 1024  # what a client may send before its login is over
# The length of an authentication message: PG_MAX_AUTH_TOKEN_LENGTH (auth.c); some exchanges have their own, lower limit
MAX_ANSWER = 65535
TLS_HANDSHAKE = 0x16  # the first byte of a client that begins with TLS (sslnegotiation=direct)
ALPN = "postgresql"
INJECTED = "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."

PENDING = object()  # in place of an answer that comes later


class LoginResponder(Responder):
    """A client's responder until the first ReadyForQuery."""

    def __init__(self, client: ClientConnection, tls_mode: str, tls: object) -> None:
        Responder.__init__(self, client)
        self.registry = client.registry
        self.tls_mode = tls_mode  # of the listener
        self.tls = tls  # a TlsContext, or None
        self.ahead = 0  # bytes that the client has sent behind what is being read
        self.startup = None  # the startup packet, once it is there
        self.admission = None  # how it has to authenticate
        self.traits = None  # what the session's settings imply, at the end
        self.conversation = Conversation(login(client.registry, client.client_id), MAX_ANSWER)
        self.conversation.resume(None)
        self.asked_at = client.poller.now

    # -- bytes

    def on_bytes(self, data: bytes) -> cython.Py_ssize_t:
        """Process bytes from the client, as far as the login reads them."""
        client: ClientConnection = self.client
        used: cython.Py_ssize_t = 0
        end: cython.Py_ssize_t = len(data)
        size: cython.Py_ssize_t
        if client.put_aside:
            return 0
        if end and data[0] == TLS_HANDSHAKE and self.tls is not None and self.conversation.begins():
            secure(client, self.tls.accept(), data)
            return end
        while client.responder is self and not client.closed:
            if not self.conversation.reads:
                if end - used > AHEAD:
                    return self.too_early(end, used)
                break  # sent ahead of the end of the login: it has to wait
            size = self.conversation.size_at(data, used, end)
            if size and (size < 0 or not self.may_come(data[used])):
                self.fail(self.impossible(data, used))
                return end
            if size == 0 or size > end - used:
                client.need = size
                break
            if client.poller.late():  # many clients may connect at once
                client.put_off()
                break
            self.ahead = end - used - size
            self.advance(self.conversation.read(data, used, size))
            used += size
        return used

    def may_come(self, code: cython.int) -> cython.bint:
        """Whether a message of this type may come: during authentication only answers to it; packets have no type."""
        return self.conversation.reads == READ_PACKET or code == PASSWORD

    def impossible(self, data: bytes, at: cython.Py_ssize_t) -> RouterError:
        """Return the error for what the client has sent."""
        if self.conversation.reads == READ_PACKET:
            return ProtocolViolation("invalid length of startup packet")
        length = int.from_bytes(data[at + 1 : at + 5], "big")
        return ProtocolViolation(f"invalid frontend message type {data[at]} or length {length}")

    def too_early(self, end: cython.Py_ssize_t, used: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Called when a client has sent a lot that it was not asked for: it has to wait, a stranger has to go."""
        if self.client.client_id in self.registry.clients:
            self.client.pause()
            return used
        self.fail(ProtocolViolation("too much was sent before the end of authentication"))
        return end

    # -- the login

    def advance(self, answer) -> int:
        """Continue the login with what it asked for, until it reads, waits or ends."""
        client: ClientConnection = self.client
        self.asked_at = -1.0
        try:
            while answer is not PENDING and not client.closed:
                request = self.conversation.resume(answer)
                if request is None:
                    return self.finish(self.conversation.result)
                if type(request) is int:
                    self.asked_at = client.poller.now
                    return self.flush()
                answer = self.perform(request)
        except RouterError as error:
            self.fail(error)
        return 0

    def perform(self, request):
        """Do what the login needs; return its answer, or PENDING."""
        client: ClientConnection = self.client
        kind = type(request)
        if kind is Encrypt:
            return self.encrypt(request)
        if kind is Introduce:
            self.introduce(request.startup)
        elif kind is CheckEncryption:
            check_encryption(client, self.tls_mode, request.user)
        elif kind is Admit:
            if not self.registry.admit(client):
                raise TooManyClients(
                    "sorry, too many clients already",
                    detail=f"pool.max_clients is {self.registry.settings.pool.max_clients}.",
                )
        elif kind is LookUpUser:
            return self.look_up(request.user, request.database)
        elif kind is Derivation:
            return self.derive(request)
        elif kind is WaitForPool:
            return self.enter_pool(request.startup, request.identity)
        elif kind is WaitForCatalog:
            if not self.registry.databases.may_begin(client.session.pool.database, client.poller.now, self.go_ahead):
                return PENDING
        elif kind is ApplySettings:
            return self.apply_settings(request.on_primary)
        else:
            return self.welcome()
        return None

    # -- encryption

    def encrypt(self, request: Encrypt):
        """Answer a request for encryption; PENDING: the handshake follows."""
        client: ClientConnection = self.client
        begins: cython.bint = request.tls and self.tls is not None
        if not begins:
            client.send_bytes(b"N")  # the client goes on without, or leaves
        if self.ahead:  # PostgreSQL refuses it in both cases
            raise ProtocolViolation(f"received unencrypted data after {request.name} request", detail=INJECTED)
        if not begins:
            return False
        client.send_bytes(b"S")
        secure(client, self.tls.accept())
        self.asked_at = client.poller.now  # for its handshake
        return PENDING

    def secured(self) -> int:
        """Continue after the handshake."""
        if self.conversation.reads and self.client.sealed.codec.alpn() != ALPN:  # the client has begun with it
            self.fail(
                ProtocolViolation("received direct SSL connection request without ALPN protocol negotiation extension")
            )
            return 0
        return self.advance(None if self.conversation.reads else True)

    def lost(self, why: str) -> None:
        """Called when the client has gone: say so if TLS was not established."""
        sealed = self.client.sealed
        if sealed is not None and not sealed.codec.established:
            self.registry.log(self.client, logging.INFO, f"could not accept SSL connection: {why}")

    def introduce(self, startup: StartupTemplate) -> int:
        """Name the client in the log."""
        client: ClientConnection = self.client
        self.startup = startup
        client.info = ClientInfo(startup.user, startup.database, client.address[0], client.address[1], startup.name)
        return 0

    # -- authentication

    def look_up(self, user: str, database: str):
        """Find out how the client has to authenticate; PENDING: `admitted` follows."""
        client: ClientConnection = self.client
        facts = arrival(client, user, database)
        on_console = self.registry.is_console(database)
        if on_console and is_own(client):
            found = trusted(facts)
        else:
            found = self.registry.access.admit(facts, peer_uid(client), self.admitted, on_console=on_console)
        if found is None:
            self.flush()
            client.put_aside = True
            client.pause()
            return PENDING
        self.admission = found
        return found

    def admitted(self, found) -> None:
        """Continue with an `Admission` that took time to find, or fail with an error."""
        if self.client.closed:
            return
        self.client.put_aside = False
        if isinstance(found, RouterError):
            self.fail(found)
            return
        self.admission = found
        self.advance(found)
        if not self.client.put_aside:
            self.client.turn()

    def derive(self, wanted):
        """Have keys derived in another thread; `derived` follows."""
        client: ClientConnection = self.client
        if not self.registry.derivations.request(client.address[0], wanted, self.derived):
            raise TooManyClients("too many logins wait for the verification of a password", severity="FATAL")
        self.flush()
        client.put_aside = True
        client.pause()
        return PENDING

    def derived(self, keys) -> None:
        """Continue with keys that were derived in another thread."""
        if self.client.closed:
            return
        self.client.put_aside = False
        self.advance(keys)
        if not self.client.put_aside:
            self.client.turn()

    def go_ahead(self) -> int:
        """Continue after what needed no answer."""
        return self.advance(None)

    # -- pool and settings

    def enter_pool(self, startup: StartupTemplate, identity: ClientIdentity):
        """Find the pool of a client and its settings; PENDING: its servers' parameters are not known yet."""
        client: ClientConnection = self.client
        if startup.pool is None or startup.pool.forgotten:
            startup.profile = self.registry.profiles.of(
                self.registry.names.settings(startup.database, startup.parameters)
            )
            startup.pool = self.registry.group(startup.database, startup.user, identity)
        elif identity.credential is not None and startup.pool.user == startup.user:
            startup.pool.credential = identity.credential  # the newest, as in `PoolManager.group`
        self.registry.crowd.enter(startup.pool, startup.user, self.registry.settings.pool)
        client.session.pool = startup.pool
        client.follow(startup.profile, startup.profile)
        if not client.session.pool.must_wait():
            return None
        client.session.pool.wait_login(client.peer)
        return PENDING

    def apply_settings(self, on_primary: cython.bint):
        """Have a server apply the client's settings, if none has yet."""
        client: ClientConnection = self.client
        if client.session.profile.reported is not None:
            return None
        server = client.session.pool.take(Demand(not on_primary), client.peer)
        if server is not None:
            self.ask(server)
        return PENDING

    def ask(self, server: ServerConnection) -> int:
        """Ask a server to apply the settings; `ready` follows."""
        profile = self.client.session.profile
        self.client.link.begin(server)
        server.captured = []
        server.inject(startup_settings.query(server.session.profile, profile, self.client.session.pool.parameters))
        server.session.meet(profile.custom)
        server.session.profile = None
        return 0

    def served(self, server: ServerConnection | None) -> None:
        """Called when the parameters are known (no server), or with a server that was waited for."""
        if server is None:
            self.go_ahead()
            return
        try:
            self.ask(server)
        except RouterError as error:
            self.fail(error)

    def refused(self, error: RouterError) -> None:
        """Called when there is no server: the login fails with the reason."""
        self.fail(error)

    def ready(self, server: ServerConnection) -> None:
        """Called when the settings were applied or refused."""
        client: ClientConnection = self.client
        answer, server.captured = server.captured, None
        error = startup_settings.error_of(answer)
        if error is None:
            server.session.profile = client.session.profile
            client.session.profile.reported = startup_settings.applied(
                answer, client.session.profile, client.session.pool.parameters
            )
        else:
            server.session.dirty = True
        by_replica: cython.bint = server.owner is not client.session.pool.writer
        client.link.release()
        self.advance(None if error is None else Refusal(error, by_replica and client.session.pool.writer is not None))

    # -- the end

    def welcome(self) -> bytes:
        """Return what the client gets when it is logged in, the same for all sessions with its settings."""
        client: ClientConnection = self.client
        traits: SessionTraits = self.registry.traits_of(client)
        if traits.welcome is None:
            traits.welcome = startup_settings.welcome(
                client.session.profile, client.session.pool.parameters, client.mode
            )
        self.traits = traits
        return traits.welcome

    def finish(self, result) -> int:
        """Do what the login has led to."""
        client: ClientConnection = self.client
        if type(result) is Cancellation:
            self.registry.cancel(result.client_id, result.key)
            return client.leave()
        self.flush()
        if result is CONSOLE:
            self.registry.open_console(client)
            return 0
        client.key = result
        self.registry.logged_in(client, self.traits)
        client.responder = None
        client.resume()
        return client.process_partial() if client.buffered else 0

    def fail(self, error: RouterError) -> int:
        """End the connection with an error: PostgreSQL's own as it is."""
        client: ClientConnection = self.client
        if client.closed:
            return 0
        if isinstance(error, ServerRefused) and error.body:
            answer = messages.message(codes.ERROR_RESPONSE, error.body)
        else:
            error.severity = "FATAL"
            answer = messages.error_response(error)
        client.send_bytes(self.conversation.sends() + answer)
        if isinstance(error, AuthenticationFailed) and self.startup is not None:
            self.registry.access.failed(self.startup.user)
        line = f" ({self.admission.rule.place})" if self.admission is not None and self.admission.rule.text else ""
        self.registry.log(client, logging.INFO, "login failed: %s%s", error.message, line)
        return client.leave()

    def flush(self) -> int:
        """Send what the login has to send by now."""
        out: bytes = self.conversation.sends()
        if out:
            self.client.send_bytes(out)
        return 0
