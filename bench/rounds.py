"""Lets all subjects take turns, in random order, so that whatever the machine does meanwhile hits all alike."""

from __future__ import annotations

import math
import random
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench import configs, wire
from bench.measure import WARM_UP, Family, Figures, Load, RunError, TooShortError, evaluate, parse_log, watch
from bench.subjects import HERE, place
from pgrouter.demo.processes import own_environment

if TYPE_CHECKING:
    from pathlib import Path

    from bench.cases import Case
    from bench.servers import Servers
    from bench.subjects import Running, Subject

ATTEMPTS = 3
PATIENCE_S = 60
CROWD = 500  # clients whose logins take seconds
ASIDE_S = 0.2  # after a run: its connections end, and somebody pays for that


@dataclass
class Results:
    """What came out: for each case and subject a figure per round, or why there is none."""

    figures: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, case: Case, subject: Subject, figures: Figures) -> None:
        """Note a run."""
        self.figures.setdefault(case.name, {}).setdefault(subject.name, []).append(figures)

    def leave_out(self, case: Case, subject: Subject, why: str) -> None:
        """Note why there is none; what was measured before is no longer comparable."""
        self.left_out.setdefault(case.name, {})[subject.name] = why
        self.figures.get(case.name, {}).pop(subject.name, None)

    def is_out(self, case: Case, subject: Subject) -> bool:
        """Whether it cannot do a case."""
        return subject.name in self.left_out.get(case.name, {})


class Tournament:
    """All cases, all subjects, some rounds."""

    def __init__(self, servers: Servers, cases: list[Case], subjects: list[Subject], seconds: float) -> None:
        self.results = Results()
        self._servers = servers
        self._cases = cases
        self._subjects = subjects
        self._seconds = seconds
        self._logins_s: dict[tuple[str, str], float] = {}  # how long they took before
        self._running: dict[tuple[str, str], Running] = {}
        for case in cases:
            for subject in subjects:
                if why := subject.unable(case):
                    self.results.leave_out(case, subject, why)

    def play(self, rounds: int, seed: int, at_most_s: float) -> int:
        """Run everything; neighbours in time are the runs of one case. Gives the rounds for which there was time."""
        order = random.Random(seed)  # noqa: S311  (no secret)
        begun, number = time.monotonic(), 0
        while number < rounds and has_time(time.monotonic() - begun, number, at_most_s):
            for case in order.sample(self._cases, len(self._cases)):
                if number >= case.at_most:
                    continue
                for subject in order.sample(self._subjects, len(self._subjects)):
                    self._turn(case, subject)
            number += 1
            print(f"round {number} of {rounds}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        return number

    def _turn(self, case: Case, subject: Subject) -> None:
        if self.results.is_out(case, subject):
            return
        try:
            figures = self._measure(case, subject)
        except (RunError, OSError) as error:
            print(f"{case.name} with {subject.name}: {error}", file=sys.stderr, flush=True)
            self.results.leave_out(case, subject, f"failed: {error}")
            self._end(subject, case.login)  # it may hang: the next case gets a new one
        else:
            self.results.add(case, subject, figures)
        time.sleep(ASIDE_S + case.clients / 1000)

    def _measure(self, case: Case, subject: Subject) -> Figures:
        if case.load == "idle":
            return self._idle(case, subject)
        running = self._started(subject, case.login)
        key = case.name, subject.name
        for _ in range(ATTEMPTS):
            try:
                return self._run(case, running, key)
            except TooShortError as error:  # pgbench's time includes its logins, and how long they take shows only now
                self._logins_s[key] = 2 * self._logins_s.get(key, 0) + 2
                last = error
        raise last

    def _run(self, case: Case, running: Running, key: tuple[str, str]) -> Figures:
        log = self._servers.workdir / "load"
        log.mkdir(exist_ok=True)
        for old in log.iterdir():
            old.unlink()
        lasts_s = math.ceil(self._seconds * (1 + WARM_UP) + self._logins_s.get(key, 0))
        if case.clients >= CROWD:
            lasts_s = PATIENCE_S
        begun_s = time.time()
        load = Load(self._argv(case, running, log, lasts_s), self._environment(), log, lasts_s + PATIENCE_S)
        if case.clients >= CROWD:
            load.work_s = self._seconds * (1 + 2 * WARM_UP)
        seen = watch(load, Family(running.pid))
        transactions = list(parse_log(line for file in log.glob("log.*") for line in file.read_text().splitlines()))
        figures = evaluate(seen.samples, transactions, self._seconds)
        self._logins_s[key] = min(t.end_s for t in transactions) - begun_s
        cpu_us = figures.cpu_us if running.process else None
        return replace(figures, cpu_us=cpu_us, memory_kib=seen.memory_kib)

    def _argv(self, case: Case, running: Running, log: Path, lasts_s: int) -> list[str]:
        door = running.door(case)
        user = configs.PROVEN if case.login == "scram" else configs.TRUSTED
        if case.load == "copy":
            words = ["-m", "bench.wire", "--port", str(door.port), "--user", user, "--clients", str(case.clients)]
            return [sys.executable, *words, "--seconds", str(lasts_s), "--log", str(log / "log.1")]
        options = list(case.options)
        if case.script:
            (log / "script").write_text(case.script)
            options += ["-f", str(log / "script")]
        where = ["-h", "127.0.0.1", "-p", str(door.port), "-U", user, "-n", "-c", str(case.clients)]
        timed = ["-T", str(lasts_s), "-l", "--log-prefix", str(log / "log")]
        return [str(self._servers.pgbench), *where, *timed, *options, door.database]

    def _idle(self, case: Case, subject: Subject) -> Figures:
        running = subject.start(self._servers, place(self._servers, subject.name), case.login)
        try:
            family = Family(running.pid)
            before = family.memory_kib()
            clients = wire.idle(running.door(case).port, configs.TRUSTED, case.clients)
            after = family.memory_kib()
            for client in clients:
                client.socket.close()
        finally:
            running.stop()
        if before is None or after is None:
            raise RunError("no process to measure")
        return Figures(memory_kib=after, client_kib=(after - before) / case.clients)

    def _started(self, subject: Subject, login: str) -> Running:
        key = subject.name, login
        if key not in self._running:
            self._running[key] = subject.start(self._servers, place(self._servers, subject.name), login)
        return self._running[key]

    def _end(self, subject: Subject, login: str) -> None:
        if running := self._running.pop((subject.name, login), None):
            running.stop()

    def _environment(self) -> dict[str, str]:
        mark = own_environment(self._servers.workdir)
        return mark | {"PGPASSWORD": configs.PROVEN, "PYTHONPATH": str(HERE)}


def has_time(spent_s: float, done: int, at_most_s: float) -> bool:
    """Tell whether one more round, as long as those before, would end in time; the first is always played."""
    return not done or spent_s / done * (done + 1) <= at_most_s
