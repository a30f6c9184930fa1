"""PCP's port: its sockets, and connections that prove who they are and then run commands, one after the other."""

from __future__ import annotations

import logging
import secrets
import select
from enum import Enum, auto
from typing import TYPE_CHECKING

from pgrouter.net.acceptor import Acceptor
from pgrouter.net.bytes_stream import BytesStream
from pgrouter.net.listening import UnixSocket, every_address, tcp_socket
from pgrouter.pcp import protocol
from pgrouter.pcp.protocol import PcpError, packet
from pgrouter.pcp.users import PcpUsers

if TYPE_CHECKING:
    import socket

    from pgrouter.config.settings import Pcp
    from pgrouter.net.poller import Poller
    from pgrouter.pcp.commands import Commands
    from pgrouter.pcp.protocol import Packet

log = logging.getLogger("pgrouter.pcp")

READ = select.EPOLLIN
MAX_CONNECTIONS = 16
LOGIN_S = 10.0
IDLE_S = 300.0  # between two commands, and to take an answer
DENIED_S = 1.0  # before a wrong password is answered: so many guesses a second are possible as connections
SALT_BYTES = 4
UNIX_MODE = 0o777  # as there: the password decides


class State(Enum):
    """What a connection waits for."""

    ASKED = auto()  # for a salt
    SALTED = auto()  # for the digest
    READY = auto()  # for a command
    DENIED = auto()  # until the time comes to say so
    LEAVING = auto()  # until it has taken its last answer


class PcpConnection(BytesStream):
    """A client of PCP's port."""

    def __init__(self, poller: Poller, owner: PcpServer) -> None:
        BytesStream.__init__(self, poller)
        self._owner = owner
        self._salt = b""
        self._user = ""
        self.state = State.ASKED
        self.deadline = poller.now + LOGIN_S

    def on_bytes(self, data: bytes) -> int:
        """Run the commands in it."""
        used = 0
        try:
            while not self.closed and self.state in (State.ASKED, State.SALTED, State.READY):
                if self.unsent():  # no command is run for a client that does not take the last answer
                    self.pause()
                    return used
                if self.poller.late():
                    self.put_off()
                    return used
                found, size = protocol.taken(data[used:])
                if found is None:
                    return used
                used += size
                self._process(found)
        except PcpError as failed:
            self._leave(failed)
        return len(data)

    def _process(self, found: Packet) -> None:
        if found.kind == b"X":
            self.close()
        elif self.state is State.READY:
            self._run(found)
        elif found.kind == b"M":
            self._salt = secrets.token_bytes(SALT_BYTES)
            self.state = State.SALTED
            self._send(packet("m", self._salt))
        elif found.kind == b"R" and self.state is State.SALTED:
            self._prove(found.words())
        else:
            raise PcpError("authentication failed", "the client has not authenticated")

    def _prove(self, words: list[str]) -> None:
        self._user = words[0] if words else ""
        if len(words) == 2 and self._owner.users.proves(self._user, words[1], self._salt):
            self.state, self.deadline = State.READY, self.poller.now + IDLE_S
            self._send(packet("r", "AuthenticationOK"))
            return
        log.warning("pcp: authentication failed for user %.63r", self._user)
        self.state, self.deadline = State.DENIED, self.poller.now + DENIED_S
        self.pause()

    def _run(self, found: Packet) -> None:
        self.deadline = self.poller.now + IDLE_S
        try:
            answer = self._owner.commands.run(found, self._user)
        except PcpError as failed:
            answer = protocol.error(failed)
        self._send(answer)

    def on_drained(self) -> int:
        """Go on when the client has taken what it was sent."""
        if self.state is State.LEAVING:
            return self.close()
        if not self.put_aside:
            self.resume()
            self.process_partial()
        return 0

    def overdue(self) -> None:
        """Called when the deadline has passed."""
        if self.state is State.DENIED:
            why = PcpError(
                f'authentication failed for user "{self._user[:63]}"', "username and/or password does not match"
            )
            self._leave(why)
        else:
            self.close()

    def _leave(self, failed: PcpError) -> None:
        self.state, self.deadline = State.LEAVING, self.poller.now + DENIED_S
        self._send(protocol.error(failed, "FATAL"))
        if not self.closed and not self.unsent():
            self.close()

    def close(self) -> int:
        """Close the connection."""
        if not self.closed:
            BytesStream.close(self)
            self._owner.left(self)
        return 0

    def _send(self, data: bytes) -> None:
        if not self.closed and self.send_bytes(data) < 0:
            self.close()


class PcpServer:
    """PCP's port of one router; without settings it does nothing."""

    def __init__(self, poller: Poller, settings: Pcp | None, commands: Commands) -> None:
        self.commands = commands
        self.users = _users(settings)
        self._poller = poller
        self._settings = settings
        self._connections: dict[PcpConnection, None] = {}
        self._unix: list[UnixSocket] = []
        self._acceptors: list[Acceptor] = []

    def start(self) -> None:
        """Listen. Raises OSError: an address is in use."""
        for sock in self._sockets():
            acceptor = Acceptor(self._poller, sock, self._accepted)
            self._acceptors.append(acceptor)
            acceptor.start()

    def _sockets(self) -> list[socket.socket]:
        settings = self._settings
        if settings is None:
            return []
        self._unix = [UnixSocket(directory, settings.port, UNIX_MODE) for directory in settings.sockets]
        addresses = every_address(settings.host, settings.port) if settings.host else []
        found = [tcp_socket(address, settings.port) for address in addresses]
        for sock in found:
            log.info("pcp: listens on %s:%d", *sock.getsockname()[:2])
        return [*found, *(one.sock for one in self._unix)]

    def reload(self, settings: Pcp | None) -> None:
        """Read the users file again; addresses stay. Raises ConfigError."""
        if self._settings is not None and settings is not None:
            self.users = _users(settings)

    def tick(self, now: float) -> None:
        """End connections that take too long; called ten times a second."""
        for connection in [one for one in self._connections if now > one.deadline]:
            connection.overdue()

    def stop(self) -> None:
        """Close everything."""
        for acceptor in self._acceptors:
            acceptor.close()
        for unix_socket in self._unix:
            unix_socket.close()
        for connection in list(self._connections):
            connection.close()

    def left(self, connection: PcpConnection) -> None:
        """Called when a connection is closed."""
        self._connections.pop(connection, None)

    def _accepted(self, sock: socket.socket, _address: tuple[object, ...]) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        connection = PcpConnection(self._poller, self)
        connection.attach(sock, READ)
        self._connections[connection] = None


def _users(settings: Pcp | None) -> PcpUsers:
    return PcpUsers({}) if settings is None else PcpUsers.load(settings.users_file)
