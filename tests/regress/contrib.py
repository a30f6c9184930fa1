"""The contrib modules' own tests, each module in a database of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from oracle import source
from support.router import trusting

from regress import ground

if TYPE_CHECKING:
    import argparse

# Modules without a CREATE EXTENSION of their name
WITHOUT_EXTENSION = {"auto_explain", "passwordcheck", "test_decoding"}
# Where libpq looks when it is told no host, as in dblink's and postgres_fdw's files
SOCKETS = ",".join(place for place in ("/tmp", "/var/run/postgresql") if Path(place).is_dir())  # noqa: S108
PARAMETERS = {
    "wal_level": "logical", "max_prepared_transactions": "10", "shared_preload_libraries": "pg_stat_statements",
    "max_replication_slots": "10", "autovacuum": "off", "compute_query_id": "regress",
    "unix_socket_directories": SOCKETS,
}  # fmt: skip


def run(args: argparse.Namespace, place: Path) -> int:
    """Run them directly, if that has not been done yet, and through a router; 0 when at most one differs."""
    out = args.out / "contrib"
    options = ground.options(replicas=args.replicas, **PARAMETERS)
    with ground.cluster(options, 1, ()) as servers:
        installed = {name for (name,) in servers.primary.sql("select name from pg_available_extensions")}
    suites = [
        suite for suite in source.suites(place, installed | WITHOUT_EXTENSION)
        if suite.name not in ("core", "plpgsql") and (not args.only or suite.name in args.only)
    ]  # fmt: skip
    names = [suite.name for suite in suites]
    for name in ("direct", "again"):
        missing = [suite for suite in suites if not (out / name / suite.name).exists()]
        if missing:
            with ground.cluster(ground.options(replicas=False, **PARAMETERS), 1, names) as servers:
                play(missing, servers.primary.port, out / name)
    log = args.out / "contrib.log"
    out.mkdir(parents=True, exist_ok=True)
    with (
        ground.cluster(options, 2 if args.replicas else 1, names) as servers,
        trusting(servers.servers, args.mode, args.pool, log) as port,
    ):
        play(suites, port, out / "routed")
    scripts = [f"{suite.name}/{path.stem}" for suite in suites for path in suite.scripts]
    different = ground.compared(scripts, out, ("direct", "again"), plain)
    lost = sorted({name.partition("/")[0] for name in different})
    sys.stdout.write(f"{len(names) - len(lost)} of {len(names)} modules equal; not {' '.join(lost)}\n")
    return 0 if len(lost) <= 1 else 1


def plain(text: str, run: Path) -> str:
    """Leave out directories and the servers' ports."""
    return re.sub(r"(?<=[. ])\d{5}\b(?=\"? failed)", "PORT", ground.without_directory(text, run))


def play(suites: list[source.Suite], port: int, out: Path) -> None:
    """Run the modules' scripts."""
    for suite in suites:
        ground.run_psql(suite.scripts, port, suite.name, out / suite.name, suite.directory)
