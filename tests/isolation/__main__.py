"""`make isolation`: isolationtester runs PostgreSQL's isolation specs directly and through the router, and compares.

A spec counts as equal when the router's output is byte for byte that of a direct run, but for whose a notification is.
isolationtester comes with the client programs of PostgreSQL, the specs come from Debian's source package
(tests/oracle/source.py). It asks the server whether a session is blocked by the process ids of the logins; through the
router the same is answered by application_name (blocked.sql). Three specs ask for process ids themselves and cannot be
equal. Outputs are kept in .oracle/isolation.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from oracle import source
from regress import ground
from support.router import trusting

from pgrouter.demo.binaries import find_postgres

if TYPE_CHECKING:
    from pgrouter.demo.postgres import Server

DATABASE = "isolation_regression"
TESTER = "pgxs/src/test/isolation/isolationtester"
STUCK_S = "8"  # a step is cancelled after twice that
BLOCKED = (Path(__file__).parent / "blocked.sql").read_text()
SESSION = re.compile(r'^\s*session\s+("(?:[^"]|"")+"|\w+)', re.MULTILINE)
PIDS = {"detach-partition-concurrently-3", "detach-partition-concurrently-4", "temp-schema-cleanup"}


def main() -> int:
    """Run what the arguments ask for; 0 when nothing differs but what must."""
    parser = argparse.ArgumentParser(prog="isolation", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="only these specs")
    parser.add_argument("--replicas", action="store_true", help="with a synchronous replica that gets the reads")
    parser.add_argument("--pool", type=int, default=20, help="server connections (default: %(default)s)")
    parser.add_argument("--mode", default="transaction", help="pool mode (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ground.CACHE / "isolation", help="where outputs go")
    args = parser.parse_args()
    specs = scheduled(source.find(ground.CACHE, find_postgres().major) / "src/test/isolation")
    if args.only:
        specs = [path for path in specs if path.stem in args.only]
    too_many = [path for path in specs if len(sessions(path)) + 1 > args.pool]  # with isolationtester's own
    specs = [path for path in specs if path not in too_many]
    play_directly(specs, args.out / "direct")
    routed = args.out / "routed"
    shutil.rmtree(routed, ignore_errors=True)
    with (
        ground.cluster(ground.options(replicas=args.replicas), 1 + args.replicas, [DATABASE]) as servers,
        trusting(servers.servers, args.mode, args.pool, args.out / "router.log") as port,
    ):
        servers.primary.sql(BLOCKED, DATABASE)
        play(specs, port, routed, servers.primary)
    if too_many:
        sys.stdout.write(f"left out, more sessions than server connections: {' '.join(p.stem for p in too_many)}\n")
    different = compared(specs, args.out)
    if set(different) - PIDS:  # by itself, too?
        play_directly([path for path in specs if path.stem in different], args.out / "again")
        different = compared(specs, args.out)
    return 1 if set(different) - PIDS else 0


def compared(specs: list[Path], out: Path) -> list[str]:
    """Give the names of the specs that differ."""
    return ground.compared([path.stem for path in specs], out, ("direct", "again"), plain)


def plain(text: str, _run: Path) -> str:
    """Leave out who has notified: the process id in another session's notification is that of the server connection."""
    return re.sub(r"(: NOTIFY .* with payload .*) from .*", r"\1", text)


def scheduled(directory: Path) -> list[Path]:
    """Give the specs in the order of their schedule."""
    lines = re.findall(r"^test: (.*)$", (directory / "isolation_schedule").read_text(), re.MULTILINE)
    return [directory / f"specs/{name}.spec" for line in lines for name in line.split()]


def play_directly(specs: list[Path], out: Path) -> None:
    """Run the specs of which there is no output yet on a server."""
    missing = [path for path in specs if not (out / f"{path.stem}.out").exists()]
    if missing:
        with ground.cluster(ground.options(replicas=False), 1, [DATABASE]) as servers:
            play(missing, servers.primary.port, out)


def play(specs: list[Path], port: int, out: Path, named_on: Server | None = None) -> None:
    """Run specs in order; `named_on`: where blocked.sql is told what their sessions are called."""
    out.mkdir(parents=True, exist_ok=True)
    binaries = find_postgres()
    command = [str(tester(binaries.program("psql"))), f"dbname={DATABASE}"]
    began = time.monotonic()
    for path in specs:
        if named_on:
            name_sessions(path, named_on)
        environment = {"PG_TEST_TIMEOUT_DEFAULT": STUCK_S, "PGAPPNAME": "isolation"}
        ground.printed(command, path, out / f"{path.stem}.out", port, environment)
    sys.stdout.write(f"{out.name}: {len(specs)} specs, {time.monotonic() - began:.0f} s\n")
    sys.stdout.flush()


def name_sessions(spec: Path, server: Server) -> None:
    """Tell the server the names of a spec's sessions, in order."""
    rows = f"unnest(array{sessions(spec)}) with ordinality as names (name, place)"
    server.sql(f"truncate isolation_sessions; insert into isolation_sessions select place, name from {rows}", DATABASE)  # noqa: S608


def sessions(spec: Path) -> list[str]:
    """Give the names of a spec's sessions, in order."""
    return [name.strip('"') for name in SESSION.findall(spec.read_text())]


def tester(psql: Path) -> Path:
    """Give isolationtester, which comes with the programs and not with all packages of them."""
    places = (psql.parents[1] / "lib", psql.parents[1] / "lib/postgresql", *psql.parents[1].glob("lib/*"))
    return next((place / TESTER for place in places if (place / TESTER).exists()), Path("isolationtester"))


if __name__ == "__main__":
    sys.exit(main())
