"""`pgrouter run --config FILE`: the router in the foreground, until SIGTERM or SIGINT.

It logs to stderr and prints `pgrouter ready: HOST:PORT` on stdout for each address when it accepts clients. The exit
code is 1 when it could not start; a configuration that cannot be used is told in the lines of `pgrouter check`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

from pgrouter.cli import check
from pgrouter.errors import RouterError

if TYPE_CHECKING:
    import argparse

    from pgrouter.config.settings import Log

log = logging.getLogger("pgrouter")

LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    check.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run a router; gives the exit code."""
    settings = check.checked(args.config)
    if settings is None:
        return 1
    start_logging(settings.log)
    from pgrouter.app import serve  # noqa: PLC0415  (a wrong configuration is told without the whole house)
    from pgrouter.net.loop import Loop  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            return runner.run(serve(args.config.absolute(), settings, runner.get_loop()))
    except (OSError, RouterError) as error:
        log.critical("cannot go on: %s", error)
        return 1


def start_logging(settings: Log) -> None:
    """Write log lines to stderr: of all rooms from the configured level on, of libraries from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LINE))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    log.setLevel(settings.level.upper())
