"""Which statement a refused batch consists of: the one to remember, if it is only one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pgrouter.protocol.messages import message, query
from pgrouter.proxy.retry import BEHIND, STANDBY, only_prepared, only_statement


def parse(name: bytes, text: bytes) -> bytes:
    return message(ord("P"), name + b"\0" + text + b"\0\0\0")


def bind(name: bytes) -> bytes:
    return message(ord("B"), b"\0" + name + b"\0" + bytes(6))


def describe(what: bytes) -> bytes:
    return message(ord("D"), what + b"\0")


EXECUTE = message(ord("E"), bytes(5))
SYNC = message(ord("S"), b"")


@pytest.fixture
def statements() -> Any:
    """A client that has prepared `old`, and has parsed an unnamed statement."""
    return SimpleNamespace(
        named={b"old": SimpleNamespace(body=b"select 'old'\0\0\0")}, unnamed_parse=parse(b"", b"select 'unnamed'")
    )


@pytest.mark.parametrize(("batch", "text", "names"), [
    (query("select 1"), b"select 1", set()),
    (parse(b"", b"select 1") + bind(b"") + describe(b"P") + EXECUTE + SYNC, b"select 1", {b""}),
    (parse(b"a", b"select 1") + describe(b"Sa") + SYNC, b"select 1", {b"a"}),
    (parse(b"old", b"select 1") + bind(b"old") + EXECUTE + SYNC, b"select 1", {b"old"}),
    (bind(b"old") + EXECUTE + SYNC, b"select 'old'", {b"old"}),
    (bind(b"") + EXECUTE + SYNC, b"select 'unnamed'", {b""}),
    (bind(b"old") + EXECUTE + bind(b"old") + EXECUTE + SYNC, b"select 'old'", {b"old"}),
    (parse(b"a", b"select 'old'") + bind(b"a") + bind(b"old") + SYNC, b"select 'old'", {b"a", b"old"}),
    (parse(b"a", b"select 1") + bind(b"old") + SYNC, None, set()),
    (query("select 1") + query("select 2"), None, set()),
    (bind(b"unknown") + SYNC, None, {b"unknown"}),
    (message(ord("P"), b"cut") + message(ord("B"), b"") + query("select 1"), b"select 1", set()),
    (SYNC, None, set()),
])  # fmt: skip
def test_the_only_statement(statements: Any, batch: bytes, text: bytes | None, names: set[bytes]) -> None:
    assert only_statement(batch, statements) == (text, names)


def test_no_sqlstate_is_in_both_tables() -> None:
    assert not STANDBY & BEHIND


def bound(name: bytes, formats: int, *values: bytes) -> bytes:
    parameters = b"".join(len(value).to_bytes(4, "big") + value for value in values)
    ends = formats.to_bytes(2, "big") + b"\0\1" * formats
    return message(ord("B"), b"\0" + name + b"\0" + b"\0\1\0\1" + len(values).to_bytes(2, "big") + parameters + ends)


@pytest.mark.parametrize(("batch", "name"), [
    (bound(b"s", 0) + describe(b"P") + EXECUTE + SYNC, b"s"),
    (bound(b"s", 1, b"x", b"") + describe(b"P") + EXECUTE + SYNC, b"s"),
    (parse(b"s", b"select 1") + bound(b"s", 0) + describe(b"P") + EXECUTE + SYNC, b"s"),
    (describe(b"Ss") + SYNC, b"s"),
    (bound(b"s", 0) + EXECUTE + SYNC, b""),  # the client takes the columns for known
    (bound(b"s", 2, b"x") + describe(b"P") + EXECUTE + SYNC, b""),  # or their number
    (bound(b"", 0) + describe(b"P") + EXECUTE + SYNC, b""),
    (bound(b"s", 0) + describe(b"P") + EXECUTE + bound(b"t", 0) + EXECUTE + SYNC, b""),
    (bound(b"s", 0) + describe(b"P") + EXECUTE + SYNC + query("select 1"), b""),
    (bound(b"s", 0) + describe(b"P") + EXECUTE + SYNC + SYNC, b""),
    (bound(b"s", 0) + describe(b"P") + EXECUTE, b""),
    (query("select 1"), b""),
])  # fmt: skip
def test_what_can_be_prepared_anew_unseen(batch: bytes, name: bytes) -> None:
    assert only_prepared(batch) == name
