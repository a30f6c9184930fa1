"""Runs the deployments: `python -m deployments [--only 003] [--table]`; exit code 1 if a step is not as it is marked.

--table writes docs/deployments.md from the lists of steps, without running anything; a run writes it, too.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import struct
import sys
import time

from deployments import table
from deployments.all import DEPLOYMENTS
from deployments.stage import Stage, exporter_place, pcp_place, stage
from deployments.steps import Deployment, Mark, Step

INSIDE = "PGROUTER_DEPLOYMENTS_NAMESPACE"
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ONCE = ("INSERT", "CREATE", "DOCKER ST", "DOCKER RE", "COMPOSE ST", "COMPOSE UP", "PROMOTE", "SWITCHOVER", "PGBENCH")
PATIENCE_S = 15.0  # routers and replicas need a moment to see what was done to a node


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="deployments", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="deployments whose names begin so")
    parser.add_argument("--table", action="store_true", help="only write docs/deployments.md")
    args = parser.parse_args()
    table.write(DEPLOYMENTS)
    if args.table:
        return 0
    if INSIDE not in os.environ:
        exporter_place()  # in there is no network to fetch it from
        pcp_place()
    enter_namespace()
    chosen = [one for one in DEPLOYMENTS if not args.only or one.name.startswith(tuple(args.only))]
    wrong = [told for one in chosen for told in run(one)]
    ran = sum(step.mark is not Mark.NOT_OURS for one in chosen for step in one.steps)
    skipped = sum(step.mark is Mark.NOT_OURS for one in chosen for step in one.steps)
    print(f"deployments: {ran - len(wrong)} passed, {len(wrong)} failed, {skipped} skipped")
    return 1 if wrong else 0


def run(one: Deployment) -> list[str]:
    """Play a deployment's steps; gives those that are not as they are marked."""
    print(f"\n{one.name}: {one.title}", flush=True)
    with stage(one) as place:
        return [step.command for step in one.steps if not is_as_marked(place, step)]


def is_as_marked(place: Stage, step: Step) -> bool:
    """Play a step and say how it went."""
    if step.mark is Mark.NOT_OURS:
        print(f"  -     {step.command.splitlines()[0]}  [{step.why}]")
        return True
    wanted = step.mark is Mark.WORKS
    deadline = time.monotonic() + (PATIENCE_S if wanted else 0.0)
    while True:
        code, output = place.play(step)
        passes = step.passes(code, output)
        if passes == wanted or time.monotonic() > deadline or not may_repeat(step):
            break
        time.sleep(0.5)
    word = {(True, True): "ok", (False, False): "later", (True, False): "FAILED", (False, True): "WORKS NOW"}
    print(f"  {word[wanted, passes]:5s} {step.command.splitlines()[0]}", flush=True)
    if passes != wanted:
        print(f"        section {step.section!r}, exit code {code}, expected {step.expect!r}:\n{output}")
    return passes == wanted


def may_repeat(step: Step) -> bool:
    """Whether a step can be played again until it passes: a question can, a write or a stop cannot."""
    text = step.command.upper()
    return not any(verb in text for verb in ONCE)


def enter_namespace() -> None:
    """Go into a network namespace of our own and bring its loopback up: there every port is free."""
    if INSIDE not in os.environ:
        user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
        arguments = ["unshare", "--net", *user, sys.executable, "-m", "deployments", *sys.argv[1:]]
        os.execvpe(arguments[0], arguments, os.environ | {INSIDE: "1"})  # noqa: S606  (ourselves, again)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        name = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(sock, SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    sys.exit(main())
