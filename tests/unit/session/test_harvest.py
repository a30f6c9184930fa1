"""What a transaction did to the settings: noted, asked, and followed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgrouter.protocol import codes, messages
from pgrouter.session.readback import Readback
from pgrouter.session.settings import milliseconds
from pgrouter.session.settings_readback import Reading, TouchedSettings, follow

if TYPE_CHECKING:
    from pgrouter.demo.streaming import StreamingCluster


def setting(name: str, value: str | None = None, *, is_local: bool = False) -> SimpleNamespace:
    return SimpleNamespace(name=name, value=value, is_local=is_local)


def touched(*settings: SimpleNamespace) -> TouchedSettings:
    made = TouchedSettings()
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
        (SET, ("role", "none", "t"), {"role": "x"}, {}, {}, {}),
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
    reading = Reading(row[0] or "", row[1], is_default=row[2] == "t")
    assert follow(touched(setting(row[0], word)), [reading], (before, before), startup) == (client, server)


def test_a_custom_setting_of_a_transaction_is_asked_for_until_it_is_there() -> None:
    noted = touched(setting("App.a", SET, is_local=True), setting("work_mem", SET, is_local=True))
    assert noted.to_read({}) == {"app.a", "work_mem"}
    assert noted.to_read({"app.a": ""}) == {"work_mem"}
    assert noted.covers({"app.a"})
    assert not noted.has_resets()


def test_reset_all_asks_for_all_that_was_set() -> None:
    noted = touched(setting("b", SET), setting("all"))
    assert noted.to_read({"a": "1"}) == {"a", "b"}
    assert noted.resets("a")
    assert noted.resets("b")


@pytest.mark.parametrize(("in_session", "client"), [(True, {"a": "0"}), (False, {"a": "5"})])
def test_what_code_has_done_is_told_by_the_source_of_a_setting(in_session: bool, client: dict[str, str]) -> None:  # noqa: FBT001
    reading = Reading("a", "0", is_default=True, in_session=in_session)
    found, _ = follow(None, [reading], ({"a": "5"}, {"a": "5"}), {"a": "5"})
    assert found == client


@pytest.mark.parametrize(
    ("shown", "ms"), [("0", 0), ("250ms", 250), ("7s", 7000), ("5min", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)]
)
def test_time_limits_are_read_as_they_are_shown(shown: str, ms: int) -> None:
    assert milliseconds(shown) == ms


def test_an_answer_with_an_error_is_no_answer() -> None:
    readback = Readback(names=("a",), version=15)
    readback.append((codes.ERROR_RESPONSE, b""))
    assert readback.failed


@pytest.mark.pg
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SJIS"])
def test_postgresql_answers_in_any_encoding(streaming: StreamingCluster, encoding: str) -> None:
    names = ("my.own", "work_mem", "search_path", "no.such", "statement_timeout")
    with psycopg.connect(streaming.primary.dsn(), autocommit=True) as connection:
        connection.execute("select set_config('my.own', 'caf\u00e9', false), set_config('work_mem', '5MB', false)")
        connection.execute("set statement_timeout = '7s'")
        connection.execute(f"set client_encoding to '{encoding}'".encode())
        readback = Readback(names=names, version=15)
        connection.pgconn.send_query(readback.message[5:-1])
        while (result := connection.pgconn.get_result()) is not None:
            for row in range(result.ntuples):
                values = [result.get_value(row, column) for column in range(result.nfields)]
                texts = [None if value is None else value.decode("ascii") for value in values]
                readback.append((codes.DATA_ROW, messages.data_row(texts)[5:]))
    found = {name: (value, is_default) for name, value, is_default, _ in readback.settings({})}
    assert found == {
        "my.own": ("caf\u00e9", False),
        "work_mem": ("5MB", False),
        "search_path": ('"$user", public', True),
        "no.such": (None, False),
        "statement_timeout": ("7s", False),
    }


@pytest.mark.pg
def test_a_custom_setting_of_the_role_is_not_the_sessions(streaming: StreamingCluster) -> None:
    streaming.primary.sql("create role tenant login password 'its'; alter role tenant set my.tenant = 'its'")
    with psycopg.connect(streaming.primary.dsn(user="tenant", password="its"), autocommit=True) as connection:
        for statement, expected in (("select 1", True), ("set my.tenant = 'other'", False), ("reset my.tenant", True)):
            connection.execute(statement.encode())
            readback = Readback(names=("my.tenant",), version=15)
            connection.pgconn.send_query(readback.message[5:-1])
            while (result := connection.pgconn.get_result()) is not None:
                if result.ntuples:
                    values = [result.get_value(0, column) for column in range(result.nfields)]
                    texts = [None if value is None else value.decode() for value in values]
                    readback.append((codes.DATA_ROW, messages.data_row(texts)[5:]))
            assert [one.is_default for one in readback.settings({})] == [expected]
    streaming.primary.sql("drop role tenant")


STARTUP = {"app.tenant": "B", "work_mem": "7MB", "role": "r"}


def test_what_a_reset_goes_back_to_is_set_once_in_a_transaction() -> None:
    made = touched(SimpleNamespace(name="work_mem", value=None, is_local=False))
    assert made.returning(STARTUP, afresh=False) == {"work_mem": "7MB"}
    assert made.returning(STARTUP, afresh=False) == {}
    assert made.returning(STARTUP, afresh=True) == {"work_mem": "7MB"}  # the transaction goes on elsewhere
    made.note([SimpleNamespace(name="work_mem", value="1MB", is_local=False)])
    assert made.returning(STARTUP, afresh=False) == {}
    made.note([SimpleNamespace(name="all", value=None, is_local=False)])
    assert made.returning(STARTUP, afresh=False) == {"app.tenant": "B", "work_mem": "7MB"}  # and acts as before


def reset(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, value=None, is_local=False)


@pytest.mark.parametrize("name", ["role", "session_authorization"])
def test_a_reset_of_who_acts_goes_back_to_the_startup_packets_role(name: str) -> None:
    made = touched(SimpleNamespace(name="role", value="other", is_local=False), reset("all"))
    assert "role" not in made.returning(STARTUP, afresh=False)
    made.note([reset(name)])
    assert made.returning(STARTUP, afresh=False) == {"role": "r"}


def test_who_begins_comes_before_who_acts() -> None:
    made = touched(reset("session_authorization"))
    assert list(made.returning({"role": "r", "session_authorization": "s"}, afresh=False)) == [
        "session_authorization", "role",
    ]  # fmt: skip


def test_a_custom_setting_of_the_startup_packet_comes_back() -> None:
    readings = [Reading("app.tenant", "", False), Reading("app.other", "", False)]
    everything = touched(SimpleNamespace(name="all", value=None, is_local=False))
    client, server = follow(everything, readings, (dict(STARTUP), dict(STARTUP)), STARTUP)
    assert (client["app.tenant"], server["app.tenant"], client["app.other"]) == ("B", "", "")
    emptied = touched(SimpleNamespace(name="app.tenant", value="", is_local=False))
    client, _ = follow(emptied, readings, (dict(STARTUP), dict(STARTUP)), STARTUP)
    assert client["app.tenant"] == ""
