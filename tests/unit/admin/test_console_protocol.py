"""Both query protocols, message by message, without a socket."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.admin.protocol import MAX_STATEMENTS, ConsoleProtocol
from pgrouter.errors import RouterError
from pgrouter.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.admin.command import Command
    from pgrouter.admin.result import Row

# Answers by name, so that a failure reads as a conversation
NAMES = {
    codes.PARSE_COMPLETE: "parsed",
    codes.BIND_COMPLETE: "bound",
    codes.CLOSE_COMPLETE: "closed",
    codes.ROW_DESCRIPTION: "columns",
    codes.PARAMETER_DESCRIPTION: "parameters",
    codes.NO_DATA: "no data",
    codes.DATA_ROW: "row",
    codes.EMPTY_QUERY_RESPONSE: "empty",
    codes.PORTAL_SUSPENDED: "suspended",
}


def string(text: str) -> bytes:
    """Give a NUL-terminated string."""
    return text.encode() + b"\0"


def parse(name: str, text: str, *oids: int) -> tuple[int, bytes]:
    """Build a Parse."""
    return codes.PARSE, string(name) + string(text) + struct.pack(f"!H{len(oids)}I", len(oids), *oids)


def bind(portal: str, name: str, *formats: int, values: tuple[bytes | None, ...] = ()) -> tuple[int, bytes]:
    """Build a Bind."""
    body = string(portal) + string(name) + struct.pack("!HH", 0, len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return codes.BIND, body + struct.pack(f"!H{len(formats)}h", len(formats), *formats)


def describe(kind: str, name: str) -> tuple[int, bytes]:
    """Build a Describe."""
    return codes.DESCRIBE, string(kind + name)


def execute(portal: str, limit: int = 0) -> tuple[int, bytes]:
    """Build an Execute."""
    return codes.EXECUTE, string(portal) + struct.pack("!i", limit)


def close(kind: str, name: str) -> tuple[int, bytes]:
    """Build a Close."""
    return codes.CLOSE, string(kind + name)


def query(text: str) -> tuple[int, bytes]:
    """Build a Query."""
    return codes.QUERY, string(text)


SYNC = (codes.SYNC, b"")
FLUSH = (codes.FLUSH, b"")


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Cut bytes into messages."""
    result = []
    while data:
        (length,) = struct.unpack_from("!I", data, 1)
        assert len(data) > length
        result.append((data[0], data[5 : 1 + length]))
        data = data[1 + length :]
    return result


def words(data: bytes) -> list[str]:
    """Say what messages are: `SHOW` for CommandComplete, `!42601` for an error, `I` for ReadyForQuery."""
    said = []
    for code, body in frames(data):
        if code == codes.COMMAND_COMPLETE:
            said.append(body[:-1].decode())
        elif code == codes.ERROR_RESPONSE:
            said.append("!" + next(part[1:].decode() for part in body.split(b"\0") if part[:1] == b"C"))
        elif code == codes.READY_FOR_QUERY:
            said.append(body.decode())
        else:
            said.append(NAMES[code])
    return said


def run(command: Command) -> Iterable[Row]:
    """Run a command on a router that has two routes and refuses to reload."""
    if command.admin:
        raise RouterError(f"permission denied for {command.tag}", sqlstate="42501")
    if command.tag == "SHOW":
        return [("primary", "write", 3), ("replica", "read", None)]
    if command.tag == "SELECT 1":
        return [(1,)]
    return ()


def talk(*messages: tuple[int, bytes], protocol: ConsoleProtocol | None = None) -> list[str]:
    """Have a conversation."""
    protocol = protocol or ConsoleProtocol(run)
    return words(b"".join(protocol.on_message(*message) for message in messages))


