"""`pgrouter status [--json]`: a running router at one look; the exit code says whether writes go somewhere.

0: they do; 2: they do not; 1: the router does not answer.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import psycopg

from pgrouter.cli import remote

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pgrouter.cli.remote import Remote

MEMBERS = ("name", "host", "port", "role", "writable", "readable", "lag_bytes", "sv_active", "sv_idle", "reason")
POOLS = ("database", "user", "cl_active", "cl_waiting", "maxwait", "sv_active", "sv_idle", "pool_mode")
NO_PRIMARY = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    remote.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="all of it, as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the status; return the exit code."""
    try:
        with remote.connected(args) as router:
            found = status(router)
    except psycopg.Error as error:
        return remote.complain(error)
    text = json.dumps(found, default=str) if args.json else "\n".join(lines(found))
    sys.stdout.write(f"{text}\n")
    return 0 if any(member["writable"] for member in found["members"]) else NO_PRIMARY


def status(router: Remote) -> dict[str, Any]:
    """Return what a router says of itself."""
    (version,) = router.rows("VERSION")
    return {
        "version": version["version"],
        "state": {row["key"]: row["value"] for row in router.rows("STATE")},
        "lists": {row["list"]: row["items"] for row in router.rows("LISTS")},
        "members": router.rows("CLUSTER"),
        "pools": router.rows("POOLS"),
        "databases": router.rows("STATS_TOTALS"),
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the same for people."""
    state, lists = found["state"], found["lists"]
    writes = (
        f"writes go to {state['primary']}" if any(one["writable"] for one in found["members"]) else state["primary"]
    )
    yield found["version"]
    yield f"{writes}; {lists.get('used_clients', 0)} clients, {lists.get('used_servers', 0)} servers in use"
    yield ""
    yield from remote.as_text(found["members"], MEMBERS)
    yield ""
    yield from remote.as_text(found["pools"], POOLS)
