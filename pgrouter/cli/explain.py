"""`pgrouter explain "SQL"`: where a statement would go and why, for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgrouter.cli import classify as classify_command
from pgrouter.routing.classify import classify
from pgrouter.routing.explain import explain
from pgrouter.routing.statement import Target

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("sql", help="one statement, or several separated by semicolons")
    classify_command.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the explanation; return 1 if the statement does not parse."""
    catalog = classify_command.catalog_for(args)
    if catalog is None:
        return 1
    statement = classify(args.sql, catalog)
    sys.stdout.write("\n".join(explain(args.sql, statement)) + "\n")
    return 1 if statement.target is Target.ERROR else 0
