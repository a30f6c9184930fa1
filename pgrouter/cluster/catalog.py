"""Reads a database's catalog from the primary, with psycopg, for routing."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import psycopg

from pgrouter.cluster.probe import one_line
from pgrouter.errors import RouterError
from pgrouter.routing.catalog_facts import Facts, read_facts

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
    """What a database has said: its digest, and the facts if that is not the digest that was known."""

    digest: str
    facts: Facts | None


async def read(conninfo: str, known: str = "") -> Reading:
    """Read the catalog unless its digest is `known`; RouterError when there is no primary or no answer."""
    try:
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)  # both answers of one moment
            await connection.set_read_only(True)
            await connection.execute("SET LOCAL search_path = pg_catalog")
            digest = await _answer(connection, DIGEST)
            if digest == known:
                return Reading(digest, None)
            return Reading(digest, read_facts(await _answer(connection, QUESTION)))
    except (psycopg.Error, OSError, msgspec.DecodeError) as error:
        raise RouterError("the catalog could not be read", detail=one_line(str(error))) from error


async def _answer(connection: psycopg.AsyncConnection, question: str) -> str:
    row = await (await connection.execute(question.encode())).fetchone()
    return (row and row[0]) or "empty"
