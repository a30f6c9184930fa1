"""`make suites`: the drivers' own tests, SQLAlchemy's and Django's, directly and through the router, and compares.

Every test that passes directly should pass through the router in transaction mode. Runs: `direct`; `pooled`, a router
in front of one primary; `replicas`, a router in front of a primary and a synchronous replica that gets the reads. The
suites come from PyPI, psycopg's from Debian's source package (or PGROUTER_PSYCOPG3_SOURCE names a directory). Sources,
environments, results and logs are kept in .oracle/suites; a run that is not asked for counts as it was last time.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from oracle.source import SourceError
from support.router import trusting

from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.streaming import StreamingCluster
from suites import results, sources
from suites.table import DATABASE, SUITES

if TYPE_CHECKING:
    from suites.table import Suite

CACHE = Path(__file__).parents[2] / ".oracle/suites"
RUNS = ("direct", "pooled", "replicas")
TIME_LIMIT_S = 3600
# Two-phase commits, as several suites try them; a replica must allow as many
COMMON = {"max_prepared_transactions": "20", "max_connections": "300"}
REPLICATED = {
    "synchronous_commit": "remote_apply", "synchronous_standby_names": "*", "hot_standby_feedback": "on",
}  # fmt: skip


def main() -> int:
    """Run what the arguments ask for; 0 when nothing is different but what is known to be."""
    names = [suite.name for suite in SUITES]
    parser = argparse.ArgumentParser(prog="suites", description=__doc__)
    parser.add_argument("--only", nargs="+", default=names, choices=names, help="only these suites")
    parser.add_argument("--runs", nargs="*", default=RUNS, choices=RUNS, help="only these runs (default: all)")
    parser.add_argument("--mode", default="transaction", help="pool mode (default: %(default)s)")
    parser.add_argument("--pool", type=int, default=40, help="server connections (default: %(default)s)")
    parser.add_argument("--tests", default="", metavar="WORDS", help="more for their command line: --tests='-k word'")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers and suites end, too
    unknown = 0
    for suite in SUITES:
        if suite.name not in args.only:
            continue
        try:
            place = sources.unpacked(suite, CACHE)
            command = [str(sources.environment(suite, place, CACHE)), *suite.command, *shlex.split(args.tests)]
        except SourceError as error:
            sys.stdout.write(f"{suite.name}: not run, {error}\n")
            unknown += args.only != names
            continue
        for run in args.runs:
            once(suite, run, command, args)
        unknown += report(suite)
    return 1 if unknown else 0


def once(suite: Suite, run: str, command: list[str], args: argparse.Namespace) -> None:
    """Run a suite on servers of its own, and keep its results."""
    out = CACHE / suite.name / run
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    replicas = run == "replicas"
    options = ServerOptions(auth="trust", parameters=COMMON | (REPLICATED if replicas else {}))
    with StreamingCluster(1 + replicas, options=options) as servers:
        servers.primary.sql(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        for statement in suite.prepare:
            servers.primary.sql(statement, dbname=DATABASE)
        if run == "direct":
            play(suite, servers.primary.port, command, out)
        else:
            with trusting(servers.servers, args.mode, args.pool, out / "router.log") as port:
                play(suite, port, command, out)


def play(suite: Suite, port: int, command: list[str], out: Path) -> None:
    """Start the suite and wait for its end."""
    words = {"port": port, "results": out / "results", "scratch": out}
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    environment = inherited | {name: text.format(**words) for name, text in suite.environment.items()}
    began = time.monotonic()
    with (out / "log").open("wb") as log:
        process = subprocess.Popen(
            [part.format(**words) for part in command], cwd=sources.unpacked(suite, CACHE) / suite.folder,
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            sys.stdout.write(f"{suite.name} {out.name}: stopped after the time limit\n")
        finally:
            stop(process)
    sys.stdout.write(f"{suite.name} {out.name}: {time.monotonic() - began:.0f} s, exit {process.returncode}\n")
    sys.stdout.flush()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End all that the suite has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def report(suite: Suite) -> int:
    """Print what differs; give the number of tests that are not known to."""
    direct = results.read(CACHE / suite.name / "direct/results")
    listed = results.known()
    new = 0
    for run in RUNS[1:]:
        routed = results.read(CACHE / suite.name / run / "results")
        if not routed:
            continue
        sys.stdout.write(f"{suite.name} {run}: {results.summary(direct, routed)}\n")
        for test in results.lost(direct, routed):
            reason = next((one.reason for one in listed if one.covers(suite.name, test)), "")
            new += not reason
            sys.stdout.write(f"  {'known' if reason else 'NEW'} {test} {routed.get(test, 'not run')} {reason}\n")
    return new


if __name__ == "__main__":
    sys.exit(main())
