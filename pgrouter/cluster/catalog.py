"""Reads a database's catalog from the primary, with psycopg, for routing."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from pgrouter.cluster.probe import one_line
from pgrouter.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgrouter.config.settings import Monitor

_SQL = files("pgrouter.cluster")
QUESTION = _SQL.joinpath("catalog.sql").read_text()
DIGEST = _SQL.joinpath("catalog_digest.sql").read_text()
TIMEOUT_S = 30.0  # a catalog of 100,000 objects takes a second


def conninfo(addresses: Sequence[tuple[str, int]], database: str, settings: Monitor) -> str:
    """Build the connection string for whichever of these servers is the primary."""
    return psycopg.conninfo.make_conninfo(
        host=",".join(host for host, _ in addresses),
        port=",".join(str(port) for _, port in addresses),
        dbname=database,
        user=settings.user,
        password=settings.password,
        target_session_attrs="read-write",
        connect_timeout=max(2, int(settings.timeout_s)),
        application_name="pgrouter catalog",
        options=f"-c statement_timeout={int(TIMEOUT_S * 1000)}",
    )


class Reading(NamedTuple):
    """What a database has said: its digest, and its catalog (see catalog_facts) if that is not the known digest."""

    digest: str
    document: str | None


class Reader:
    """Asks one database for its catalog, over a connection that is kept: logging in costs more than the question."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection | None = None
        self._conninfo = ""

    async def read(self, conninfo: str, known: str = "") -> Reading:
        """Read the catalog unless its digest is `known`; RouterError when there is no primary or no answer."""
        try:
            connection = await self._connected(conninfo)
            async with connection.transaction():
                await connection.execute("SET LOCAL search_path = pg_catalog")
                digest = await _answer(connection, DIGEST)
                if digest == known:
                    return Reading(digest, None)
                return Reading(digest, await _answer(connection, QUESTION))
        except (psycopg.Error, OSError) as error:
            await self.close()
            raise RouterError("the catalog could not be read", detail=one_line(str(error))) from error

    async def _connected(self, conninfo: str) -> psycopg.AsyncConnection:
        if self._connection is None or conninfo != self._conninfo:
            await self.close()
            self._connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
            self._conninfo = conninfo
            await self._connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)  # answers of one moment
            await self._connection.set_read_only(True)
        return self._connection

    async def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _answer(connection: psycopg.AsyncConnection, question: str) -> str:
    row = await (await connection.execute(question.encode())).fetchone()
    return (row and row[0]) or "empty"
