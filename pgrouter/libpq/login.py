"""How the router's own sessions start, so that no user's code runs in them and no user's defaults apply.

The owner of a database may set almost anything for its sessions (ALTER DATABASE ... SET), and anybody who may create
objects can give them the names of built-in ones. The startup packet takes precedence over both: names are looked up in
pg_catalog alone, where only a superuser can create anything, and every statement is answered in time, on a standby,
too. All names in the queries are qualified nevertheless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.libpq.query import ask

if TYPE_CHECKING:
    import psycopg

PATH = {"search_path": "pg_catalog,pg_temp"}  # pg_temp is named because otherwise it would be searched first
SETTINGS = {
    "role": "none",
    "local_preload_libraries": "",  # a library that does not exist makes every login fail
    "statement_timeout": "30s",  # a catalog of 100,000 objects takes a second
    "lock_timeout": "0",
    "idle_session_timeout": "0",  # needs PostgreSQL 14; setting it after the login would be too late
    "default_transaction_isolation": "read\\ committed",  # a standby refuses serializable
    "default_transaction_read_only": "off",  # a primary with this on would look like a standby
    "default_transaction_deferrable": "off",  # otherwise even SHOW would wait
    "standard_conforming_strings": "on",
    "client_min_messages": "error",
}
# Settings that some versions lack, so that the startup packet could be refused: first version as libpq reports it
SINCE = ((170000, "transaction_timeout"),)


def options(settings: dict[str, str]) -> str:
    """Return the `options` of the startup packet."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


OPTIONS = options(PATH | SETTINGS)
# Keeps users' search_path and idle_session_timeout: such a session must only SHOW them, at once
OPTIONS_OF_USERS = options({name: value for name, value in SETTINGS.items() if name != "idle_session_timeout"})


async def settle(connection: psycopg.AsyncConnection) -> None:
    """Set what the startup packet could not; raises what `ask` raises."""
    for version, name in SINCE:
        if connection.pgconn.server_version >= version:
            await ask(connection.pgconn, f"SELECT pg_catalog.set_config('{name}', '0', false)".encode())
