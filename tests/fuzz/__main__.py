"""`make fuzz`: all targets, one after the other, guided by coverage, from the sources (what is compiled has none).

    make fuzz FUZZ="--minutes 60"
    make fuzz FUZZ="--only scram server_bytes"

It ends with 1 if a target has crashed, has hung or has grown; the input is in .fuzz/crashes, and one that is repaired
belongs into tests/fuzz/corpus/TARGET.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).parent / "corpus"
WORK = ROOT / ".fuzz"
RSS = re.compile(r"cov: (\d+).*exec/s: (\d+) rss: (\d+)Mb")
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=4096", "-detect_leaks=0", "-print_final_stats=1")


def sources() -> Path:
    """Return a directory with the sources only: compiled modules would hide them."""
    copy = WORK / "source"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "pgrouter", copy / "pgrouter", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    return copy


def fuzz(name: str, seconds: int, source: Path) -> bool:
    """Run a target; whether nothing was found."""
    own, crashes, seeds = WORK / "corpus" / name, WORK / "crashes", WORK / "seeds" / name
    for directory in (own, crashes, seeds, KEPT / name):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (seeds / str(number)).write_bytes(seed)
    argv = [
        sys.executable, "-m", "fuzz.run", name, own, seeds, KEPT / name,
        f"-artifact_prefix={crashes}/{name}-", f"-max_total_time={seconds}", *LIMITS,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": f"{source}:{ROOT / 'tests'}"}
    run = subprocess.run(argv, env=environment, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    figures = [tuple(map(int, found)) for found in RSS.findall(run.stderr)]
    (WORK / f"{name}.log").write_text(run.stderr)
    if run.returncode:
        print(run.stderr[-3000:])
    covered, speed, rss = figures[-1] if figures else (0, 0, 0)
    first = figures[len(figures) // 3][2] if figures else 0
    print(
        f"{name:24} {'ok' if not run.returncode else 'FAILED':8} {covered:6} covered, {speed:6}/s, {first} -> {rss} MB"
    )
    return not run.returncode


def main() -> int:
    """Fuzz; return the exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="in all (default 60)")
    parser.add_argument("--only", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS), metavar="TARGET")
    options = parser.parse_args()
    source = sources()
    seconds = max(1, int(options.minutes * 60 / len(options.only)))
    found = [name for name in options.only if not fuzz(name, seconds, source)]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
