"""What a transaction did to the settings: noted, asked, and followed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgrouter.protocol import codes, messages
from pgrouter.session.harvest import Touched, follow, read_rows

if TYPE_CHECKING:
    from pgrouter.demo.streaming import StreamingCluster


def setting(name: str, value: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(name=name, value=value)


def touched(*settings: SimpleNamespace) -> Touched:
    made = Touched()
    made.note(settings)
    return made


SET, RESET = "set", None


@pytest.mark.parametrize(
    ("word", "row", "before", "startup", "client", "server"),
    [
        (SET, ("a", "1", "f"), {}, {}, {"a": "1"}, {"a": "1"}),
        (SET, ("a", "1", "f"), {"a": "0", "b": "2"}, {}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"}),
        (SET, ("a", "0", "t"), {}, {}, {}, {}),
        (RESET, ("a", "0", "t"), {"a": "1"}, {}, {}, {}),
        (RESET, ("a", "0", "t"), {"a": "1"}, {"a": "5"}, {"a": "5"}, {}),
        (SET, ("a", "0", "t"), {"a": "5"}, {"a": "5"}, {"a": "0"}, {"a": "0"}),
        (SET, ("a", "5", "f"), {"a": "5"}, {"a": "5"}, {"a": "5"}, {"a": "5"}),
        (SET, ("a", None, None), {}, {}, {}, {}),
        (SET, ("role", "none", None), {"role": "x"}, {}, {}, {}),
    ],
)  # fmt: skip
def test_the_profile_follows(  # noqa: PLR0917  (a row of the table)
    word: str | None,
    row: tuple[str | None, ...],
    before: dict[str, str],
    startup: dict[str, str],
    client: dict[str, str],
    server: dict[str, str],
) -> None:
    assert follow(touched(setting(row[0], word)), [row], before, startup) == (client, server)


def test_reset_all_asks_for_all_that_was_set() -> None:
    noted = touched(setting("b", SET), setting("all"))
    noted.question({"a": "1"})
    assert noted.names == {"b": True, "a": True}


def test_an_answer_with_an_error_is_no_answer() -> None:
    assert read_rows([(codes.DATA_ROW, messages.data_row(["61", "62", "t"])[5:])]) == [("a", "b", "t")]
    assert read_rows([(codes.ERROR_RESPONSE, b"")]) is None
    assert read_rows([]) == []


@pytest.mark.pg
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SJIS"])
def test_postgresql_answers_in_any_encoding(streaming: StreamingCluster, encoding: str) -> None:
    noted = touched(*(setting(name, SET) for name in ("my.own", "work_mem", "search_path", "no.such")))
    with psycopg.connect(streaming.primary.dsn(), autocommit=True) as connection:
        connection.execute("select set_config('my.own', 'caf\u00e9', false), set_config('work_mem', '5MB', false)")
        connection.execute(f"set client_encoding to '{encoding}'".encode())
        result = connection.pgconn.exec_(noted.question({}).encode("ascii"))
        columns = range(result.nfields)
        values = [[result.get_value(row, column) for column in columns] for row in range(result.ntuples)]
    texts = [[None if value is None else value.decode("ascii") for value in row] for row in values]
    rows = [messages.data_row(row)[5:] for row in texts]
    assert read_rows([(codes.DATA_ROW, row) for row in rows]) == [
        ("my.own", "caf\u00e9", None),
        ("work_mem", "5MB", "f"),
        ("search_path", '"$user", public', "t"),
        ("no.such", None, None),
    ]
