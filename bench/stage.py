"""Starts the servers and one subject, alone or under a profiler, and waits: for profiles by hand.

    python -m bench.stage pgrouter
    python -m bench.stage pgrouter --under 'strace -f -c -o /tmp/calls'

Prints the pgbench command and the process id; Ctrl-C ends everything. With --run PGBENCH-OPTIONS it does not wait, but
runs that pgbench (say '-S -c 16 -T 10') and ends.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import subprocess

from bench import subjects
from bench.configs import TRUSTED
from bench.servers import Servers
from bench.subjects import FINDERS, place


def main() -> None:
    """Start, and wait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=[*FINDERS])
    parser.add_argument("--under", default="", metavar="COMMAND", help="what runs the subject")
    parser.add_argument("--run", metavar="OPTIONS", help="run pgbench, and end")
    args = parser.parse_args()
    there, absent = subjects.find([args.subject], {})
    if not there:
        raise SystemExit(absent[args.subject])
    with Servers(tuple(shlex.split(args.under))) as servers:
        running = there[0].start(servers, place(servers, args.subject), "trust")
        where = ["-h", "127.0.0.1", "-p", str(running.standby.port), "-U", TRUSTED, "-n"]
        argv = [str(servers.pgbench), *where, *shlex.split(args.run or "-S -c 16 -T 30"), running.standby.database]
        print(f"pid {running.pid}\n{shlex.join(argv)}", flush=True)
        if args.run:
            subprocess.run(argv, check=True)
            stop_kindly(running)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


def stop_kindly(running: subjects.Running) -> None:
    """Let it end by itself, so that a profiler can write what it saw."""
    if running.process:
        running.process.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            running.process.wait_gone(60)


if __name__ == "__main__":
    main()
