"""Whole messages: building those that pgrouter itself sends, parsing the few that it must understand.

None of this is on the data path: forwarded messages are neither built nor parsed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from pgrouter.errors import ProtocolViolation, ServerLost
from pgrouter.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgrouter.errors import RouterError

AUTHENTICATION_OK = b"R\x00\x00\x00\x08\x00\x00\x00\x00"
PARSE_COMPLETE = b"1\x00\x00\x00\x04"
BIND_COMPLETE = b"2\x00\x00\x00\x04"
CLOSE_COMPLETE = b"3\x00\x00\x00\x04"
NO_DATA = b"n\x00\x00\x00\x04"
EMPTY_QUERY = b"I\x00\x00\x00\x04"
SSL_REQUEST = struct.pack("!II", 8, codes.SSL_REQUEST)
SYNC = b"S\x00\x00\x00\x04"
FLUSH = b"H\x00\x00\x00\x04"
TERMINATE = b"X\x00\x00\x00\x04"
READY_IDLE = b"Z\x00\x00\x00\x05I"
READY_FAILED = b"Z\x00\x00\x00\x05E"

TEXT_OID = 25


def message(code: int, body: bytes) -> bytes:
    """Frame a body."""
    return struct.pack("!BI", code, len(body) + 4) + body


def cstring(text: str | bytes) -> bytes:
    """Return a NUL-terminated string."""
    return (text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text) + b"\0"


# -- building: backend messages


def error_response(error: RouterError) -> bytes:
    """Build the ErrorResponse for an error of ours."""
    fields = (
        ("S", error.severity),
        ("V", error.severity),
        ("C", error.sqlstate),
        ("M", error.message),
        ("D", error.detail),
        ("H", error.hint),
        ("R", "pgrouter"),  # the routine: a log shows that the error is the router's
    )
    return message(codes.ERROR_RESPONSE, b"".join(cstring(key + value) for key, value in fields if value) + b"\0")


def parameter_status(name: str, value: str) -> bytes:
    """Report the value of a setting to a client."""
    return message(codes.PARAMETER_STATUS, cstring(name) + cstring(value))


def backend_key_data(pid: int, key: bytes) -> bytes:
    """Build the message with a client's cancel key."""
    return message(codes.BACKEND_KEY_DATA, struct.pack("!I", pid) + key)


def negotiate_protocol_version(minor: int, options: Sequence[str]) -> bytes:
    """Report the newest minor version of protocol 3 that we support, and the `_pq_.` options that we do not recognize.

    On the wire it is the whole version: that is what PostgreSQL sends (the protocol chapter says "minor version"), and
    libpq 18 closes the connection if it is less than 3.0. Source: fe-protocol3.c pqGetNegotiateProtocolVersion3().
    """
    version = codes.PROTOCOL_3_0 + minor
    return message(
        codes.NEGOTIATE_PROTOCOL_VERSION,
        struct.pack("!II", version, len(options)) + b"".join(cstring(option) for option in options),
    )


def row_description(columns: Iterable[str]) -> bytes:
    """Describe columns of type text."""
    names = list(columns)
    body = struct.pack("!H", len(names))
    for name in names:
        body += cstring(name) + struct.pack("!IHIhih", 0, 0, TEXT_OID, -1, -1, 0)
    return message(codes.ROW_DESCRIPTION, body)


