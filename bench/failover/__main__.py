"""Measures what leader changes of a Patroni cluster are for clients of pgrouter and its rivals: `make bench-failover`.

Everybody stands in front of the same cluster with the same load at the same time, so that the very same event hits all.
Figures of a full run go to bench/results and into README.md; those of any other run to build/bench/results.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bench import programs
from bench.failover import report, rivals
from bench.failover.events import EVENTS
from bench.failover.figures import CLIENTS
from bench.failover.stage import Stage, tell
from bench.subjects import HERE
from pgrouter.demo.patroni import PROFILES, Profile
from pgrouter.demo.processes import DemoError

if TYPE_CHECKING:
    from bench.failover.events import Event
    from bench.failover.figures import Window

AFTER_S, BACK_S = 20.0, 10.0  # of watching: after the new primary is there; after the old one came back
QUICK_AFTER_S, QUICK_BACK_S = 12.0, 5.0  # HAProxy takes 9 s


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.failover", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [event.name for event in EVENTS]
    parser.add_argument("--quick", action="store_true", help="two events, Patroni with a ttl of 5 s: two minutes")
    parser.add_argument("--only", nargs="+", metavar="EVENT", choices=names, help=", ".join(names))
    parser.add_argument("--subjects", nargs="+", metavar="NAME", choices=rivals.NAMES, help=", ".join(rivals.NAMES))
    parser.add_argument(
        "--also", action="append", default=[], metavar="NAME=CHECKOUT", help="another, built checkout of pgrouter"
    )
    parser.add_argument(
        "--profile", choices=get_args(Profile),
        help="Patroni's ttl, loop_wait and retry_timeout: its defaults (30, 10, 10), fast (20, 1, 3), turbo (5, 1, 2)",
    )  # fmt: skip
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="copy all journals and logs there")
    parser.add_argument("--out", type=Path, help="directory for the results")
    parser.add_argument("--report", type=Path, metavar="JSON", help="measure nothing, show an earlier result again")
    return parser.parse_args()


def measure(args: argparse.Namespace) -> report.Result:
    """Measure, and give everything as what becomes JSON."""
    also = {name: Path(path).resolve() for name, _, path in (word.partition("=") for word in args.also)}
    there, absent = rivals.find([name for name in rivals.NAMES if name in (args.subjects or rivals.NAMES)], also)
    load = os.getloadavg()[0]
    profile: Profile = args.profile or ("turbo" if args.quick else "default")
    with Stage(there, profile, args.keep) as stage:
        events, whole = play(stage, chosen(args), quick=args.quick)
        cluster = stage.cluster
        postgresql, members = cluster.binaries.version, len(cluster.members)
    ttl, loop_wait, retry_timeout = PROFILES[profile]
    about = {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="minutes"),
        "machine": programs.machine(),
        "postgresql": postgresql, "patroni": version("patroni"), "members": members, "clients": CLIENTS,
        "ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout, "load": round(load, 1), "whole": whole,
        "subjects": {rival.name: rival.version for rival in there},
    }  # fmt: skip
    return {"about": about, "absent": absent, "events": events}


def chosen(args: argparse.Namespace) -> list[Event]:
    """Give the events that are asked for."""
    if args.only:
        return [event for event in EVENTS if event.name in args.only]
    return [event for event in EVENTS if event.quick or not args.quick]


def play(stage: Stage, events: list[Event], *, quick: bool) -> tuple[list[report.Result], bool]:
    """Let one event happen after the other; after one that goes wrong, give those before it, and False."""
    after_s, back_s = (QUICK_AFTER_S, QUICK_BACK_S) if quick else (AFTER_S, BACK_S)
    played: list[tuple[Event, Window, tuple[str, str], report.Result]] = []
    whole = False
    try:
        for event in events:
            window, old, new = stage.play(event, after_s, back_s)
            helped, hung = stage.repair()
            played.append((event, window, (old.name, new.name), {"helped": helped, "hung": hung}))
        whole = True
    except (DemoError, OSError) as error:  # TimeoutError is an OSError
        tell(f"that went wrong: {error}")
    rows = stage.rows()
    outcomes = {name: journal.read() for name, journal in stage.journals.items()}
    found = [
        report.event_as_json(event, window, members, outcomes, rows) | afterwards
        for event, window, members, afterwards in played
    ]
    return found, whole


def main() -> int:
    """Measure, and write what came out."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `with` ends what was started
    args = arguments()
    full = not any((args.quick, args.only, args.subjects, args.also, args.profile, args.report))
    try:
        result = report.read(args.report) if args.report else measure(args)
    except KeyboardInterrupt:
        tell("ended; nothing was written")
        return 130
    full = full and result["about"]["whole"]
    out = args.out or (HERE / "bench" / "results" if full else programs.CACHE / "results")
    report.write(out, result)
    if full and not args.out:
        report.show_in(HERE / "README.md", result)
    print(report.summary(result))
    print(f"\nall figures: {out}/failover.md, failover.svg")
    return 0 if result["about"]["whole"] else 1


if __name__ == "__main__":
    sys.exit(main())
