"""The figures of one run: processor time, latencies and memory, without the logins that come before.

Logins are left out so that a thousand clients can be compared with sixteen: processor time is read ten times a second
while the clients work, and the transactions between two readings are counted in their log, which has a time for each.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgrouter.demo.reaper import tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SAMPLE_EVERY_S = 0.1
MEMORY_EVERY = 5  # samples
MANY = 20  # processes
WARM_UP = 0.1  # part of the run that is left out, after the last login


class RunError(Exception):
    """There are no figures; the text says why."""


class TooShortError(RunError):
    """Logins took up the time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Processor time that was spent up to a moment."""

    at_s: float  # time.time(), as in pgbench's log
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Transaction:
    """A line of pgbench's log."""

    end_s: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to; None where there is no such figure."""

    cpu_us: float | None = None  # user and system time per transaction of the subject's processes
    tps: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    memory_kib: float | None = None  # of all its processes, with the clients connected
    client_kib: float | None = None  # memory per idle client


class Family:
    """A process and all its descendants, also those which ended."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid  # None: nobody stands between client and server
        self._children = ""
        self._pids: list[int] = []

    def sample(self) -> Sample:
        """Read the processor time so far."""
        if self._pid is None:
            return Sample(time.time(), 0.0)
        self._look_round(self._pid)
        return Sample(time.time(), sum(map(own_s, self._pids)) + ended_s(self._pid))

    def memory_kib(self) -> float | None:
        """Give the resident memory: what processes share is counted once (PSS). None if there is no process."""
        if self._pid is None:
            return None
        self._look_round(self._pid)
        return sum(map(pss_kib, self._pids))

    @property
    def small(self) -> bool:
        """Whether it takes next to no time to look at."""
        return len(self._pids) < MANY

    def _look_round(self, pid: int) -> None:
        """Find all processes, but only when there are others than before: a family of 130 takes a while."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        if children != self._children or not self._pids:
            self._children, self._pids = children, tree(pid)


def own_s(pid: int) -> float:
    """Give the processor time of a process, from its clock, which counts nanoseconds; 0 if it has just ended."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), as Linux numbers them
    except OSError:
        return 0.0


def ended_s(pid: int) -> float:
    """Give the processor time of a process's children that have ended, in steps of 10 ms."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[13]) + int(words[14])) * TICK_S


def pss_kib(pid: int) -> int:
    """Give a process's proportional set size."""
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def parse_log(lines: Iterable[str]) -> Iterator[Transaction]:
    """Read pgbench's log: client, number, microseconds, script, seconds and microseconds of its end."""
    for line in lines:
        words = line.split()
        if len(words) >= 6 and words[2].isdigit():  # else: "failed", or a line that was cut off
            yield Transaction(int(words[4]) + int(words[5]) / 1e6, int(words[2]) / 1000)


def percentile(ordered: Sequence[float], part: float) -> float:
    """Give the smallest value that so many of the values, in ascending order, do not exceed."""
    return ordered[max(0, -int(-len(ordered) * part // 1) - 1)]


def evaluate(samples: Sequence[Sample], transactions: Sequence[Transaction], seconds: float) -> Figures:
    """Compute the figures of so many seconds, from the first sample after logins and warming up."""
    if not transactions:
        raise TooShortError("no transaction was completed")
    first_s, last_s = (choose(t.end_s for t in transactions) for choose in (min, max))
    begin_s = first_s + WARM_UP * seconds
    inside = [s for s in samples if begin_s <= s.at_s <= min(last_s, begin_s + seconds)]
    if len(inside) < 2 or inside[-1].at_s - inside[0].at_s < seconds / 2:
        raise TooShortError("it ended before it was measured")
    start, stop = inside[0], inside[-1]
    latencies = sorted(t.latency_ms for t in transactions if start.at_s < t.end_s <= stop.at_s)
    if not latencies:
        raise RunError("no transaction was completed while it was measured")
    return Figures(
        cpu_us=(stop.cpu_s - start.cpu_s) / len(latencies) * 1e6,
        tps=len(latencies) / (stop.at_s - start.at_s),
        p50_ms=percentile(latencies, 0.5),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
    )


@dataclass(frozen=True, slots=True)
class Pollable:
    """What was seen while a load ran."""

    samples: list[Sample]
    memory_kib: float | None


class Load:
    """A program that makes clients work, and says so in files `log.*` of its directory."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, at_most_s: float) -> None:
        self.argv = argv
        self.env = env
        self.directory = directory
        self.work_s: float | None = None  # end it so long after its log has begun: nobody knows how long logins take
        self._at_most_s = at_most_s
        self._begun = time.monotonic()
        self._working: float | None = None

    def is_over(self) -> bool:
        """Tell whether it has worked enough. RunError if it goes on and on."""
        now = time.monotonic()
        if now - self._begun > self._at_most_s:
            raise RunError(f"no end after {self._at_most_s:.0f} s")
        if self.work_s is None:
            return False
        if self._working is None and any(log.stat().st_size for log in self.directory.glob("log.*")):
            self._working = now  # it is written in pieces of 4 KiB
        return self._working is not None and now - self._working > self.work_s


def watch(load: Load, family: Family) -> Pollable:
    """Run a load, and read the family's processor time meanwhile. RunError with the load's words if it fails."""
    samples: list[Sample] = []
    memory: list[float] = []
    errors = load.directory / "errors"
    with errors.open("w") as said:
        null = subprocess.DEVNULL
        process = subprocess.Popen(load.argv, env=load.env, stdin=null, stdout=null, stderr=said)
        try:
            while process.poll() is None and not load.is_over():
                samples.append(family.sample())
                if len(samples) % MEMORY_EVERY == 0 and (family.small or not memory):
                    memory.append(family.memory_kib() or 0)
                time.sleep(SAMPLE_EVERY_S)
        finally:
            process.kill()
            process.wait()
    if process.returncode not in (0, -signal.SIGKILL):
        words = errors.read_text().strip().splitlines() or [f"{load.argv[0]} ended with {process.returncode}"]
        raise RunError(next((line for line in words if "error" in line.lower()), words[-1])[:200])
    return Pollable(samples, max(memory, default=0) or None)
