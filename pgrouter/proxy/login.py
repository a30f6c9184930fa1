"""A client's login: from its first byte to the first ReadyForQuery.

Startup packet (or SSLRequest, GSSENCRequest, CancelRequest), authentication, then what PostgreSQL says after it: the
server's parameters, which the router learns from the first server connection of the same database and user, and a key
of the router's own for cancelling.

Source: protocol chapter, "Start-up"; backend/tcop/backend_startup.c.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from pgrouter.auth.client import client_login
from pgrouter.auth.server import ServerRefused
from pgrouter.errors import (
    FeatureNotSupported,
    InvalidAuthorization,
    ProtocolViolation,
    RouterError,
    TooManyClients,
)
from pgrouter.protocol import codes, messages
from pgrouter.proxy.conversation import Conversation
from pgrouter.session.settings import spelled, transition

if TYPE_CHECKING:
    from pgrouter.auth.client import ClientIdentity
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.server.connection import ServerConnection

NEWEST_MINOR = 2
LENGTH = 4  # bytes of the packet's length, which counts itself
SHORTEST = 8  # a packet of a length and a request code
AHEAD = 64 * 1024  # what a client may send before its login is over
LONG_KEY = 32  # bytes of a cancel key in protocol 3.2, as PostgreSQL's own
SHORT_KEY = 4


class Login(Conversation):
    """Everything before the first ReadyForQuery."""

    def __init__(self, client: ClientConnection) -> None:
        super().__init__(client)
        self.hub = client.hub
        self.startup: messages.StartupMessage | None = None
        self.exchange = None  # the authentication conversation
        self.credential: object = None
        self.proof = b""  # the router's own of SCRAM, which the client does not answer: it goes with what comes next

    # -- bytes

    def on_bytes(self, data: bytes) -> int:
        """Before the startup packet messages have no type."""
        used = 0
        try:
            while self.startup is None and not self.client.closed:
                length = int.from_bytes(data[used : used + 4], "big")
                if len(data) - used < LENGTH:
                    return used
                if length < SHORTEST or length > codes.MAX_STARTUP_PACKET:
                    raise ProtocolViolation("invalid length of startup packet")
                if len(data) - used < length:
                    return used
                self._first_packet(data[used + 4 : used + length])
                used += length
            if self.startup is not None and self.exchange is None:
                if len(data) - used > AHEAD:
                    self.client.pause()
                return used  # sent ahead of the end of the login: it has to wait
            return used + super().on_bytes(data[used:])
        except RouterError as error:
            self._fail(error)
            return len(data)

    def knows(self, code: int) -> bool:
        """During authentication only answers to it may come."""
        return code == codes.PASSWORD

    def _fail(self, error: RouterError) -> None:
        if not self.client.closed:
            if isinstance(error, ServerRefused):  # PostgreSQL's own words
                self._say(messages.message(codes.ERROR_RESPONSE, error.body))
            else:
                error.severity = "FATAL"
                self._say(messages.error_response(error))
            self.hub.log(self.client, logging.INFO, f"login failed: {error.message}")
            self.client.leave()

    # -- startup

    def _first_packet(self, body: bytes) -> None:
        request = int.from_bytes(body[:4], "big")
        if request in (codes.SSL_REQUEST, codes.GSSENC_REQUEST):
            self.client.send_bytes(b"N")
        elif request == codes.CANCEL_REQUEST:
            self.hub.cancel(int.from_bytes(body[4:8], "big"), body[8:])
            self.client.leave()
        elif request >> 16 != 3:
            raise FeatureNotSupported(
                f"unsupported frontend protocol {request >> 16}.{request & 0xFFFF}: server supports 3.0 to 3.2",
                severity="FATAL",
            )
        else:
            self._begin(messages.read_startup(body))

    def _begin(self, startup: messages.StartupMessage) -> None:
        user = startup.user
        if not user:
            raise InvalidAuthorization("no PostgreSQL user name specified in startup packet")
        self.startup = startup
        self.client.info = self.hub.client_info(self.client, startup)
        if startup.replicates:
            raise FeatureNotSupported(
                "replication connections do not pass through pgrouter",
                hint="Connect to the member itself for pg_basebackup, pg_receivewal or logical replication.",
                severity="FATAL",
            )
        minor = startup.protocol & 0xFFFF
        if minor > NEWEST_MINOR or startup.options:
            agreed = min(minor, NEWEST_MINOR)
            self.client.send_bytes(messages.negotiate_protocol_version(agreed, startup.options))
        if not self.hub.admit(self.client):
            raise TooManyClients(
                "sorry, too many clients already", detail=f"pool.max_clients is {self.hub.settings.pool.max_clients}."
            )
        self.exchange = client_login(self.hub.settings.auth.type, user, self.hub.users.get(user))
        self._authenticate(None)

    def on_message(self, code: int, body: bytes) -> None:
        """Go on with the authentication."""
        self._authenticate((code, body))

    def _authenticate(self, answer: tuple[int, bytes] | None) -> None:
        if self.exchange is None:
            raise ProtocolViolation("unexpected message before the login was complete")
        try:
            request = self.exchange.send(answer)
        except StopIteration as over:
            self.exchange = None
            self._authenticated(over.value)
        else:
            if request:
                self.client.send_bytes(request)

    # -- after authentication

    def _authenticated(self, identity: ClientIdentity) -> None:
        info = self.client.info
        self.proof = identity.final
        if self.hub.is_console(info.database):
            self._say(b"")
            self.hub.open_console(self.client)
            return
        group = self.hub.group(info.database, info.user, identity)
        self.client.group = group
        profile = self.hub.profiles.of_startup(self.startup.parameters)
        self.client.follow(profile, profile)
        if group.parameters is None:
            group.wait_login(self.client)
        else:
            self._settings()

    def served(self, server: ServerConnection | None) -> None:
        """Parameters are known (no server), or here is a server that shall say whether our settings are valid."""
        try:
            if server is None:
                self._settings()
            else:
                self.client.link(server)
                server.collector = []
                change = transition(server.profile, self.client.profile)
                server.inject(messages.query("; ".join(filter(None, (change, spelled(self._reportable()))))))
                server.profile = None
        except RouterError as error:
            self._fail(error)

    def refused(self, error: RouterError) -> None:
        """No server: the login fails with its reason."""
        self._fail(error)

    def _settings(self) -> None:
        if self.client.profile.reported is not None:
            self._welcome()
            return
        server = self.client.group.take(True)
        if server is None:
            self.client.group.wait(self.client, True)
        else:
            self.served(server)

    def ready(self, server: ServerConnection) -> None:
        """The settings were applied, or refused."""
        collected, server.collector = server.collector, None
        profile = self.client.profile
        refusal = next((body for code, body in collected if code == codes.ERROR_RESPONSE), None)
        if refusal is None:
            server.profile = profile
            reported = dict(profile.values)
            reported.update(
                messages.read_parameter_status(body) for code, body in collected if code == codes.PARAMETER_STATUS
            )
            # A setting to what the server has already is not reported: utf8 on one that has UTF8.
            if names := self._reportable():
                rows = [body for code, body in collected if code == codes.DATA_ROW]
                reported.update(zip(names, messages.read_data_row(rows[-1]), strict=True))
            profile.reported = tuple(reported.items())
        else:
            server.dirty = True
        self.client.unlink()
        if refusal is None:
            self._welcome()
        elif not self.client.closed:
            fields = messages.read_error(refusal)
            self._fail(RouterError(fields.get("M", ""), sqlstate=fields.get("C", ""), detail=fields.get("D", "")))

    def _welcome(self) -> None:
        client = self.client
        if client.profile.welcome is None or client.profile.welcome[0] is not client.group.parameters:
            client.profile.welcome = client.group.parameters, self._parameters()
        long_key = self.startup.protocol & 0xFFFF >= NEWEST_MINOR
        client.key = os.urandom(LONG_KEY if long_key else SHORT_KEY)
        self._say(
            messages.AUTHENTICATION_OK
            + client.profile.welcome[1]
            + messages.backend_key_data(client.client_id, client.key)
            + messages.READY_IDLE
        )
        self.hub.logged_in(client)
        self.end()
        client.resume()
        if client.kept:
            client.process_partial()

    def _parameters(self) -> bytes:
        parameters = dict(self.client.group.parameters)
        parameters.update(self._reported(parameters))
        return b"".join(messages.parameter_status(name, value) for name, value in parameters.items())

    def _say(self, data: bytes) -> None:
        data, self.proof = self.proof + data, b""
        if data:
            self.client.send_bytes(data)

    def _reportable(self) -> list[str]:
        known = {name.lower() for name, _ in self.client.group.parameters}
        return [name for name, _ in self.client.profile.values if name in known]

    def _reported(self, known: dict[str, str]) -> list[tuple[str, str]]:
        # PostgreSQL reports only some settings, by their proper spelling (DateStyle); the packet may spell otherwise.
        spelling = {name.lower(): name for name in known}
        return [
            (spelling[name.lower()], value)
            for name, value in self.client.profile.reported
            if name.lower() in spelling
        ]
