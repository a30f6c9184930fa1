"""`make fuzz-session`: random stories for some minutes; every difference as the shortest script that shows it.

Two to four clients on pools of one to three connections with a replica, and each on a direct connection of its own to
a database that begins the same, do the same steps in the same order (tests/session_fuzz/words.py has the statements).
Rows, command tags, errors, notices, ParameterStatus, the status of the transaction, notifications, and what newcomers
find must be equal. A step that finds no server connection in 0.2 s is left out on both sides.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from session_fuzz.sides import Sides, both_sides
from session_fuzz.story import story


def main() -> int:
    """Run what the arguments ask for; 0 when nothing differed that is not known to."""
    parser = argparse.ArgumentParser(prog="fuzz-session", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="for so long (default: %(default)s)")
    parser.add_argument("--seed", default="", help="play only the story of this seed")
    parser.add_argument("--from", dest="first", type=int, default=int(time.time()), help="number of the first story")
    parser.add_argument("--differences", type=int, default=10, help="stop after so many (default: %(default)s)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end, too
    with both_sides() as sides:
        if args.seed:
            found = [each] if (each := sides.difference(story(args.seed))) else []
            say(*found)
        else:
            found = run(sides, args.first, args.minutes * 60, args.differences)
    return 1 if found else 0


def run(sides: Sides, first: int, seconds: float, most: int) -> list[str]:
    """Play stories until the time is over or enough differences have been found; print and give those."""
    end = time.monotonic() + seconds
    number = first
    found: list[str] = []
    while time.monotonic() < end and len(found) < most:
        if difference := sides.difference(story(f"story{number}")):
            found.append(str(difference))
            say(difference, "")
        number += 1
    say(
        f"{number - first} stories from {first}, {sides.steps} steps, {sides.waits} found no server connection, "
        f"{len(found)} differences",
        *(f"known, {count} times: {reason}" for reason, count in sides.known_seen.items()),
    )
    return found


def say(*lines: object) -> None:
    """Print."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
