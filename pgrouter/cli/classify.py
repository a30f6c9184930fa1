"""`pgrouter classify`: where each statement of a stream would go, for scripts.

JSON lines {"id", "sql"} on stdin, {"id", "route", "reason"} on stdout, flushed, in order. `route` is primary, replica,
session (concerns the session's state: SET, BEGIN, ...) or error (does not parse). Each line is classified by itself,
outside a transaction.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pgrouter.cluster.monitor import Monitor
from pgrouter.config.load import load
from pgrouter.control.catalog_reader import CatalogReader, conninfo
from pgrouter.errors import ConfigError, RouterError
from pgrouter.libpq.connection import protection
from pgrouter.planes import NoSubscriber
from pgrouter.routing.catalog import UNKNOWN, Catalog, configured
from pgrouter.routing.catalog_build import Judged
from pgrouter.routing.catalog_facts import read_facts
from pgrouter.routing.classify import classify
from pgrouter.routing.explain import reason_of

if TYPE_CHECKING:
    import argparse

    from pgrouter.config.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--config", type=Path, help="configuration that says which functions read or write")
    parser.add_argument("--database", default="postgres", help="database whose catalog is read (default: %(default)s)")
    parser.add_argument("--user", default="postgres", help="user as whom names are looked up (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Answer line by line until stdin ends; return 1 if the configuration is not valid."""
    catalog = catalog_for(args)
    if catalog is None:
        return 1
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    answer_all(sys.stdin, sys.stdout, catalog)
    return 0


def catalog_for(args: argparse.Namespace) -> Catalog | None:
    """Return what the database and the configuration say; None on failure, with the reasons on stderr."""
    if args.config is None:
        return UNKNOWN
    try:
        settings = load(args.config)
    except ConfigError as error:
        sys.stderr.write("".join(f"{args.config}: {problem}\n" for problem in error.problems))
        return None
    try:
        return asyncio.run(_read(settings, args.database, args.user))
    except RouterError as error:
        sys.stderr.write(f"{error.message}: {error.detail}\n")
        return None


async def _read(settings: Settings, database: str, user: str) -> Catalog:
    """Read the catalog from whichever member is the primary."""
    protected = protection(settings.servers)
    monitor = Monitor(settings.cluster, protection=protected)
    await monitor.start(NoSubscriber())
    members = [(member.host, member.port) for member in monitor.view.members]
    await monitor.stop()
    address = conninfo(members, database, settings.cluster.monitor, protected)
    reader = CatalogReader()
    reading = await reader.read(address)
    reader.close()
    return Judged(read_facts(reading.document or ""), configured(settings.routing)).catalog(user)


def answer_all(lines: TextIO, out: TextIO, catalog: Catalog) -> None:
    """Write one answer per non-empty line."""
    for line in lines:
        if line.strip():
            out.write(json.dumps(answer(line, catalog)) + "\n")
            out.flush()


def answer(line: str, catalog: Catalog) -> dict[str, object]:
    """Classify one line; an invalid request is answered with an error, and the next line is read."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"id": None, "route": "error", "reason": f"not JSON: {error}"}
    if not isinstance(request, dict) or not isinstance(request.get("sql"), str):
        ident = request.get("id") if isinstance(request, dict) else None
        return {"id": ident, "route": "error", "reason": 'not a request: {"id": ..., "sql": "..."} is'}
    statement = classify(request["sql"], catalog)
    return {"id": request.get("id"), "route": statement.target.name.lower(), "reason": reason_of(statement)}
