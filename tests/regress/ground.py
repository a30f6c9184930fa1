"""Servers, psql's surroundings and comparison, for everything that runs PostgreSQL's own tests."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pgrouter.demo.binaries import find_postgres
from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CACHE = Path(__file__).parents[2] / ".oracle"
TIME_LIMIT_S = 180
# As pg_regress sets it: convert_sourcefiles and initialize_environment, pg_regress.c
ENVIRONMENT = {
    "PGTZ": "PST8PDT", "PGDATESTYLE": "Postgres, MDY", "LC_MESSAGES": "C", "LC_ALL": "C", "PGUSER": "postgres",
    "PGOPTIONS": "-c intervalstyle=postgres_verbose", "PGDLSUFFIX": ".so", "PG_DLSUFFIX": ".so",
}  # fmt: skip
AS_PG_REGRESS = ("lc_messages", "lc_monetary", "lc_numeric", "lc_time")
CLUSTER = {"synchronous_commit": "on", "max_prepared_transactions": "0"}
REPLICATED = {"synchronous_commit": "remote_apply", "synchronous_standby_names": "*", "hot_standby_feedback": "on"}


def options(*, replicas: bool, **more: str) -> ServerOptions:
    """Give the servers' options."""
    return ServerOptions(auth="trust", parameters=(REPLICATED if replicas else CLUSTER) | more)


@contextmanager
def cluster(options: ServerOptions, members: int, databases: Sequence[str]) -> Iterator[StreamingCluster]:
    """Give servers with databases as pg_regress makes them."""
    with StreamingCluster(members, options=options) as servers:
        for database in databases:
            servers.primary.sql(f'CREATE DATABASE "{database}" TEMPLATE template0')
            for name in AS_PG_REGRESS:
                servers.primary.sql(f"ALTER DATABASE \"{database}\" SET {name} TO 'C'")
            servers.primary.sql(f"ALTER DATABASE \"{database}\" SET bytea_output TO 'hex'")
            servers.primary.sql(f"ALTER DATABASE \"{database}\" SET timezone_abbreviations TO 'Default'")
        yield servers


def run_psql(files: Sequence[Path], port: int, database: str, out: Path, directory: Path) -> None:
    """Run the files in order, each in a psql of its own, and keep what it prints."""
    (out / "results").mkdir(parents=True, exist_ok=True)
    environment = {
        "PGDATABASE": database, "PG_ABS_SRCDIR": str(directory), "PG_ABS_BUILDDIR": str(out),
        "PG_LIBDIR": str(directory),
    }  # fmt: skip
    psql = str(find_postgres().program("psql"))
    command = [psql, "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]
    began = time.monotonic()
    for path in files:
        printed(command, path, out / f"{path.stem}.out", port, environment)
    sys.stdout.write(f"{out.name}: {len(files)} files, {time.monotonic() - began:.0f} s\n")
    sys.stdout.flush()


def printed(command: Sequence[str], script: Path, out: Path, port: int, environment: dict[str, str]) -> None:
    """Run a program with a script as its input, and keep what it prints."""
    surroundings = os.environ | ENVIRONMENT | {"PGHOST": "127.0.0.1", "PGPORT": str(port)} | environment
    with script.open("rb") as read, out.open("wb") as written:
        try:
            subprocess.run(
                command, stdin=read, stdout=written, stderr=subprocess.STDOUT, env=surroundings, check=False,
                timeout=TIME_LIMIT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            written.write(b"\nregress: stopped after the time limit\n")


def compared(names: Sequence[str], out: Path, runs: Sequence[str], plain: Callable[[str, Path], str]) -> list[str]:
    """Give the names of outputs in out/routed that are those of none of the direct runs; keep and tell the differences.

    `plain` leaves out of an output of a run in a directory what is the run's own.
    """
    unstable, different = [], []
    for name in names:
        direct = [lines(out / run, name, plain) for run in runs if (out / run / f"{name}.out").exists()]
        routed = lines(out / "routed", name, plain)
        difference = out / f"{name}.diff"
        difference.unlink(missing_ok=True)
        if routed in direct:
            continue
        (different if all(one == direct[0] for one in direct) else unstable).append(name)
        text = "".join(difflib.unified_diff(direct[0], routed, "direct", "routed", n=3))
        difference.parent.mkdir(parents=True, exist_ok=True)
        difference.write_bytes(text.encode("utf-8", "surrogateescape"))
    equal = len(names) - len(unstable) - len(different)
    sys.stdout.write(
        f"{equal} of {len(names)} equal, {len(unstable)} that differ from run to run: {' '.join(unstable)}\n"
        f"different: {' '.join(different)}\n"
    )
    return unstable + different


def lines(run: Path, name: str, plain: Callable[[str, Path], str]) -> list[str]:
    """Give an output by lines."""
    text = (run / f"{name}.out").read_bytes().decode("utf-8", "surrogateescape")
    return plain(text, run).splitlines(keepends=True)


def without_directory(text: str, run: Path) -> str:
    """Leave out the directory that is the run's own."""
    return text.replace(str(run), "BUILDDIR")
