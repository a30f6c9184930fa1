"""A client's login: from its first byte to the first ReadyForQuery.

Startup packet (or SSLRequest, GSSENCRequest, CancelRequest), authentication, then what PostgreSQL sends after it: the
server's parameters, which the router learns from the first server connection of the same database and user, and a
cancel key of the router's own.

Source: protocol chapter, "Start-up"; backend/tcop/backend_startup.c.
"""

from __future__ import annotations

import logging
import struct
from os import urandom
from typing import TYPE_CHECKING

import cython

from pgrouter.auth.client import ClientIdentity, client_login
from pgrouter.auth.secret import Derivation
from pgrouter.auth.server import ServerRefused
from pgrouter.errors import (
    FeatureNotSupported,
    InvalidAuthorization,
    ProtocolViolation,
    RouterError,
    TooManyClients,
)
from pgrouter.pool.demand import Demand
from pgrouter.protocol import codes, messages
from pgrouter.protocol.framing import copied, length_at
from pgrouter.protocol.messages import AUTHENTICATION_OK, READY_IDLE
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.registry import ClientInfo, SessionTraits
from pgrouter.proxy.responder import Responder
from pgrouter.proxy.session_sync import IS_SUPERUSER
from pgrouter.proxy.startup_template import StartupTemplate
from pgrouter.session.settings import CALM, spelled, timers, transition

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import (
        BACKEND_KEY_DATA,
        CANCEL_REQUEST,
        GSSENC_REQUEST,
        MAX_STARTUP_PACKET,
        PASSWORD,
        SSL_REQUEST,
    )

if TYPE_CHECKING:
    from pgrouter.server.connection import ServerConnection

LENGTH = 4  # bytes of the packet's length, which counts itself
SHORTEST = 8  # a packet of length and request code
AHEAD = 64 * 1024  # what a client may send before its login is over
MAX_ANSWER = 128 * 1024  # an authentication message; each exchange has its own, lower limit
LONG_KEY = 32  # bytes of a cancel key in protocol 3.2, as PostgreSQL's own
SHORT_KEY = 4

_key_head = struct.Struct("!BII").pack


