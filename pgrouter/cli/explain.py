"""`pgrouter explain "SQL"`: where a statement would go and why, for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgrouter.cli import classify as classify_command
from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Effect, Statement, Target, Tx

if TYPE_CHECKING:
    import argparse

_MEANING = {
    Target.PRIMARY: "primary",
    Target.REPLICA: "replica",
    Target.SESSION: "session (the server that the session is on, else the primary)",
    Target.ERROR: "error (the primary gets it and says what is wrong)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("sql", help="one statement, or several separated by semicolons")
    classify_command.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the explanation; 1 when the statement does not parse."""
    catalog = classify_command.catalog_for(args)
    if catalog is None:
        return 1
    statement = classify(args.sql, catalog)
    sys.stdout.write("\n".join(explain(args.sql, statement)) + "\n")
    return 1 if statement.target is Target.ERROR else 0


def explain(sql: str, statement: Statement) -> list[str]:
    """Give the lines that say target, reason, its place in the text, and what was looked up."""
    lines = [f"route:      {_route(statement)}", f"reason:     {classify_command.reason_of(statement)}"]
    if statement.position >= 0:
        lines += _pointer(sql, statement.position)
    for title, names in (("functions", statement.functions), ("relations", statement.relations)):
        if names:
            lines.append(f"{title + ':':<12}{', '.join(names)}")
    effects = [effect.name.lower().replace("_", " ") for effect in Effect if effect & statement.effects and effect.name]
    if effects:
        lines.append(f"may leave:  {', '.join(effects)}")
    return lines


def _route(statement: Statement) -> str:
    if statement.target is Target.SESSION and statement.tx is Tx.BEGIN_READ_ONLY:
        return "session (a read-only transaction: a replica runs all of it)"
    return _MEANING[statement.target]


def _pointer(sql: str, position: int) -> list[str]:
    """Show the line of the text that holds the byte at `position`, and a mark under it."""
    before = sql.encode("utf-8", "replace")[:position].decode("utf-8", "replace")
    start = before.rfind("\n") + 1
    line = sql[start:].partition("\n")[0]
    blank = "".join("\t" if character == "\t" else " " for character in before[start:])
    return [f"at:         {line}", f"            {blank}^"]
