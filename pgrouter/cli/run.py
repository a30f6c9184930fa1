"""`pgrouter run --config FILE`: the router in the foreground, until SIGTERM or SIGINT.

It logs to stderr, from a line that identifies this router to one that says that it has stopped, and prints `pgrouter
ready: HOST:PORT` on stdout for each address when it accepts clients. The exit code is 1 if it could not start; an
invalid configuration is reported in the same lines as by `pgrouter check`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from typing import TYPE_CHECKING

import pgrouter
from pgrouter import logs
from pgrouter.cli import check
from pgrouter.config.load import File
from pgrouter.errors import RouterError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from pgrouter.config.settings import Settings

log = logging.getLogger("pgrouter")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    check.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run a router; return the exit code."""
    settings = check.checked(args.config)
    if settings is None:
        return 1
    handler = logs.start(settings.log.level)
    from pgrouter.app import serve  # noqa: PLC0415  (a wrong configuration is reported without importing everything)
    from pgrouter.net.loop import Loop  # noqa: PLC0415
    from pgrouter.proxy.data_plane import bug  # noqa: PLC0415

    log.info("%s", first_words(args.config.absolute(), settings))
    loop = Loop(on_bug=bug)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            code = runner.run(serve(File(args.config.absolute()), settings, loop, handler.tick))
    except (OSError, RouterError) as error:
        log.critical("cannot go on: %s", error)
        return 1
    log.info("stopped")
    return code


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
