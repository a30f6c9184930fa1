"""Instructions per transaction in user space, counted by callgrind: they hardly vary, however busy the machine is.

    python -m bench.instructions [--only simple extended prepared rows] [--subjects relay pgbouncer pgrouter]

Each subject runs under valgrind. Every case is run twice, the second time with three times as many transactions, and
the difference is counted: logins and what happens once cancel out. What a subject does all by itself is counted while
nobody asks for anything, and taken off by the time that passed. What the kernel does is not in it (about 70 % of the
time), and since everything takes fifty times longer, more is ready at each wake-up than in real life.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import programs, subjects
from bench.cases import CASES
from bench.configs import PROVEN, TRUSTED
from bench.servers import Servers
from bench.subjects import FINDERS, place
from pgrouter.demo.processes import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.cases import Case
    from bench.subjects import Running, Subject

COUNTABLE = ("simple-1", "simple", "simple-100", "extended", "prepared", "tpcb", "rows", "pipeline", "new", "connect")
TRANSACTIONS = 3200  # of the first run
FEW = 160  # where one is a lot of work
IDLE_S = 5
ROUNDS_ONLY = ("--collect-atstart=no", "--toggle-collect=__pyx_f_8pgrouter_3net_6poller_6Poller_handle")
VALGRIND = ("valgrind", "--tool=callgrind", "--quiet", "--instr-atstart=no", "--vgdb-poll=500")


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=COUNTABLE, default=["simple", "extended", "prepared", "rows"])
    parser.add_argument("--subjects", nargs="+", choices=[*FINDERS], default=["relay", "pgbouncer", "pgrouter"])
    parser.add_argument("--also", action="append", default=[], metavar="NAME=CHECKOUT", help="another checkout")
    parser.add_argument(
        "--data-plane", action="store_true", help="of pgrouter only what the poller's rounds do: no asyncio, no probes"
    )
    parser.add_argument("--keep", type=Path, help="directory for callgrind's files, for callgrind_annotate")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("there is no valgrind: apt-get install valgrind")
    also = {name: Path(path).resolve() for name, _, path in (word.partition("=") for word in args.also)}
    there, absent = subjects.find(args.subjects, also)
    found: dict[str, dict[str, float]] = {}
    for subject in there:
        out = (args.keep or programs.CACHE / "callgrind").resolve() / subject.name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        out.chmod(0o777)  # servers run as another user than root
        rounds = ROUNDS_ONLY if args.data_plane else ()
        with Servers((*VALGRIND, *rounds, f"--vgdb-prefix={out}/vgdb", f"--callgrind-out-file={out}/out")) as servers:
            for login in ("trust", "scram"):
                cases = [c for c in CASES if c.name in args.only and c.login == login and not subject.unable(c)]
                for case, count in count_all(servers, subject, cases, login, out):
                    found.setdefault(case.name, {})[subject.name] = count
                    print(f"{case.name:<12}{subject.name:<12}{count:>10.0f} instructions per transaction", flush=True)
    print(json.dumps(found | absent))


def count_all(
    servers: Servers, subject: Subject, cases: list[Case], login: str, out: Path
) -> Iterator[tuple[Case, float]]:
    """Start a subject if there is anything to count, and count."""
    if cases:
        running = subject.start(servers, place(servers, subject.name), login)
        for case in cases:
            yield case, instructions(servers, running, case, out)
        running.stop()


def instructions(servers: Servers, running: Running, case: Case, out: Path) -> float:
    """Give the instructions of one more transaction."""
    per_client = max(1, (FEW if case.name in ("rows", "new", "connect") else TRANSACTIONS) // case.clients)
    control(running, out, "instrumentation", "on")
    load(servers, running, case, per_client, out)  # what is only met once; and valgrind translates what it meets
    few, many, idle = (
        counted(running, out / f"{case.name}-{name}", work)
        for name, work in (
            (per_client, lambda: load(servers, running, case, per_client, out)),
            (3 * per_client, lambda: load(servers, running, case, 3 * per_client, out)),
            ("idle", lambda: time.sleep(IDLE_S)),
        )
    )
    control(running, out, "instrumentation", "off")
    by_itself = idle.instructions / idle.seconds * (many.seconds - few.seconds)
    return (many.instructions - few.instructions - by_itself) / (2 * per_client * case.clients)


@dataclass(frozen=True, slots=True)
class Count:
    """What callgrind counted in some time."""

    instructions: int
    seconds: float


def counted(running: Running, target: Path, work: Callable[[], None]) -> Count:
    """Count while something is done; callgrind's file goes to `target`."""
    out = target.parent
    control(running, out, "zero")
    begun = time.monotonic()
    work()
    control(running, out, "dump")
    seconds = time.monotonic() - begun
    newest = max(out.glob("out.*"), key=lambda file: int(file.suffix[1:]))
    total = re.search(r"^(?:totals|summary): (\d+)", newest.read_text(), re.MULTILINE)
    newest.rename(target)
    return Count(int(total[1]) if total else 0, seconds)


def control(running: Running, out: Path, *order: str) -> None:
    """Tell callgrind something, in two ways around its limits.

    It finds the process by names in the environment, which must be the process's own. And it is heard when the process
    does something: waking it up by tracing it is not allowed everywhere, and may leave it stopped.
    """
    entries = Path(f"/proc/{running.pid}/environ").read_bytes().decode().split("\0")
    env = os.environ | dict(entry.split("=", 1) for entry in entries if "=" in entry)
    argv = ["vgdb", f"--pid={running.pid}", f"--vgdb-prefix={out}/vgdb", "--max-invoke-ms=0", *order]
    if Path(f"/proc/{running.pid}").stat().st_uid != os.geteuid():
        argv = command(argv)  # it does not listen to another user, not even to root
    said = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while said.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", running.standby.port), 1):
            time.sleep(0.02)
    words = said.communicate()[0]
    if said.returncode or "error" in words:
        raise SystemExit(words)


def load(servers: Servers, running: Running, case: Case, per_client: int, out: Path) -> None:
    """Let pgbench make so many transactions per client."""
    door = running.door(case)
    options = list(case.options)
    if case.script:
        (out / "script").write_text(case.script)
        options += ["-f", str(out / "script")]
    where = ["-h", "127.0.0.1", "-p", str(door.port), "-U", PROVEN if case.login == "scram" else TRUSTED, "-n"]
    argv = [servers.pgbench, *where, "-c", str(case.clients), "-t", str(per_client), *options, door.database]
    subprocess.run(argv, env=os.environ | {"PGPASSWORD": PROVEN}, check=True, capture_output=True, timeout=600)


if __name__ == "__main__":
    main()
