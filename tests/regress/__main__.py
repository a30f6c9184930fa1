"""`make regress`: psql runs PostgreSQL's regression files directly and through the router, and compares.

A file counts as equal when the router's output is byte for byte that of a direct run: there are two by themselves, and
with --interleaved one with as many other clients (which keep VACUUM from pages, so that plans change). Of a file that
is different the report says whether the direct runs differ from each other, too. Outputs and diffs are kept in
.oracle/regress.
"""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
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
from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = Path(__file__).parents[2] / ".oracle"
DATABASE = "regression"
LEFT_OUT = {"tablespace"}  # wants a directory in the server's own
TIME_LIMIT_S = 180
DIRECT = {"direct": False, "again": False, "disturbed": True}  # runs without the router: with other clients?
# As pg_regress sets it: convert_sourcefiles and initialize_environment, pg_regress.c
ENVIRONMENT = {
    "PGTZ": "PST8PDT", "PGDATESTYLE": "Postgres, MDY", "LC_MESSAGES": "C", "LC_ALL": "C", "PGUSER": "postgres",
    "PGOPTIONS": "-c intervalstyle=postgres_verbose", "PGDLSUFFIX": ".so", "PG_DLSUFFIX": ".so",
}  # fmt: skip
AS_PG_REGRESS = ("lc_messages", "lc_monetary", "lc_numeric", "lc_time")
CLUSTER = ServerOptions(auth="trust", parameters={"synchronous_commit": "on", "max_prepared_transactions": "0"})
REPLICATED = ServerOptions(
    auth="trust",
    parameters={"synchronous_commit": "remote_apply", "synchronous_standby_names": "*", "hot_standby_feedback": "on"},
)


def main() -> int:
    """Run what the arguments ask for; 0 when at least 210 files are equal."""
    parser = argparse.ArgumentParser(prog="regress", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="only these files (after test_setup)")
    parser.add_argument("--interleaved", type=int, default=0, metavar="N", help="N other clients share the servers")
    parser.add_argument("--replicas", action="store_true", help="with a synchronous replica that gets the reads")
    parser.add_argument("--mode", default="transaction", help="pool mode (default: %(default)s)")
    parser.add_argument("--pool", type=int, default=8, help="server connections (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=CACHE / "regress", help="where outputs go (default: %(default)s)")
    args = parser.parse_args()
    core = next(source.suites(source.find(CACHE, find_postgres().major), set()))
    files = [path for path in core.scripts if path.stem not in LEFT_OUT]
    if args.only:
        files = [path for path in files if path.stem in {"test_setup", *args.only}]
        args.out /= "only"  # what a file prints depends on those before it
    for name, clients in DIRECT.items():
        if (args.interleaved or not clients) and (args.only or not (args.out / name).exists()):
            with cluster(CLUSTER, 1) as servers, others(servers.primary.port, args.interleaved if clients else 0):
                run(files, servers.primary.port, args.out / name, core.directory)
    members, options = (2, REPLICATED) if args.replicas else (1, CLUSTER)
    log = args.out / "router.log"
    with (
        cluster(options, members) as servers,
        trusting(servers.servers, args.mode, args.pool, log) as port,
        others(port, args.interleaved),
    ):
        run(files, port, args.out / "routed", core.directory)
    return report(files, args.out)


@contextmanager
def cluster(options: ServerOptions, members: int) -> Iterator[StreamingCluster]:
    """Give servers with the suite's database."""
    with StreamingCluster(members, options=options) as servers:
        servers.primary.sql(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        for name in AS_PG_REGRESS:
            servers.primary.sql(f"ALTER DATABASE {DATABASE} SET {name} TO 'C'")
        servers.primary.sql(f"ALTER DATABASE {DATABASE} SET bytea_output TO 'hex'")
        servers.primary.sql(f"ALTER DATABASE {DATABASE} SET timezone_abbreviations TO 'Default'")
        yield servers


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


def run(files: list[Path], port: int, out: Path, directory: Path) -> None:
    """Run the files in order, each in a psql of its own, and keep what it prints."""
    (out / "results").mkdir(parents=True, exist_ok=True)
    environment = os.environ | ENVIRONMENT | {
        "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGDATABASE": DATABASE,
        "PG_ABS_SRCDIR": str(directory), "PG_ABS_BUILDDIR": str(out), "PG_LIBDIR": str(directory),
    }  # fmt: skip
    psql = str(find_postgres().program("psql"))
    command = [psql, "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]
    began = time.monotonic()
    for path in files:
        with path.open("rb") as script, (out / f"{path.stem}.out").open("wb") as printed:
            try:
                subprocess.run(
                    command, stdin=script, stdout=printed, stderr=subprocess.STDOUT, env=environment, check=False,
                    timeout=TIME_LIMIT_S,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                printed.write(b"\nregress: stopped after the time limit\n")
    sys.stdout.write(f"{out.name}: {len(files)} files, {time.monotonic() - began:.0f} s\n")


def report(files: list[Path], out: Path) -> int:
    """Print which files differ, and keep the differences."""
    equal, unstable, different = [], [], []
    for path in files:
        direct = [plain(out, name, path.stem) for name in DIRECT if (out / name / f"{path.stem}.out").exists()]
        routed = plain(out, "routed", path.stem)
        difference = out / f"{path.stem}.diff"
        difference.unlink(missing_ok=True)
        if routed in direct:
            equal.append(path.stem)
            continue
        (different if all(one == direct[0] for one in direct) else unstable).append(path.stem)
        lines = difflib.unified_diff(direct[0], routed, "direct", "routed", n=3)
        difference.write_bytes(b"".join(line.encode("utf-8", "surrogateescape") for line in lines))
    sys.stdout.write(
        f"{len(equal)} of {len(files)} equal, {len(unstable)} that differ from run to run: {' '.join(unstable)}\n"
        f"different: {' '.join(different)}\n"
    )
    return 0 if len(different) + len(unstable) <= len(files) - 210 else 1


def plain(out: Path, name: str, stem: str) -> list[str]:
    """Give a run's output by lines, without the directory that is the run's own."""
    text = (out / name / f"{stem}.out").read_bytes().decode("utf-8", "surrogateescape")
    return text.replace(str(out / name), "BUILDDIR").splitlines(keepends=True)


if __name__ == "__main__":
    sys.exit(main())
