"""How the router's own sessions begin, so that nobody else's code runs in them and nobody's defaults count.

Whoever owns a database may set almost anything for its sessions (ALTER DATABASE ... SET), and whoever may create
objects can give them the names of PostgreSQL's own. What the startup packet says goes before both: names are looked up
in pg_catalog alone, where only a superuser creates anything, and every statement can be answered in time, on a standby
as well. The questions are qualified nevertheless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.cluster.query import ask

if TYPE_CHECKING:
    import psycopg

PATH = {"search_path": "pg_catalog,pg_temp"}  # pg_temp named, or it would be looked up first
SETTINGS = {
    "role": "none",
    "local_preload_libraries": "",  # one that does not exist keeps everybody out
    "statement_timeout": "30s",  # a catalog of 100,000 objects takes a second
    "lock_timeout": "0",
    "idle_session_timeout": "0",  # needs PostgreSQL 14; set later it would be too late
    "default_transaction_isolation": "read\\ committed",  # a standby refuses serializable
    "default_transaction_read_only": "off",  # of a server, it would look like a standby
    "default_transaction_deferrable": "off",  # SHOW would wait, too
    "standard_conforming_strings": "on",
    "client_min_messages": "error",
}
# What not every version has, so that a packet with it could be refused: the first version, as libpq gives it
SINCE = ((170000, "transaction_timeout"),)


def options(settings: dict[str, str]) -> str:
    """Return what the startup packet carries as `options`."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


OPTIONS = options(PATH | SETTINGS)
# With the search_path and idle_session_timeout that sessions begin with: such a one may only SHOW them, at once
OPTIONS_OF_USERS = options({name: value for name, value in SETTINGS.items() if name != "idle_session_timeout"})


async def settle(connection: psycopg.AsyncConnection) -> None:
    """Set what the startup packet could not; errors as `ask`."""
    for version, name in SINCE:
        if connection.pgconn.server_version >= version:
            await ask(connection.pgconn, f"SELECT pg_catalog.set_config('{name}', '0', false)".encode())
