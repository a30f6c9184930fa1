"""Reads a database's catalog from the primary, with psycopg, for routing."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
import psycopg

from pgrouter.cluster.probe import one_line
from pgrouter.errors import RouterError
from pgrouter.routing.catalog_facts import Facts, read_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgrouter.config.settings import Monitor

QUESTION = files("pgrouter.cluster").joinpath("catalog.sql").read_text()
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
        options=f"-c statement_timeout={int(TIMEOUT_S * 1000)} -c search_path=pg_catalog",
    )


def read(conninfo: str) -> Facts:
    """Read the catalog; blocks. RouterError when there is no primary or it does not answer."""
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            row = connection.execute(QUESTION.encode()).fetchone()
        return read_facts(row[0])
    except (psycopg.Error, OSError, msgspec.DecodeError) as error:
        raise RouterError("the catalog could not be read", detail=one_line(str(error))) from error
