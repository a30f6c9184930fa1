"""`pgrouter events [--follow]`: what has happened to the cluster and to the router, a line each."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import psycopg

from pgrouter.cli import remote

if TYPE_CHECKING:
    import argparse

    from pgrouter.cli.remote import Row

LOOK_EVERY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    remote.add_arguments(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="a JSON object per line")


def run(args: argparse.Namespace) -> int:
    """Print the events; return the exit code."""
    last = 0
    try:
        with remote.connected(args) as router:
            while True:
                for event in router.rows("EVENTS"):
                    if event["id"] > last:
                        last = event["id"]
                        sys.stdout.write(f"{json.dumps(event, default=str) if args.json else line(event)}\n")
                if not args.follow:
                    return 0
                sys.stdout.flush()
                time.sleep(LOOK_EVERY_S)
    except psycopg.Error as error:
        return remote.complain(error)
    except KeyboardInterrupt:
        return 130


def line(event: Row) -> str:
    """Return an event for people."""
    return " ".join(str(event[name]) for name in event if name != "id" and event[name] not in (None, ""))
