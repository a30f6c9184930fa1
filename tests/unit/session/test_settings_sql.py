"""From one session's settings to another's: as SQL read back with PostgreSQL's parser, and by PostgreSQL itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import ast, parse_sql

from pgrouter.errors import InvalidAuthorization
from pgrouter.session.settings import Profiles, from_startup, transition

if TYPE_CHECKING:
    from pgrouter.demo.streaming import StreamingCluster

names = st.sampled_from(
    [
        "timezone",
        "search_path",
        "my.own",
        "application_name",
        "work_mem",
        'odd"name',
        "a.b.c",
        "role",
        "session_authorization",
    ]
)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=15)
profiles = st.dictionaries(names, values, max_size=5)


def interpreted(sql: str, session: dict[str, str]) -> dict[str, str]:
    """Apply RESET and SELECT set_config(...) statements to a session; anything else is an error."""
    session = dict(session)
    for raw in parse_sql(sql) if sql else ():
        statement = raw.stmt
        if isinstance(statement, ast.VariableSetStmt) and (statement.is_local or statement.name == "TRANSACTION"):
            continue  # for the transaction that it is done in
        if isinstance(statement, ast.VariableSetStmt):
            assert statement.kind.name == "VAR_RESET"
            del session[statement.name]
            continue
        for target in statement.targetList:
            name, value, local = (argument.val for argument in target.val.args)
            assert [part.sval for part in target.val.funcname] == ["pg_catalog", "set_config"]
            assert not local.boolval
            session[name.sval] = value.sval
    return session


@given(profiles, profiles)
def test_a_transition_leads_from_the_old_to_the_new(old: dict[str, str], new: dict[str, str]) -> None:
    known = Profiles()
    assert interpreted(transition(known.of(old), known.of(new)), old) == new
    assert interpreted(transition(None, known.of(new)), {}) == new


@given(profiles)
def test_equal_settings_are_one_object_and_no_sql(values: dict[str, str]) -> None:
    known = Profiles()
    one, other = known.of(values), known.of(dict(reversed(values.items())))
    assert one is other
    assert transition(one, other) == ""
    assert known.of({}) is known.empty
    assert (one is known.empty) == (not values)


AWKWARD = [
    {"search_path": 'pg_catalog, "Odd Schema", "quo""ted"', "application_name": "it's"},
    {"my.own": "back\\slash 'quote' \"double\" \n\t €", "another.one": ""},
    {"search_path": ""},
    {"search_path": '"$user", public', "datestyle": "German, YMD", "timezone": "Asia/Tokyo"},
    {"timezone": "<+05:30>-05:30", "intervalstyle": "iso_8601", "extra_float_digits": "3"},
    {"work_mem": "5MB", "statement_timeout": "7s", "default_transaction_isolation": "repeatable read"},
    {"standard_conforming_strings": "off", "my.own": "a\\'b"},
    {"role": "pg_monitor", "default_tablespace": "", "temp_tablespaces": ""},
    {"session_authorization": "pg_monitor", "lo_compat_privileges": "on", "log_statement_stats": "on"},
    {"session_authorization": "pg_monitor", "work_mem": "6MB"},
    {"session_authorization": "pg_monitor", "role": "pg_read_all_stats"},
    {"log_statement_stats": "on"},
    {"client_encoding": "LATIN1"},
    {},
]


def shown(connection: psycopg.Connection, name: str) -> str | None:
    return connection.execute("select current_setting(%s, true)", [name]).fetchone()[0]


@pytest.mark.pg
def test_postgresql_goes_from_each_to_each(streaming: StreamingCluster) -> None:
    """What a client's SET or startup packet gave is what the next server has, and nothing else of the one before."""
    known = Profiles()
    every = sorted({name for settings in AWKWARD for name in settings})
    with (
        psycopg.connect(streaming.primary.dsn(), autocommit=True) as pooled,
        psycopg.connect(streaming.primary.dsn(), autocommit=True) as fresh,
    ):
        untouched = {name: shown(fresh, name) or "" for name in every}
        for old in AWKWARD:
            for new in AWKWARD:
                pooled.execute(transition(None, known.of(old)).encode() or b"select 1", prepare=False)
                pooled.execute(transition(known.of(old), known.of(new)).encode() or b"select 1", prepare=False)
                pooled.execute(b"reset client_encoding" if "client_encoding" in new else b"select 1")
                wanted = {name: value for name, value in new.items() if name != "client_encoding"}
                seen = {name: shown(pooled, name) or "" for name in every if name != "client_encoding"}
                expected = {name: untouched[name] for name in seen} | wanted
                assert seen == expected, (old, new)
                pooled.execute(transition(known.of(wanted), known.empty).encode() or b"select 1", prepare=False)


# -- the startup packet


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([("user", "u"), ("database", "d"), ("replication", "false")], {}),
        ([("TimeZone", "UTC")], {"timezone": "UTC"}),
        ([("options", "-c work_mem=5MB --geqo=off -cstatement_timeout=7s")],
         {"work_mem": "5MB", "geqo": "off", "statement_timeout": "7s"}),
        ([("options", "-c my-own.name=a\\ b\\\\c")], {"my_own.name": "a b\\c"}),
        ([("options", "-c search_path=a,b")], {"search_path": "a,b"}),
        ([("options", "-c a.b=")], {"a.b": ""}),
        ([("options", "-c a.b=x=y")], {"a.b": "x=y"}),
        ([("options", "  ")], {}),
        ([("timezone", "UTC"), ("options", "-c timezone=Asia/Tokyo")], {"timezone": "UTC"}),
        ([("timezone", "UTC"), ("timezone", "Asia/Tokyo")], {"timezone": "Asia/Tokyo"}),
    ],
)  # fmt: skip
def test_settings_of_a_startup_packet(parameters: list[tuple[str, str]], expected: dict[str, str]) -> None:
    assert from_startup(tuple(parameters)) == expected


@pytest.mark.parametrize("options", ["-d5", "-c", "-c work_mem", "work_mem=5MB", "-x"])
def test_switches_that_no_client_may_give(options: str) -> None:
    with pytest.raises(InvalidAuthorization):
        from_startup((("options", options),))


@given(values)
def test_options_never_break(options: str) -> None:
    try:
        found = from_startup((("options", options),))
    except InvalidAuthorization as refusal:
        assert refusal.sqlstate == "28000"  # noqa: PT017
    else:
        assert all(isinstance(value, str) for value in found.values())
