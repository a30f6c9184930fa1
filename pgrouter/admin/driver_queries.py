"""Statements that drivers send to any server before and between those of their users, and the console's answers.

None of them means anything here; they are answered so that every driver can be used with its defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pgrouter
from pgrouter.admin.result import BOOL, INT, TEXT, Column
from pgrouter.admin.views.router import PGBOUNCER_VERSION, version
from pgrouter.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Value
    from pgrouter.proxy.client import ClientConnection

# A number first, as libpq and asyncpg read it; PgBouncer's has the same form.
SERVER_VERSION = f"{PGBOUNCER_VERSION}/pgrouter {pgrouter.__version__}"

# Reported at login. libpq, JDBC and asyncpg need the encodings, integer_datetimes and standard_conforming_strings.
PARAMETERS = (
    ("server_version", SERVER_VERSION),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "off"),
    ("default_transaction_read_only", "off"),
    ("in_hot_standby", "off"),
)

# SHOW of a setting, by its name in lower case
SETTINGS = {name.lower(): value for name, value in PARAMETERS} | {
    "transaction_read_only": "off",
    "transaction_isolation": "read committed",
    "transaction isolation level": "read committed",
    "search_path": "",
    "application_name": "",
    "max_identifier_length": "63",
}

# Settings that take any value, as no answer of the console depends on them; those of SETTINGS take only theirs
WITHOUT_EFFECT = frozenset(
    """application_name bytea_output client_min_messages extra_float_digits idle_in_transaction_session_timeout
    lock_timeout search_path session statement_timeout transaction""".split()  # noqa: SIM905
)

# First words of statements that change nothing here -> command tag
HARMLESS = {
    "RESET": "RESET",
    "DISCARD": "DISCARD ALL",
    "UNLISTEN": "UNLISTEN",
    "LISTEN": "LISTEN",
    "CLOSE": "CLOSE CURSOR ALL",
    "SAVEPOINT": "SAVEPOINT",
    "RELEASE": "RELEASE",
}


class Probe(NamedTuple):
    """A SELECT that returns one value."""

    column: Column
    value: Callable[[Context], Value]


def _client(context: Context) -> ClientConnection:
    if context.client is None:
        raise RouterError("there is no session")
    return context.client


def _user(context: Context) -> Value:
    return str(_client(context).info.user)


SELECTS = {
    "1": Probe(Column("?column?", INT), lambda _: 1),
    "version()": Probe(Column("version", TEXT), lambda context: next(iter(version(context)))[0]),
    "current_database()": Probe(Column("current_database", TEXT), lambda context: _client(context).info.database),
    "current_schema()": Probe(Column("current_schema", TEXT), lambda _: None),
    "current_user": Probe(Column("current_user", TEXT), _user),
    "session_user": Probe(Column("session_user", TEXT), _user),
    "user": Probe(Column("user", TEXT), _user),
    "pg_backend_pid()": Probe(Column("pg_backend_pid", INT), lambda context: _client(context).client_id),
    "pg_is_in_recovery()": Probe(Column("pg_is_in_recovery", BOOL), lambda _: False),
    "pg_advisory_unlock_all()": Probe(Column("pg_advisory_unlock_all", TEXT), lambda _: ""),
}
