"""The command `pgrouter`: finds the subcommand and runs it.

A subcommand's module is imported only when it is needed: `--version` is fast, and a broken package does not break
commands that do not use it.
"""

from __future__ import annotations

import argparse
import platform
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pgrouter

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "run": "run the router in the foreground",
    "demo": "start a real cluster on this machine with a router in front of it",
    "check": "say everything that is wrong with a configuration file",
    "convert": "write another pooler's configuration as YAML",
    "explain": "say where a statement goes, and why",
    "classify": "read statements as JSON lines and say where each goes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand named by the arguments (default: `sys.argv`); return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(words).parse_args(words)
    except ModuleNotFoundError as missing:
        if "demo" not in words:  # only the demo needs packages that `pip install pgrouter` does not install
            raise
        sys.stderr.write(f"pgrouter demo needs the package {missing.name}: pip install 'pgrouter[demo]'\n")
        return 1
    if args.version:
        print(version())  # noqa: T201  (what was asked for)
        return 0
    return int(args.run(args))


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pgrouter", description="One address in front of a PostgreSQL cluster.")
    parser.add_argument("--version", action="store_true", help="print versions and whether it is compiled")
    wanted = next((word for word in words if not word.startswith("-")), "")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required="--version" not in words)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == wanted:
            module = import_module(f"pgrouter.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def version() -> str:
    """Return the versions of everything that affects how the router behaves, one per line."""
    return "\n".join(
        (
            f"pgrouter {pgrouter.__version__}",
            f"compiled: {'yes' if pgrouter.COMPILED else 'no (plain Python, slow)'}",
            f"Python {platform.python_version()}",
            f"PostgreSQL parser {_parser_version()}",
        )
    )


def _parser_version() -> str:
    try:
        import pglast  # noqa: PLC0415  (only --version pays for it)
    except ImportError as error:
        return f"missing ({error})"
    return f"{'.'.join(map(str, pglast.get_postgresql_version()))} (pglast {pglast.__version__.removeprefix('v')})"


if __name__ == "__main__":
    sys.exit(main())
