"""`make regress`: psql runs PostgreSQL's regression files directly and through the router, and compares.

A file counts as equal when the router's output is byte for byte that of a direct run: there are two by themselves, and
with --interleaved one with as many other clients (which keep VACUUM from pages, so that plans change). Of a file that
is different the report says whether the direct runs differ from each other, too. With --contrib the contrib modules'
files instead. Outputs and diffs are kept in .oracle/regress.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from oracle import source
from support.router import trusting

from pgrouter.demo.binaries import find_postgres
from regress import contrib, ground
from regress.ground import CACHE

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "regression"
LEFT_OUT = {"tablespace"}  # wants a directory in the server's own
DIRECT = {"direct": False, "again": False, "disturbed": True}  # runs without the router: with other clients?


def main() -> int:
    """Run what the arguments ask for; 0 when at least 210 files are equal."""
    parser = argparse.ArgumentParser(prog="regress", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="only these files (after test_setup), or modules")
    parser.add_argument("--contrib", action="store_true", help="the files of the contrib modules")
    parser.add_argument("--interleaved", type=int, default=0, metavar="N", help="N other clients share the servers")
    parser.add_argument("--replicas", action="store_true", help="with a synchronous replica that gets the reads")
    parser.add_argument("--mode", default="transaction", help="pool mode (default: %(default)s)")
    parser.add_argument("--pool", type=int, default=8, help="server connections (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=CACHE / "regress", help="where outputs go (default: %(default)s)")
    args = parser.parse_args()
    place = source.find(CACHE, find_postgres().major)
    if args.contrib:
        return contrib.run(args, place)
    core = next(source.suites(place, set()))
    files = [path for path in core.scripts if path.stem not in LEFT_OUT]
    if args.only:
        files = [path for path in files if path.stem in {"test_setup", *args.only}]
        args.out /= "only"  # what a file prints depends on those before it
    one = ground.options(replicas=False)
    for name, clients in DIRECT.items():
        if (args.interleaved or not clients) and (args.only or not (args.out / name).exists()):
            with (
                ground.cluster(one, 1, [DATABASE]) as servers,
                others(servers.primary.port, args.interleaved if clients else 0),
            ):
                ground.run_psql(files, servers.primary.port, DATABASE, args.out / name, core.directory)
    with (
        ground.cluster(ground.options(replicas=args.replicas), 1 + args.replicas, [DATABASE]) as servers,
        trusting(servers.servers, args.mode, args.pool, args.out / "router.log") as port,
        others(port, args.interleaved),
    ):
        ground.run_psql(files, port, DATABASE, args.out / "routed", core.directory)
    different = ground.compared([path.stem for path in files], args.out, list(DIRECT), ground.without_directory)
    return 0 if len(different) <= len(files) - 210 else 1


@contextmanager
def others(port: int, clients: int) -> Iterator[None]:
    """Let clients with settings and statements of their own use the same servers meanwhile."""
    stop = threading.Event()
    threads = [threading.Thread(target=disturb, args=(port, number, stop)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def disturb(port: int, number: int, stop: threading.Event) -> None:
    """Use servers for a moment each, with another search_path, time zone and prepared statements."""
    while not stop.is_set():
        try:
            dsn = f"host=127.0.0.1 port={port} user=postgres dbname={DATABASE}"
            with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
                connection.execute(f"SET application_name = 'other {number}'".encode())
                connection.execute("SET search_path = pg_catalog")
                connection.execute("SET datestyle = 'ISO, DMY'")
                connection.execute("SET timezone = 'Asia/Tokyo'")
                for turn in range(200):
                    if stop.wait(0.002):
                        return
                    connection.execute("SELECT %s::int + %s", (turn, number)).fetchall()
        except psycopg.Error as error:
            sys.stdout.write(f"another client: {error}\n")
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
