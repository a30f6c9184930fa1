"""Reads a database's catalog from the primary, with psycopg, for routing."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg.pq import Escaping

from pgrouter.errors import RouterError
from pgrouter.libpq import login
from pgrouter.libpq.query import QueryError, ask, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgrouter.config.settings import MonitorSettings
    from pgrouter.libpq.connection import Protection

_SQL = files("pgrouter.control")
QUERY = _SQL.joinpath("catalog.sql").read_text()
DIGEST = _SQL.joinpath("catalog_digest.sql").read_text()
SIGN = _SQL.joinpath("catalog_sign.sql").read_text()
DEFAULTS = ("search_path", "idle_session_timeout")
LIMIT_S = 35.0  # for servers that hang; others end their statements by themselves (login.SETTINGS)


def conninfo(
    addresses: Sequence[tuple[str, int]],
    database: str,
    settings: MonitorSettings,
    protection: Protection,
    *,
    writable: bool = True,
) -> str:
    """Build the connection string for whichever of these servers is the primary, or for any of them."""
    return psycopg.conninfo.make_conninfo(
        host=",".join(host for host, _ in addresses),
        port=",".join(str(port) for _, port in addresses),
        dbname=database,
        user=settings.user,
        password=settings.password,
        target_session_attrs="read-write" if writable else "any",
        connect_timeout=max(2, int(settings.timeout_s)),
        application_name="pgrouter catalog",
        client_encoding="UTF8",
        options=login.OPTIONS,
        **protection,
    )


class Reading(NamedTuple):
    """What a database has answered: its digest, and its catalog (see catalog_facts) if the digest is new."""

    digest: str
    document: str | None
    sign: str  # as of before the reading


class CatalogReader:
    """Reads one database's catalog over a connection that stays open: logging in costs more than the query."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection | None = None
        self._conninfo = ""

    async def read(self, conninfo: str, known: str = "") -> Reading:
        """Read the catalog unless its digest is `known`; RouterError if there is no primary or no answer.

        Changes between the two queries are read the next time, since the digest differs then.
        """
        try:
            async with asyncio.timeout(LIMIT_S):
                connection = await self._connected(conninfo)
                sign = await _answer(connection, SIGN)
                digest = await _answer(connection, DIGEST)
                if digest == known:
                    return Reading(digest, None, sign)
                await _tell_defaults(connection, conninfo)
                return Reading(digest, await _answer(connection, QUERY), sign)
        except (psycopg.Error, QueryError, OSError) as error:  # TimeoutError is an OSError
            self.close()
            detail = one_line(str(error)) or f"no answer within {LIMIT_S:g} s"
            raise RouterError("the catalog could not be read", detail=detail) from error

    async def sign(self) -> str:
        """Return a cheap value that changes soon after any DDL (catalog_sign.sql); RouterError as in `read`."""
        if self._connection is None:
            raise RouterError("the catalog could not be read", detail="not connected")
        try:
            async with asyncio.timeout(LIMIT_S):
                return await _answer(self._connection, SIGN)
        except (psycopg.Error, QueryError, OSError) as error:
            self.close()
            raise RouterError("the catalog could not be read", detail=one_line(str(error))) from error

    async def _connected(self, conninfo: str) -> psycopg.AsyncConnection:
        if self._connection is None or conninfo != self._conninfo:
            self.close()
            self._connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
            self._conninfo = conninfo
            await login.settle(self._connection)
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()


async def _tell_defaults(connection: psycopg.AsyncConnection, conninfo: str) -> None:
    """Tell our session the defaults of users' sessions; a second session, which looks up no name, reports them."""
    conninfo = psycopg.conninfo.make_conninfo(conninfo, options=login.OPTIONS_OF_USERS)
    other = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    try:
        defaults = {name: await _answer(other, f"SHOW {name}") for name in DEFAULTS}
    finally:
        other.pgconn.finish()
    for name, value in defaults.items():
        literal = Escaping(connection.pgconn).escape_literal(value.encode()).decode()
        await _answer(connection, f"SELECT pg_catalog.set_config('pgrouter.default_{name}', {literal}, false)")


async def _answer(connection: psycopg.AsyncConnection, query: str) -> str:
    row = await ask(connection.pgconn, query.encode())
    return row[0] or "empty"
