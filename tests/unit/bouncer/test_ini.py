"""PgBouncer's file is read as PgBouncer reads it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.bouncer.entries import entries_of
from pgrouter.bouncer.ini import Line, pairs, read_ini
from pgrouter.bouncer.parameters import PARAMETERS, values_of
from pgrouter.errors import ConfigError


def lines(text: str, **files: str) -> tuple[Line, ...]:
    texts = {"main": text, **files}

    def read(path: Path) -> str:
        if str(path) not in texts:
            raise FileNotFoundError(2, "No such file or directory")
        return texts[str(path)]

    return read_ini(Path("main"), read)


def settings(text: str, **files: str) -> list[tuple[str, str, str]]:
    return [(line.section, line.key, line.value) for line in lines(text, **files) if line.key is not None]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a]\nx = 1", [("a", "x", "1")]),
        ("[a]\n  x=1 \t\r\n", [("a", "x", "1")]),
        ("[a]\n; x = 1\n# y = 2\n", []),
        ("[a]\nx = 1 ; no comment", [("a", "x", "1 ; no comment")]),
        ("[a]\n* = host=b", [("a", "*", "host=b")]),
        ("[a]\n'my db' = host=b", [("a", "my db", "host=b")]),
        ("[a]\nx =", [("a", "x", "")]),
        ("[a]x=1\n[b]\ny=2", [("a", "x", "1"), ("b", "y", "2")]),
        ("[a]\n%include other\nz = 3", [("a", "x", "1"), ("a", "z", "3")]),
    ],
)
def test_lines(text: str, found: list[tuple[str, str, str]]) -> None:
    assert settings(text, other="x = 1") == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1", "load_init_file: value without section: x (main:1)"),
        ("[a\nx = 1", "syntax error in configuration (main:1), stopping loading"),
        ("[a]\nx", "syntax error in configuration (main:2), stopping loading"),
        ("[a]\nmy db = host=b", "syntax error in configuration (main:2), stopping loading"),
        ("%include nowhere", 'could not load file "nowhere": No such file or directory'),
        ("%include main", "include nesting level too deep (main:1), stopping loading"),
    ],
)
def test_errors_in_its_words(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        lines(text)
    assert raised.value.problems == [problem]


def test_the_section_goes_on_after_an_include_that_changed_it() -> None:
    assert settings("[a]\n%include other\nz = 3", other="[b]\nx = 1") == [("b", "x", "1"), ("b", "z", "3")]


@given(st.text(alphabet="[]'%=; #\nab*include \t"))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert all(line.place.startswith("main:") for line in lines(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("host=a port = 5", [("host", "a"), ("port", "5")]),
        ("connect_query='select ''x'''", [("connect_query", "select 'x'")]),
        ("host=a'b", [("host", "a'b")]),
        ("password='a b' user=c", [("password", "a b"), ("user", "c")]),
    ],
)
def test_pairs(text: str, found: list[tuple[str, str]]) -> None:
    assert pairs(text) == found


@pytest.mark.parametrize("text", ["host", "host=", "=a", "host=''", "host='a", "host=a port"])
def test_pairs_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="syntax error in connection string"):
        pairs(text)


@given(st.text(alphabet="ab= '\t"))
def test_any_pairs_are_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(value for _, value in pairs(text))


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("unix_socket_mode = 0770", "unix_socket_mode", 0o770),
        ("listen_port = 0x1920", "listen_port", 6432),
        ("query_timeout = 1.5", "query_timeout", 1.5),
        ("pool_mode = Transaction", "pool_mode", "transaction"),
        ("verbose = 2", "verbose", 2),
    ],
)
def test_values(line: str, name: str, value: object) -> None:
    assert values_of(lines(f"[pgbouncer]\n{line}"))[name] == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[pgbouncer]\npoolmode = x", "unknown parameter: pgbouncer/poolmode (main:2)"),
        ("[pgbouncer]\npool_mode = x", 'invalid value "x" for parameter pool_mode in configuration (main:2)'),
        ("[pgbouncer]\nlisten_port = 12a", 'invalid value "12a" for parameter listen_port in configuration (main:2)'),
        ("[pgbouncer]\nquery_timeout = -1", 'invalid value "-1" for parameter query_timeout in configuration (main:2)'),
        ("[pgbouncr]\nx = 1", 'invalid section "pgbouncr" in configuration (main:1)'),
        ("[databases]\n", "load_init_file: main section missing from config file"),
    ],
)
def test_wrong_values_in_its_words(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        values_of(lines(text))
    assert problem in raised.value.problems


def test_a_second_section_starts_from_the_defaults() -> None:
    text = "[pgbouncer]\nlisten_port = 1\nauth_user = a\n[databases]\n[pgbouncer]\npool_mode = session"
    assert values_of(lines(text)) == {"auth_user": "a", "pool_mode": "session"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[databases]\na = hst=b", "databases/a: unrecognized connection parameter: hst (main:2)"),
        ("[databases]\na = port=0", "databases/a: invalid port: 0 (main:2)"),
        ("[databases]\na = pool_mode=x", "databases/a: invalid pool mode: x (main:2)"),
        ("[databases]\npgbouncer = host=b", 'databases/pgbouncer: database name "pgbouncer" is reserved (main:2)'),
        ("[databases]\na = host", "databases/a: syntax error in connection string (main:2)"),
        ("[users]\na = port=1", "users/a: unrecognized user parameter: port (main:2)"),
        ("[peers]\n1 = port=1", "peers/1: host was not provided for peer 1 (main:2)"),
        ("[peers]\na = host=b", "peers/a: ids of peers must be a number larger than 0 and at most 65536 (main:2)"),
    ],
)
def test_wrong_entries_in_its_words(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        entries_of(lines(text))
    assert raised.value.problems == [problem]


def test_every_setting_becomes_something_or_has_a_reason() -> None:
    silent = {"log_stats", "server_check_delay", "tcp_defer_accept", "track_extra_parameters"}  # of no consequence
    assert {name for name, each in PARAMETERS.items() if not each.becomes and not each.note} == silent
