"""Messages byte by byte, and what each frontend message means for a batch."""

from __future__ import annotations

import struct

import pytest

from pgrouter.errors import NoServer, ProtocolViolation
from pgrouter.protocol import codes, framing, messages


@pytest.mark.parametrize(
    ("built", "wire"),
    [
        (messages.query("select 1"), b"Q\0\0\0\x0dselect 1\0"),
        (messages.command_complete("SELECT 1"), b"C\0\0\0\x0dSELECT 1\0"),
        (messages.parameter_status("a", "b"), b"S\0\0\0\x08a\0b\0"),
        (messages.backend_key_data(7, b"key!"), b"K\0\0\0\x0c\0\0\0\x07key!"),
        (messages.cancel_request(7, b"key!"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07key!"),
        (messages.data_row(["x", None, ""]), b"D\0\0\0\x13\0\x03\0\0\0\x01x\xff\xff\xff\xff\0\0\0\0"),
        (messages.row_description(["n"]), b"T\0\0\0\x1a\0\x01n\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0)),
        (messages.message(codes.SYNC, b""), messages.SYNC),
        (messages.message(codes.READY_FOR_QUERY, b"I"), messages.READY_IDLE),
        (messages.message(codes.READY_FOR_QUERY, b"E"), messages.READY_FAILED),
        (messages.message(codes.TERMINATE, b""), messages.TERMINATE),
        (messages.message(codes.AUTHENTICATION, bytes(4)), messages.AUTHENTICATION_OK),
        (messages.message(codes.EMPTY_QUERY_RESPONSE, b""), messages.EMPTY_QUERY),
    ],
)
def test_on_the_wire(built: bytes, wire: bytes) -> None:
    assert built == wire


def test_an_error_has_all_its_fields() -> None:
    wire = messages.error_response(NoServer("no leader", detail="why", hint="wait"))
    fields = messages.read_error(wire[5:])
    assert wire[:1] == b"E"
    assert fields == {
        "S": "ERROR", "V": "ERROR", "C": "57P03", "M": "no leader", "D": "why", "H": "wait", "R": "pgrouter",
    }  # fmt: skip


def test_the_negotiated_version_is_a_whole_one() -> None:
    """libpq 18 refuses one below 3.0."""
    wire = messages.negotiate_protocol_version(2, ["_pq_.x"])
    assert wire == b"v\0\0\0\x13" + struct.pack("!II", codes.PROTOCOL_3_2, 1) + b"_pq_.x\0"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\x03",
        b"\0\x03\0\0",
        b"\0\x03\0\0user\0x\0",
        b"\0\x03\0\0user\0\0",
        b"\0\x03\0\0\0x\0\0",
        b"\0\x03\0\0a\0\xff\0\0",
    ],
    ids=["nothing", "half a version", "no end", "no terminator", "no value", "no name", "not UTF-8"],
)
def test_bad_startup_packets(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        messages.read_startup(body)


def test_the_last_parameter_of_a_name_counts() -> None:
    startup = messages.read_startup(b"\0\x03\0\0user\0a\0user\0b\0\0")
    assert (startup.get("user"), startup.get("database", "none")) == ("b", "none")


def test_kinds_of_frontend_messages() -> None:
    expected = {
        "Q": codes.ENDS_BATCH, "F": codes.ENDS_BATCH, "S": codes.ENDS_BATCH, "H": codes.ENDS_BATCH,
        "P": codes.IN_BATCH, "B": codes.IN_BATCH, "D": codes.IN_BATCH, "E": codes.IN_BATCH,
        "C": codes.IN_BATCH, "d": codes.COPY, "c": codes.COPY, "f": codes.COPY, "X": codes.LAST,
    }  # fmt: skip
    for code in range(256):
        assert framing.frontend_kind(code) == expected.get(chr(code), codes.UNKNOWN)