# -- simple protocol


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["empty", "I"]),
        (" ; -- x", ["empty", "I"]),
        ("SHOW ROUTES;", ["columns", "row", "row", "SHOW", "I"]),
        ("select 1; show routes", ["columns", "row", "SELECT 1", "columns", "row", "row", "SHOW", "I"]),
        ("set extra_float_digits = 1", ["SET", "I"]),
        ("begin", ["BEGIN", "T"]),
        ("begin; commit", ["BEGIN", "COMMIT", "I"]),
        ("bogus", ["!42601", "I"]),
        ("set extra_float_digits = 1; bogus", ["!42601", "I"]),
        ("set extra_float_digits = 1; reload; select 1", ["SET", "!42501", "I"]),
        ("suspend", ["!0A000", "I"]),
    ],
)
def test_simple(text: str, expected: list[str]) -> None:
    assert talk(query(text)) == expected


def test_an_error_does_not_fail_the_transaction() -> None:
    said = talk(query("begin"), query("bogus"), query("select 1"), query("rollback"))
    assert said == ["BEGIN", "T", "!42601", "T", "columns", "row", "SELECT 1", "T", "ROLLBACK", "I"]


def test_a_query_without_its_nul_is_malformed() -> None:
    assert talk((codes.QUERY, b"show pools")) == ["!08P01", "I"]


def test_function_calls_are_refused() -> None:
    assert talk((codes.FUNCTION_CALL, b"\0\0\0\1")) == ["!0A000", "I"]


# -- extended protocol


def test_unnamed_statement_as_libpq_sends_it() -> None:
    said = talk(parse("", "show routes"), bind("", "", 0), describe("P", ""), execute(""), SYNC)
    assert said == ["parsed", "bound", "columns", "row", "row", "SHOW", "I"]


def test_named_statement_as_asyncpg_sends_it() -> None:
    protocol = ConsoleProtocol(run)
    assert talk(parse("s1", "show routes"), describe("S", "s1"), FLUSH, SYNC, protocol=protocol) == [
        "parsed",
        "parameters",
        "columns",
        "I",
    ]
    for _ in range(2):
        assert talk(bind("", "s1", 1), execute(""), SYNC, protocol=protocol) == ["bound", "row", "row", "SHOW", "I"]
    assert talk(close("S", "s1"), SYNC, protocol=protocol) == ["closed", "I"]
    assert talk(bind("", "s1", 1), SYNC, protocol=protocol) == ["!26000", "I"]


def test_formats_are_per_column() -> None:
    protocol = ConsoleProtocol(run)
    talk(parse("", "show routes"), protocol=protocol)
    out = b"".join(
        protocol.on_message(*message) for message in (bind("", "", 0, 1, 1), describe("P", ""), execute(""), SYNC)
    )
    _, described, first, second, *_ = [body for _, body in frames(out)]
    assert described.endswith(struct.pack("!h", 1))
    assert first.endswith(struct.pack("!iq", 8, 3))
    assert second.endswith(struct.pack("!i", -1))


@pytest.mark.parametrize(
    ("formats", "said"), [((), "bound"), ((1,), "bound"), ((0, 0), "!08P01"), ((2,), "!22023"), ((0, 1, 0), "bound")]
)
def test_formats_that_do_not_fit_are_refused(formats: tuple[int, ...], said: str) -> None:
    assert talk(parse("", "show routes"), bind("", "", *formats), SYNC) == ["parsed", said, "I"]


def test_parameters_are_taken_and_ignored() -> None:
    said = talk(parse("", "show routes", 25, 23), bind("", "", values=(b"x", None)), execute(""), SYNC)
    assert said == ["parsed", "bound", "row", "row", "SHOW", "I"]


def test_declared_parameter_types_are_described() -> None:
    protocol = ConsoleProtocol(run)
    protocol.on_message(*parse("a", "set search_path = x", 23))
    first, second = frames(protocol.on_message(*describe("S", "a")))
    assert first == (codes.PARAMETER_DESCRIPTION, struct.pack("!HI", 1, 23))
    assert second[0] == codes.NO_DATA


def test_row_limits_suspend_the_portal() -> None:
    said = talk(parse("", "show routes"), bind("p", ""), execute("p", 1), execute("p", 1), execute("p", 1), SYNC)
    assert said == ["parsed", "bound", "row", "suspended", "row", "suspended", "SHOW", "I"]


