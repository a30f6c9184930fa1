"""`pgrouter check --config FILE`: exit code 0 and `FILE: ok`, or 1 and `FILE: path.to.key: what is wrong` lines.

With `--connect` everything that the file names is tried, a line each, `ok` or `FAILED`; the exit code is 1 if one has
failed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pgrouter.auth.files import AuthFiles
from pgrouter.config.load import load
from pgrouter.errors import ConfigError
from pgrouter.pcp.users import PcpUsers

if TYPE_CHECKING:
    import argparse

    from pgrouter.config.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    parser.add_argument("--connect", action="store_true", help="try everything that the file names, and say what works")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare the argument that names the configuration file."""
    parser.add_argument("--config", "-c", type=Path, required=True, metavar="FILE", help="the configuration file")


def run(args: argparse.Namespace) -> int:
    """Check a configuration and everything it refers to."""
    settings = checked(args.config)
    if settings is None:
        return 1
    if args.connect:
        return 0 if connects(settings) else 1
    print(f"{args.config}: ok")  # noqa: T201  (the contract)
    return 0


def connects(settings: Settings) -> bool:
    """Try everything that the file names, and say what works; whether all of it does."""
    from pgrouter.cli.attempts import attempts  # noqa: PLC0415  (only for this)

    works = True
    for attempt in attempts(settings):
        works = works and attempt.works
        print(f"{'ok    ' if attempt.works else 'FAILED'}  {attempt.what}: {attempt.found}", flush=True)  # noqa: T201
    return works


def checked(path: Path) -> Settings | None:
    """Return the settings of a file; None if it is not valid, after printing every problem, one per line."""
    try:
        settings = load(path)
        AuthFiles.load(settings.auth)
        if settings.pcp is not None:
            PcpUsers.load(settings.pcp.users_file)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{path}: {problem}", flush=True)  # noqa: T201  (the contract)
        return None
    return settings
