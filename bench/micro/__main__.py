"""Nanoseconds per frame scanned, per server connection taken and given back, per statement routed.

Each is the best of several rounds: the machine's noise only adds. `--flood N` sends so many different statements
through one cache and reads the process's memory every tenth of the way.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import pgrouter
from bench.micro import frames, pools, routing


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.micro", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    parser.add_argument("--flood", type=int, default=0, metavar="N", help="so many different statements")
    args = parser.parse_args()
    steps = {
        "frame of a server scanned": frames.ns_per_frame(),
        "replica taken and given back": pools.take_and_give_ns(reads=True),
        "primary taken and given back": pools.take_and_give_ns(reads=False),
    }
    for name, ns in steps.items():
        print(f"{name:<30}{ns:>9.0f} ns")
    rows = routing.rows()
    print(f"\n{routing.table(rows)}")
    flooded = routing.flood(args.flood) if args.flood else []
    if flooded:
        print(f"\n{routing.flood_table(flooded)}")
    if args.json:
        found = {
            "python": platform.python_version(), "machine": platform.machine(), "compiled": pgrouter.COMPILED,
            "steps": steps, "statements": rows, "flood": flooded,
        }  # fmt: skip
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
