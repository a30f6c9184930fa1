"""`pgrouter run --config FILE`: the router in the foreground, until SIGTERM or SIGINT.

It logs to where the file says (`log`; stderr by default), from a line that identifies this router to one that says that
it has stopped, and prints `pgrouter ready: HOST:PORT` on stdout for each address when it accepts clients. The exit code
is 1 if it could not start; an invalid configuration is reported in the same lines as by `pgrouter check`.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pgrouter
from pgrouter.cli import check
from pgrouter.config.load import File
from pgrouter.errors import ConfigError
from pgrouter.logs import handler as logs

if TYPE_CHECKING:
    import argparse

    from pgrouter.config.settings import Settings

log = logging.getLogger("pgrouter")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--config", "-c", type=Path, metavar="FILE", help="the configuration file")
    one.add_argument("--pgpool-conf", type=Path, metavar="FILE", help="instead: Pgpool-II's pgpool.conf")
    parser.add_argument("--hba-file", type=Path, metavar="FILE", help="with --pgpool-conf: pool_hba.conf")
    parser.add_argument("--pcp-file", type=Path, metavar="FILE", help="with --pgpool-conf: pcp.conf")


def run(args: argparse.Namespace) -> int:
    """Run a router; return the exit code."""
    if args.pgpool_conf is not None:
        return _run_pgpool(args.pgpool_conf.absolute(), args.hba_file, args.pcp_file)
    settings = check.checked(args.config)
    if settings is None:
        return 1
    try:
        handler = logs.start(settings.log)
    except OSError as error:
        print(f"{args.config}: log: cannot write there: {error}", file=sys.stderr)  # noqa: T201  (there is no log)
        return 1
    from pgrouter import app  # noqa: PLC0415  (a wrong configuration is reported without importing everything)

    log.info("%s", first_words(args.config.absolute(), settings))
    return app.run(File(args.config.absolute()), settings, handler)


def _run_pgpool(path: Path, hba: Path | None, pcp: Path | None) -> int:
    from pgrouter.pgpool.convert import Given  # noqa: PLC0415  (not needed otherwise)
    from pgrouter.pgpool.main import PgpoolSource, serve_source  # noqa: PLC0415

    given = Given(hba and hba.absolute(), pcp and pcp.absolute())
    try:
        return serve_source(PgpoolSource(path, given, os.environ))
    except ConfigError as error:
        for problem in error.problems:
            print(f"{path}: {problem}", flush=True)  # noqa: T201  (as by `check`)
        return 1


def first_words(path: Path, settings: Settings) -> str:
    """Return a line that identifies this router, with its main settings and limits."""
    pool, compiled = settings.pool, "compiled" if pgrouter.COMPILED else "not compiled"
    addresses = ", ".join(f"{listen.host}:{listen.port} ({listen.mode})" for listen in settings.listen)
    limits = f"{pool.size} connections per member, database and user for {pool.max_clients} clients"
    return (
        f"pgrouter {pgrouter.__version__} ({compiled}, Python {platform.python_version()}), process {os.getpid()}, "
        f"configuration {path}: listens on {addresses}; cluster from {settings.cluster.source}; "
        f"{pool.mode} pooling, up to {limits}"
    )
