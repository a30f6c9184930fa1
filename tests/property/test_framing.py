"""Reading what anybody may send: a value or a clean refusal, never anything else."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from pgrouter.errors import ProtocolViolation
from pgrouter.protocol import codes, framing, messages

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = text.filter(bool)


nearly = st.tuples(
    st.lists(st.sampled_from([b"user", b"a", b"", b"\xff", b"_pq_.x", b"\0"])).map(b"\0".join), st.integers(0, 3)
).map(lambda parts: b"\0\x03\0\0" + parts[0] + b"\0" * parts[1])


@given(st.one_of(st.binary(max_size=200), nearly))
def test_garbage_is_a_startup_message_or_a_violation(body: bytes) -> None:
    try:
        startup = messages.read_startup(body)
    except ProtocolViolation as refusal:
        assert (refusal.sqlstate, refusal.severity) == ("08P01", "FATAL")  # noqa: PT017  (a value is as good)
    else:
        assert isinstance(startup, messages.StartupMessage)
        assert startup.protocol == int.from_bytes(body[:4], "big")


@given(st.lists(st.tuples(names, text), max_size=8), st.integers(0, 2**32 - 1))
def test_a_proper_packet_is_read_back(pairs: list[tuple[str, str]], protocol: int) -> None:
    body = struct.pack("!I", protocol) + b"".join(messages.cstring(word) for pair in pairs for word in pair) + b"\0"
    startup = messages.read_startup(body)
    assert startup.protocol == protocol
    assert startup.parameters == tuple(pair for pair in pairs if not pair[0].startswith("_pq_."))
    assert startup.options == tuple(name for name, _ in pairs if name.startswith("_pq_."))
    for name, _ in startup.parameters:
        assert startup.get(name) == dict(startup.parameters)[name]


@given(st.binary(max_size=100))
def test_reading_a_server_never_raises(body: bytes) -> None:
    fields = messages.read_error(body)
    assert all(len(letter) == 1 for letter in fields)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=10), st.binary(max_size=10))
def test_length_at_reads_where_it_is_told(length: int, before: bytes, after: bytes) -> None:
    buf = bytearray(before + struct.pack("!I", length) + after)
    assert framing.length_at(buf, len(before)) == length


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_end_of_string_finds_the_first_nul(data: bytes, pos: int, end: int) -> None:
    end = min(end, len(data))
    expected = data.find(b"\0", pos, end) if pos < end else -1
    assert framing.end_of_string(bytearray(data), pos, end) == expected


@given(names, text)
def test_parameter_status_is_read_back(name: str, value: str) -> None:
    wire = messages.parameter_status(name, value)
    assert wire[0] == codes.PARAMETER_STATUS
    assert messages.read_parameter_status(wire[5:]) == (name, value)


@given(text, text, text)
def test_an_error_of_ours_is_read_back(message: str, detail: str, hint: str) -> None:
    wire = messages.error_response(ProtocolViolation(message, detail=detail, hint=hint))
    assert int.from_bytes(wire[1:5], "big") == len(wire) - 1
    fields = {key: value for key, value in {"M": message, "D": detail, "H": hint}.items() if value}
    expected = {"S": "FATAL", "V": "FATAL", "C": "08P01", "R": "pgrouter"} | fields
    assert messages.read_error(wire[5:]) == expected


@given(st.lists(st.one_of(st.none(), text), max_size=6))
def test_rows_are_framed_and_counted(values: list[str | None]) -> None:
    wire = messages.data_row(values)
    assert int.from_bytes(wire[1:5], "big") == len(wire) - 1
    at, read = 7, []
    for _ in range(int.from_bytes(wire[5:7], "big")):
        size = int.from_bytes(wire[at : at + 4], "big", signed=True)
        at += 4
        read.append(None if size < 0 else wire[at : at + size].decode())
        at += max(size, 0)
    assert (read, at) == (values, len(wire))