def test_portals_end_with_their_transaction() -> None:
    protocol = ConsoleProtocol(run)
    assert talk(parse("", "show routes"), bind("p", ""), SYNC, execute("p"), SYNC, protocol=protocol) == [
        *["parsed", "bound", "I"],
        *["!34000", "I"],
    ]
    assert talk(query("begin"), bind("p", ""), SYNC, protocol=protocol) == ["BEGIN", "T", "bound", "T"]
    assert talk(execute("p"), close("P", "p"), execute("p"), SYNC, protocol=protocol) == [
        *["row", "row", "SHOW", "closed"],
        *["!34000", "T"],
    ]


def test_an_action_runs_once_per_portal() -> None:
    said = talk(parse("", "set search_path = x"), bind("", ""), describe("P", ""), execute(""), execute(""), SYNC)
    assert said == ["parsed", "bound", "no data", "SET", "!55000", "I"]


def test_empty_statement() -> None:
    said = talk(parse("", " -- "), describe("S", ""), bind("", ""), describe("P", ""), execute(""), SYNC)
    assert said == ["parsed", "parameters", "no data", "bound", "no data", "empty", "I"]


def test_after_an_error_all_is_skipped_up_to_sync() -> None:
    said = talk(parse("", "bogus"), bind("", ""), execute(""), query("select 1"), SYNC, query("select 1"))
    assert said == ["!42601", "I", "columns", "row", "SELECT 1", "I"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (bind("", "none"), "!26000"),
        (describe("S", "none"), "!26000"),
        (describe("P", "none"), "!34000"),
        (execute("none"), "!34000"),
        (close("S", "none"), "closed"),
        (close("P", "none"), "closed"),
        (parse("", "select 1; select 1"), "!42601"),
        ((codes.PARSE, b"no end"), "!08P01"),
        ((codes.BIND, b""), "!08P01"),
        ((codes.EXECUTE, b"\0\0"), "!08P01"),
        ((codes.DESCRIBE, b""), "!08P01"),
    ],
)
def test_bad_messages_get_postgresqls_errors(message: tuple[int, bytes], said: str) -> None:
    assert talk(message, SYNC) == [said, "I"]


def test_a_value_longer_than_its_message_is_malformed() -> None:
    code, body = bind("", "", values=(b"x",))
    body = body.replace(struct.pack("!i", 1) + b"x", struct.pack("!i", 1000) + b"x")
    assert talk(parse("", "show routes"), (code, body), SYNC) == ["parsed", "!08P01", "I"]


def test_deallocate_forgets() -> None:
    protocol = ConsoleProtocol(run)
    talk(parse("a", "select 1"), parse("b", "select 1"), parse("C d", "select 1"), SYNC, protocol=protocol)
    assert talk(query("deallocate A"), bind("", "a"), SYNC, protocol=protocol) == ["DEALLOCATE", "I", "!26000", "I"]
    assert talk(bind("", "b"), SYNC, protocol=protocol) == ["bound", "I"]
    assert talk(query("deallocate all"), protocol=protocol) == ["DEALLOCATE ALL", "I"]
    assert talk(bind("", "b"), SYNC, protocol=protocol) == ["!26000", "I"]


def test_statements_are_bounded() -> None:
    protocol = ConsoleProtocol(run)
    for number in range(MAX_STATEMENTS):
        assert talk(parse(f"s{number}", "select 1"), protocol=protocol) == ["parsed"]
    assert talk(parse("s0", "select 1"), parse("one more", "select 1"), SYNC, protocol=protocol) == [
        *["parsed", "!53400", "I"]
    ]


@given(st.lists(st.tuples(st.sampled_from(b"BCDEHFPQSdcf"), st.binary(max_size=24)), max_size=30))
def test_whatever_comes_every_sync_point_is_answered_once(messages: list[tuple[int, bytes]]) -> None:
    protocol = ConsoleProtocol(run)
    skipping = False
    for code, body in messages:
        said = words(protocol.on_message(code, body))
        skipping = skipping and code != codes.SYNC
        ready = not skipping and code in (codes.SYNC, codes.QUERY, codes.FUNCTION_CALL)
        assert [word in ("I", "T") for word in said].count(True) == ready
        if any(word[0] == "!" for word in said) and not ready:
            skipping = True
        elif skipping:
            assert not said