class Login(Responder):
    """Everything before the first ReadyForQuery."""

    def __init__(self, client: ClientConnection) -> None:
        Responder.__init__(self, client)
        self.longest = MAX_ANSWER
        self.may_ask_ssl = True  # once each, before the startup packet
        self.may_ask_gss = True
        self.registry = client.registry
        self.application = None  # the startup packet
        self.exchange = None  # the authentication exchange, a generator
        self.proof = b""  # the server's final SCRAM message, which the client does not answer: sent with what follows
        self.by_primary = False  # a replica has refused the settings: the primary has to check them

    # -- bytes

    def on_bytes(self, data: bytes) -> cython.Py_ssize_t:
        """Process bytes from the client; messages have no type up to the startup packet."""
        used: cython.Py_ssize_t = 0
        end: cython.Py_ssize_t = len(data)
        length: cython.uint
        if self.client.put_aside:
            return 0
        if self.client.poller.late():  # many clients may connect at once
            self.client.put_off()
            return 0
        try:
            while self.application is None and not self.client.closed:
                if end - used < LENGTH:
                    return used
                length = length_at(data, used)
                if length < SHORTEST or length > MAX_STARTUP_PACKET:
                    raise ProtocolViolation("invalid length of startup packet")
                if end - used < length:
                    return used
                self.first_packet(copied(data, used + LENGTH, used + length))
                used += length
            if self.application is not None and self.exchange is None:
                if end - used > AHEAD:
                    self.client.pause()
                return used  # sent ahead of the end of the login: it has to wait
            if used == 0:
                return Responder.on_bytes(self, data)
            return used if used == end else used + Responder.on_bytes(self, data[used:])
        except RouterError as error:
            self._fail(error)
            return end

    def knows(self, code: cython.int) -> cython.bint:
        """Whether a message of this type may come: during authentication only answers to it."""
        return code == PASSWORD

    def _fail(self, error: RouterError) -> None:
        if not self.client.closed:
            if isinstance(error, ServerRefused):  # PostgreSQL's own error
                self.say(messages.message(codes.ERROR_RESPONSE, error.body))
            else:
                error.severity = "FATAL"
                self.say(messages.error_response(error))
            self.registry.log(self.client, logging.INFO, f"login failed: {error.message}")
            self.client.leave()

    # -- startup

    def first_packet(self, body: bytes) -> int:
        """Process a packet that may begin a connection."""
        request: cython.uint = length_at(body, 0)
        if request == SSL_REQUEST and self.may_ask_ssl:
            self.may_ask_ssl = False
            self.client.send_bytes(b"N")
        elif request == GSSENC_REQUEST and self.may_ask_gss:
            self.may_ask_gss = False
            self.client.send_bytes(b"N")
        elif request == CANCEL_REQUEST:
            self.registry.cancel(int.from_bytes(body[4:8], "big"), body[8:])
            self.client.leave()
        elif request >> 16 != 3:
            raise FeatureNotSupported(
                f"unsupported frontend protocol {request >> 16}.{request & 0xFFFF}: server supports 3.0 to 3.2",
                severity="FATAL",
            )
        else:
            self.begin(self.registry.application(body))
        return 0

    def begin(self, application: StartupTemplate) -> int:
        """Start the authentication."""
        client: ClientConnection = self.client
        if not application.user:
            raise InvalidAuthorization("no PostgreSQL user name specified in startup packet")
        self.application = application
        client.info = ClientInfo(
            application.user, application.database, client.address[0], client.address[1], application.name
        )
        if application.replicates:
            raise FeatureNotSupported(
                "replication connections do not pass through pgrouter",
                hint="Connect to the member itself for pg_basebackup, pg_receivewal or logical replication.",
                severity="FATAL",
            )
        if application.negotiation:
            client.send_bytes(application.negotiation)
        if not self.registry.admit(client):
            raise TooManyClients(
                "sorry, too many clients already",
                detail=f"pool.max_clients is {self.registry.settings.pool.max_clients}.",
            )
        user = application.user
        self.exchange = client_login(self.registry.settings.auth.type, user, self.registry.users.secrets.get(user))
        return self.authenticate(None)

    def on_message(self, code: cython.int, body: bytes) -> None:
        """Continue the authentication with an answer."""
        self.authenticate((code, body))

    def authenticate(self, answer) -> int:
        """Pass the client's answer, or derived keys, to the exchange, and its next request to the client."""
        if self.exchange is None:
            raise ProtocolViolation("unexpected message before the login was complete")
        try:
            request = self.exchange.send(answer)
        except StopIteration as over:
            self.exchange = None
            return self.authenticated(over.value)
        if isinstance(request, Derivation):
            self.client.put_aside = True
            self.client.pause()
            self.client.poller.aside(request.run, self.derived)
        elif request:
            self.client.send_bytes(request)
        return 0

    def derived(self, keys) -> None:
        """Continue the authentication with keys that were derived in another thread."""
        if self.client.closed:
            return
        self.client.put_aside = False
        try:
            self.authenticate(keys)
        except RouterError as error:
            self._fail(error)
        if not self.client.put_aside:
            self.client.turn()

    # -- after authentication

    def authenticated(self, identity: ClientIdentity) -> int:
        """Find the pool of an authenticated client, and start to check its settings."""
        client: ClientConnection = self.client
        application: StartupTemplate = self.application
        self.proof = identity.final
        if self.registry.is_console(application.database):
            self.say(b"")
            self.registry.open_console(client)
            return 0
        if application.group is None:
            application.profile = self.registry.profiles.of_startup(application.parameters)
            application.group = self.registry.group(application.database, application.user, identity)
        elif identity.credential is not None:
            application.group.credential = identity.credential  # the newest, as in `PoolManager.group`
        client.session.pool = application.group
        client.follow(application.profile, application.profile)
        if client.session.pool.parameters is None or (client.session.pool.outdated and client.session.pool.learns()):
            client.session.pool.wait_login(client.peer)
        else:
            self.settle()
        return 0

    def served(self, server: ServerConnection | None) -> None:
        """Called when parameters are known (no server), or with a server that checks our settings."""
        try:
            if server is None:
                self.settle()
            else:
                self.client.link.begin(server)
                server.captured = []
                change = transition(server.session.profile, self.client.session.profile)
                sql = (CALM, timers(self.client.session.profile), change, spelled(self._reportable()))
                server.inject(messages.query("; ".join(filter(None, sql))))
                server.session.meet(self.client.session.profile.custom)
                server.session.profile = None
        except RouterError as error:
            self._fail(error)

    def refused(self, error: RouterError) -> None:
        """Called when there is no server: the login fails with the reason."""
        self._fail(error)

    def settle(self) -> int:
        """Have the settings checked by a server, if none has done that yet, once the catalog is known."""
        client: ClientConnection = self.client
        if client.closed:
            return 0
        if not self.registry.databases.may_begin(client.session.pool.database, client.poller.now, self.settle):
            return 0
        if self.client.session.profile.reported is not None:
            return self.welcome()
        server = self.client.session.pool.take(Demand(not self.by_primary), self.client.peer)
        if server is not None:
            self.served(server)
        return 0

    def ready(self, server: ServerConnection) -> None:
        """Called when the settings were applied or refused."""
        collected, server.captured = server.captured, None
        profile = self.client.session.profile
        refusal = next((body for code, body in collected if code == codes.ERROR_RESPONSE), None)
        if refusal is None:
            server.session.profile = profile
            reported = dict(profile.values)
            reported.update(
                messages.read_parameter_status(body) for code, body in collected if code == codes.PARAMETER_STATUS
            )
            # Setting a value that the server has already is not reported: utf8 if it has UTF8.
            if names := self._reportable():
                rows = [body for code, body in collected if code == codes.DATA_ROW]
                reported.update(zip(names, messages.read_data_row(rows.pop()), strict=True))
            profile.reported = tuple(reported.items())
        else:
            server.session.dirty = True
        behind = server.owner is not self.client.session.pool.writer
        self.client.link.release()
        if refusal is None:
            self.welcome()
        elif behind and not self.by_primary and self.client.session.pool.writer is not None and not self.client.closed:
            self.by_primary = True  # which may already have what a setting names
            self.settle()
        elif not self.client.closed:
            fields = messages.read_error(refusal)
            self._fail(RouterError(fields.get("M", ""), sqlstate=fields.get("C", ""), detail=fields.get("D", "")))

    def welcome(self) -> int:
        """Report that the login is complete, and start the session."""
        client: ClientConnection = self.client
        traits: SessionTraits = self.registry.traits_of(client)
        if traits.welcome is None:
            traits.welcome = AUTHENTICATION_OK + self._parameters()
        size: cython.int = LONG_KEY if self.application.long_keys else SHORT_KEY
        client.key = urandom(size)
        head: bytes = _key_head(BACKEND_KEY_DATA, 8 + size, client.client_id)
        self.say(traits.welcome + head + client.key + READY_IDLE)
        self.registry.logged_in(client, traits)
        client.responder = None
        client.resume()
        return client.process_partial() if client.buffered else 0

    def _parameters(self) -> bytes:
        parameters = dict(self.client.session.pool.parameters)
        parameters.update(self._reported(parameters))
        if self.client.mode == "replica" and "in_hot_standby" in parameters:  # for libpq's target_session_attrs
            parameters["in_hot_standby"] = "on"
        return b"".join(messages.parameter_status(name, value) for name, value in parameters.items())

    def say(self, data: bytes) -> int:
        """Send this, after the final SCRAM message if that is still to be sent."""
        if self.proof:
            data, self.proof = self.proof + data, b""
        if data:
            self.client.send_bytes(data)
        return 0

    def _reportable(self) -> list[str]:
        known = {name.lower() for name, _ in self.client.session.pool.parameters}
        names = [name for name, _ in self.client.session.profile.values]
        if "role" in names or "session_authorization" in names:
            names.append(IS_SUPERUSER)
        return [name for name in names if name in known]

    def _reported(self, known: dict[str, str]) -> list[tuple[str, str]]:
        # PostgreSQL reports only some settings, spelled its own way (DateStyle); the packet may spell them differently.
        spelling = {name.lower(): name for name in known}
        return [
            (spelling[name.lower()], value)
            for name, value in self.client.session.profile.reported
            if name.lower() in spelling
        ]
