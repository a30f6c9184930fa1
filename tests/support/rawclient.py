"""A raw protocol client, for what no driver would send: partial messages, garbage, connection resets."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import NamedTuple, Self

PROTOCOL_3_0 = 3 << 16
CANCEL_REQUEST = 80877102


class Message(NamedTuple):
    """One message from the router."""

    code: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an ErrorResponse or NoticeResponse."""
        return {part[:1].decode(): part[1:].decode() for part in self.body.split(b"\0") if part}

    @property
    def values(self) -> list[str | None]:
        """The columns of a DataRow in text format."""
        found: list[str | None] = []
        at = 2
        for _ in range(struct.unpack_from("!H", self.body)[0]):
            size = struct.unpack_from("!i", self.body, at)[0]
            at += 4
            found.append(None if size < 0 else self.body[at : at + size].decode())
            at += max(size, 0)
        return found


def message(code: bytes, body: bytes = b"") -> bytes:
    """Frame a message."""
    return code + struct.pack("!I", len(body) + 4) + body


def startup(protocol: int = PROTOCOL_3_0, **parameters: str) -> bytes:
    """Return a startup packet."""
    words = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    body = struct.pack("!I", protocol) + words + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def query(sql: str) -> bytes:
    """Return a simple Query."""
    return message(b"Q", sql.encode() + b"\0")


def parse(sql: str, name: str = "") -> bytes:
    """Return a Parse without parameter types."""
    return message(b"P", f"{name}\0{sql}\0".encode() + b"\0\0")


def bind(name: str = "", portal: str = "") -> bytes:
    """Return a Bind without parameters, all results in text format."""
    return message(b"B", f"{portal}\0{name}\0".encode() + b"\0\0\0\0\0\0")


DESCRIBE = message(b"D", b"P\0")
EXECUTE = message(b"E", b"\0" + bytes(4))
SYNC = message(b"S")
FLUSH = message(b"H")
TERMINATE = message(b"X")
COPY_DONE = message(b"c")


def extended(sql: str) -> bytes:
    """Return the messages of a statement in the extended protocol, with Sync."""
    return parse(sql) + bind() + DESCRIBE + EXECUTE + SYNC


class RawClient:
    """A socket to the router; a context manager that closes it."""

    def __init__(self, port: int, *, receive_buffer: int = 0, timeout_s: float = 10) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout_s)
        try:
            self.sock.connect(("127.0.0.1", port))
        except OSError:
            self.sock.close()
            raise
        self.key = b""
        self._kept = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def login(self, **parameters: str) -> list[Message]:
        """Log in (with trust authentication) as postgres; return the messages received."""
        self.send(startup(**({"user": "postgres", "database": "postgres"} | parameters)))
        said = self.until_ready()
        self.key = next((m.body for m in said if m.code == "K"), b"")
        return said

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def ask(self, sql: str) -> list[Message]:
        """Send a simple query and return the whole answer."""
        self.send(query(sql))
        return self.until_ready()

    def receive(self) -> Message | None:
        """Return the next message; None if the router has closed the connection."""
        while len(self._kept) < 5 or len(self._kept) < 1 + struct.unpack_from("!I", self._kept, 1)[0]:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._kept += data
        end = 1 + struct.unpack_from("!I", self._kept, 1)[0]
        code, body, self._kept = chr(self._kept[0]), self._kept[5:end], self._kept[end:]
        return Message(code, body)

    def until(self, codes: str) -> list[Message]:
        """Return all messages up to one of these codes, or to the end of the connection."""
        said: list[Message] = []
        while (got := self.receive()) is not None:
            said.append(got)
            if got.code in codes:
                break
        return said

    def until_ready(self) -> list[Message]:
        """Return all messages up to ReadyForQuery, or to the end of the connection."""
        return self.until("Z")

    def until_closed(self) -> list[Message]:
        """Return all messages up to the end of the connection."""
        return self.until("")

    def cancel(self, key: bytes | None = None) -> None:
        """Send a CancelRequest for our key (or another one) and wait until the router closes that connection."""
        with socket.create_connection(self.sock.getpeername(), timeout=10) as other:
            body = struct.pack("!I", CANCEL_REQUEST) + (self.key if key is None else key)
            other.sendall(struct.pack("!I", len(body) + 4) + body)
            with contextlib.suppress(ConnectionResetError):
                other.recv(1)

    def reset(self) -> None:
        """Tear the connection down with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close it without Terminate."""
        self.sock.close()

    def closed_within(self, timeout_s: float) -> bool:
        """Whether the router closes the connection within this time."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                if not self.sock.recv(1 << 16):
                    return True
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False
        return False


def codes(said: list[Message]) -> str:
    """Return the types of messages as one string."""
    return "".join(m.code for m in said)


def sqlstate(said: list[Message]) -> str:
    """Return the SQLSTATE of the first error, empty if there is none."""
    return next((m.fields["C"] for m in said if m.code == "E"), "")


def values(said: list[Message]) -> list[list[str | None]]:
    """Return the rows."""
    return [m.values for m in said if m.code == "D"]