def data_row(values: Sequence[str | None]) -> bytes:
    """Build a row of text values."""
    body = struct.pack("!H", len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            raw = value.encode("utf-8", "surrogateescape")
            body += struct.pack("!i", len(raw)) + raw
    return message(codes.DATA_ROW, body)


def command_complete(tag: str) -> bytes:
    """Build the message that ends a command's answer."""
    return message(codes.COMMAND_COMPLETE, cstring(tag))


_authentication_head = struct.Struct("!BII").pack


def authentication(request: int, data: bytes = b"") -> bytes:
    """Ask a client for what it has to prove, or tell it the outcome."""
    return _authentication_head(codes.AUTHENTICATION, len(data) + 8, request) + data


# -- building: frontend messages


def startup(parameters: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Build the startup packet of a connection to a server."""
    body = b"".join(cstring(word) for pair in parameters for word in pair) + b"\0"
    return struct.pack("!II", len(body) + 8, codes.PROTOCOL_3_0) + body


def password(body: bytes) -> bytes:
    """Build the answer to an authentication request: PasswordMessage, SASLInitialResponse, SASLResponse."""
    return message(codes.PASSWORD, body)


def query(sql: str | bytes) -> bytes:
    """Build a simple Query."""
    return message(codes.QUERY, cstring(sql))


def cancel_request(pid: int, key: bytes) -> bytes:
    """Build a CancelRequest, the only message of its connection."""
    return struct.pack("!III", 12 + len(key), codes.CANCEL_REQUEST, pid) + key


# -- reading


def malformed(what: str) -> ServerLost:
    """Return the error for a server's message, or answer to a query of ours, that is not what it should be."""
    return ServerLost(f"the server sent a malformed {what}", sqlstate="08P01")


class StartupMessage(NamedTuple):
    """What a client asks for when it connects."""

    protocol: int  # as sent: major << 16 | minor
    parameters: tuple[tuple[str, str], ...]  # without the _pq_. options, in the client's order
    options: tuple[str, ...]  # names of protocol options (_pq_.*)
    # of the parameters
    user: str = ""
    database: str = ""
    application_name: str = ""
    replicates: bool = False

    def get(self, name: str, default: str = "") -> str:
        """Return a parameter; the last one of that name counts, as in PostgreSQL."""
        for key, value in reversed(self.parameters):
            if key == name:
                return value
        return default


def read_startup(body: bytes) -> StartupMessage:
    """Parse a startup packet (without its length).

    Raises:
        ProtocolViolation: 08P01, not name/value pairs followed by a NUL, or not valid UTF-8.

    """
    if len(body) < 4:
        raise ProtocolViolation("invalid length of startup packet")
    protocol = struct.unpack_from("!I", body)[0]
    parts = body[4:].split(b"\0")
    # name NUL value NUL ... NUL: an even number of strings, then two empty pieces
    if len(parts) < 2 or parts[-1] or parts[-2] or len(parts) % 2:
        raise ProtocolViolation("invalid startup packet layout: expected terminator as last byte")
    try:
        words = [part.decode() for part in parts[:-2]]
    except UnicodeDecodeError:
        raise ProtocolViolation("invalid startup packet: not UTF-8") from None
    pairs = tuple(zip(words[::2], words[1::2], strict=True))
    if any(not name for name, _ in pairs):
        raise ProtocolViolation("invalid startup packet layout: empty parameter name")
    startup = StartupMessage(
        protocol,
        tuple(pair for pair in pairs if not pair[0].startswith("_pq_.")),
        tuple(name for name, _ in pairs if name.startswith("_pq_.")),
    )
    return startup._replace(
        user=startup.get("user"),
        database=startup.get("database"),
        application_name=startup.get("application_name"),
        replicates=startup.get("replication", "false").lower() not in ("false", "off", "no", "0"),
    )


def read_parameter_status(body: bytes) -> tuple[str, str]:
    """Return name and value; bytes that are not UTF-8 (a name in the server's encoding) come out as they came in.

    Raises:
        ServerLost: 08P01, it is not two strings, or the name is empty.

    """
    parts = body.split(b"\0")
    if len(parts) != 3 or not parts[0] or parts[2]:
        raise malformed("ParameterStatus")
    return parts[0].decode("utf-8", "surrogateescape"), parts[1].decode("utf-8", "surrogateescape")


def read_data_row(body: bytes) -> tuple[str | None, ...]:
    """Return the values of a DataRow in text format.

    Raises:
        ServerLost: 08P01, it is shorter or longer than its values.

    """
    values: list[str | None] = []
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        size = int.from_bytes(body[at : at + 4], "big", signed=True)
        at += 4
        values.append(None if size < 0 else body[at : at + size].decode("utf-8", "replace"))
        at += max(size, 0)
        if at > len(body):
            break
    if at != len(body):
        raise malformed("DataRow")
    return tuple(values)


def read_error(body: bytes) -> dict[str, str]:
    """Return the fields of an ErrorResponse or NoticeResponse by their letters."""
    return {chr(part[0]): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
