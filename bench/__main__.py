"""Measures pgrouter beside PgBouncer, HAProxy, Pgpool-II and a bare relay on real servers: `make bench`.

Figures of a full run go to bench/results and into README.md; those of any other run to build/bench/results.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import os
import platform
import random
import resource
import sys
from pathlib import Path

from bench import programs, report, subjects
from bench.cases import CASES, Case
from bench.rounds import Tournament
from bench.servers import Servers
from bench.subjects import DEFAULT, FINDERS, HERE

# pgbench runs for whole seconds, and a tenth of each run is for warming up
FULL = (4, 1.7)  # rounds, seconds of a run
QUICK = (2, 0.85)
FULL_MINUTES, QUICK_MINUTES = 13.5, 2.3  # on a busy machine there are fewer rounds then


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [case.name for case in CASES]
    parser.add_argument("--quick", action="store_true", help="fewer cases, two short rounds: under three minutes")
    parser.add_argument("--rounds", type=int, help="how often everybody has a turn (4; quick: 2; fewer if slow)")
    parser.add_argument("--seconds", type=float, help="of one run, after the logins (1.7; quick: 0.85)")
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=names, help=", ".join(names))
    parser.add_argument("--subjects", nargs="+", metavar="NAME", choices=[*FINDERS], help=", ".join(FINDERS))
    parser.add_argument(
        "--also", action="append", default=[], metavar="NAME=CHECKOUT", help="another, built checkout of pgrouter"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of the order of turns")  # noqa: S311
    parser.add_argument("--out", type=Path, help="directory for the results")
    parser.add_argument("--report", type=Path, metavar="JSON", help="measure nothing, show an earlier result again")
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> list[Case]:
    """Give the cases that are asked for."""
    if args.only:
        return [case for case in CASES if case.name in args.only]
    return [case for case in CASES if case.quick or not args.quick]


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Measure, and give everything as what becomes JSON."""
    rounds, seconds = QUICK if args.quick else FULL
    rounds, seconds = args.rounds or rounds, args.seconds or seconds
    also = {name: Path(path).resolve() for name, _, path in (word.partition("=") for word in args.also)}
    there, absent = subjects.find(args.subjects or DEFAULT, also)
    load = os.getloadavg()[0]
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # thousands of clients, here and in every subject
    with Servers() as servers:
        tournament = Tournament(servers, chosen(args), there, seconds)
        at_most_s = math.inf if args.rounds else 60 * (QUICK_MINUTES if args.quick else FULL_MINUTES)
        rounds = tournament.play(rounds, args.seed, at_most_s)
        about = {
            "when": dt.datetime.now(dt.UTC).isoformat(timespec="minutes"),
            "machine": programs.machine(),
            "postgresql": servers.version,
            "python": platform.python_version(),
            "subjects": {subject.name: subject.version for subject in there},
            "rounds": rounds, "seconds": seconds, "seed": args.seed, "load": round(load, 1),
        }  # fmt: skip
    return report.as_json(about, tournament.results, absent)


def main() -> int:
    """Measure, and write what came out."""
    args = arguments()
    full = not any((args.quick, args.only, args.subjects, args.also, args.rounds, args.seconds, args.report))
    out = args.out or (HERE / "bench" / "results" if full else programs.CACHE / "results")
    result = report.read(args.report) if args.report else measure(args)
    report.write(out, result)
    if full and not args.out:
        report.show_in(HERE / "README.md", result)
    print(report.summary(result))
    print(f"\nall figures: {out}/latest.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
