"""A Patroni cluster, everything that is compared in front of it, and the clients of all of them at work."""

from __future__ import annotations

import shutil
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, TextIO

from bench import configs
from bench.failover.clients import TABLE
from bench.failover.events import new_primary
from bench.failover.figures import CLIENTS, Outcome, Window, parse
from bench.failover.rivals import run_module
from pgrouter.demo.patroni import PatroniCluster, PatroniOptions
from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.processes import make_directory, until
from pgrouter.demo.workdir import Startable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.failover.events import Event
    from bench.failover.rivals import Rival
    from pgrouter.demo.patroni import Member, Profile
    from pgrouter.demo.processes import Process

OBSERVER = "observer"
AT_WORK_S = 3.0  # a client that had a write acknowledged so lately works
STEADY_S = 6.0  # of undisturbed work before an event
UNAIDED_S = 15.0  # that everybody has to find back when all members are healthy, before an operator steps in
HANGS_S = 10.0  # a client that still has not written so long after that hangs
Rows = dict[str, set[tuple[int, int]]]  # subject -> (client, number)


class Journal:
    """What the clients of one subject wrote down, read as it grows."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file: TextIO = path.open()
        self._rest = ""
        self.outcomes: list[Outcome] = []

    def read(self) -> list[Outcome]:
        """Give everything up to now."""
        whole, newline, rest = (self._rest + self._file.read()).rpartition("\n")
        self._rest = rest
        self.outcomes += parse((whole + newline).splitlines(keepends=True))
        return self.outcomes

    def at_work(self) -> set[int]:
        """Give the clients that had a write acknowledged a moment ago."""
        now, found = time.monotonic(), set()
        for outcome in reversed(self.read()):
            if outcome.end_s < now - AT_WORK_S - 1:  # they are nearly, but not quite, in order
                break
            if outcome.acknowledged and outcome.end_s > now - AT_WORK_S:
                found.add(outcome.client)
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Stage(Startable):
    """A context manager: all is up and at work inside, and nothing that was started is left outside."""

    under: tuple[str, ...] = ()
    patience_s = 60.0

    def __init__(self, rivals: list[Rival], profile: Profile, keep: Path | None = None) -> None:
        self._keep = keep  # where journals and logs are copied to in the end
        server = ServerOptions(max_connections=300, hba=(f"host all {configs.TRUSTED} 127.0.0.1/32 trust",))
        self.cluster = PatroniCluster(PatroniOptions(profile=profile, server=server), progress=tell)
        self.rivals = rivals
        self.journals: dict[str, Journal] = {}
        self.userlist = f'"{configs.PROVEN}" "{configs.PROVEN}"\n"{configs.TRUSTED}" ""\n'
        self._working: dict[str, Process] = {}  # the clients' programs
        self._first: dict[str, int] = {}  # number of the first client of a subject
        self._logs = make_directory(self.workdir / "journals", 0o755)

    @property
    def workdir(self) -> Path:
        """Where everything lives; what is started with it in its environment ends with it."""
        return self.cluster.workdir

    def reserve(self, count: int) -> tuple[int, ...]:
        """Give ports that nobody else takes."""
        return tuple(self.cluster.reserve_port() for _ in range(count))

    def start(self) -> None:
        """Start the cluster, the subjects one after the other, and all clients."""
        self.cluster.start()
        leader = self.cluster.require_leader()
        leader.sql(f"create role {configs.TRUSTED} login; {TABLE}; grant all on failover_rows to {configs.TRUSTED}")
        self._set_to_work(OBSERVER, ["--observer", "--ports", *(member.port for member in self.cluster.members)])
        for rival in self.rivals:
            tell(f"starting {rival.name}")
            rival.start(self)
            self._start_clients(rival)
        for name, journal in self.journals.items():
            until(journal.at_work, self.patience_s, f"a write through {name}", 0.1)

    def stop(self) -> None:
        """End everything."""
        try:
            for journal in self.journals.values():
                journal.close()
            if self._keep is not None:
                skipped = shutil.ignore_patterns(*(member.name for member in self.cluster.members), "member", ".s.*")
                shutil.copytree(self.workdir, self._keep, ignore=skipped, dirs_exist_ok=True)
        finally:
            self.cluster.stop()

    def _start_clients(self, rival: Rival) -> None:
        """Start the clients of a subject, in the place of those that it has."""
        if working := self._working.get(rival.name):
            working.kill()
        first = self._first[rival.name] = self._first.get(rival.name, -CLIENTS) + CLIENTS
        words = ["--clients", CLIENTS, "--first", first, "--database", rival.database, "--ports", rival.port]
        self._set_to_work(rival.name, words)

    def _set_to_work(self, name: str, words: Sequence[object]) -> None:
        log = self._logs / f"{name}.jsonl"
        self.journals[name] = self.journals.get(name) or Journal(log)
        words = ["--name", name, "--log", log, *words]
        self._working[name] = run_module(self, "bench.failover.clients", words, self._logs / f"{name}.log")

    def play(self, event: Event, after_s: float, back_s: float) -> tuple[Window, Member, Member]:
        """Let an event happen: wait for the new primary, watch, undo, watch, heal. Gives when, the old and the new."""
        time.sleep(STEADY_S)
        old, at_s = self.cluster.require_leader(), time.monotonic()
        tell(f"{event.title}: {old.name}")
        event.act(self.cluster, old)
        done_s = time.monotonic()
        new = until(lambda: new_primary(self.cluster, old, event), 120, "a new primary", 0.05)
        tell(f"{new.name} is primary after {time.monotonic() - at_s:.1f} s")
        time.sleep(after_s)
        event.undo(old)
        time.sleep(back_s)
        end_s = time.monotonic()
        self.cluster.heal()
        return Window(at_s, done_s, end_s, time.monotonic()), old, new

    def repair(self) -> tuple[list[str], dict[str, int]]:
        """Help those on their feet who do not stand again by themselves.

        Gives who they were, and for whom how many clients hung or had nothing but errors: then all are started anew.
        """
        leader = self.cluster.require_leader()
        deadline = time.monotonic() + UNAIDED_S
        while (ailing := [r for r in self.rivals if not self._is_well(r, leader)]) and time.monotonic() < deadline:
            time.sleep(0.5)
        for rival in ailing:
            tell(f"{rival.name} needs help")
            rival.repair(self, leader)
            self._wait(partial(self._is_well, rival, leader), f"{rival.name} works again")
        return [rival.name for rival in ailing], self._wake_clients()

    def _wake_clients(self) -> dict[str, int]:
        deadline = time.monotonic() + HANGS_S
        while (hanging := self._hanging()) and time.monotonic() < deadline:
            time.sleep(0.5)
        for rival in self.rivals:
            if count := hanging.get(rival.name):
                tell(f"{count} clients of {rival.name} do not find back; all of them are started anew")
                self._start_clients(rival)
                self._wait(lambda name=rival.name: name not in self._hanging(), f"all clients of {rival.name} work")
        return hanging

    def _hanging(self) -> dict[str, int]:
        counts = {rival.name: CLIENTS - len(self.journals[rival.name].at_work()) for rival in self.rivals}
        return {name: count for name, count in counts.items() if count > 0}

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        try:
            until(condition, self.patience_s, what, 0.5)
        except TimeoutError as error:  # the next event will show it
            tell(str(error))

    def _is_well(self, rival: Rival, leader: Member) -> bool:
        return bool(self.journals[rival.name].at_work()) and rival.is_sound(leader)

    def rows(self) -> Rows:
        """Give all rows that the leader has."""
        found: Rows = {name: set() for name in self.journals}
        leader = until(self.cluster.leader, 60, "a leader", 0.5)
        for subject, client, number in leader.sql("select subject, client, number from failover_rows"):
            found[subject].add((client, number))
        return found


def tell(words: str) -> None:
    """Say what is going on."""
    print(words, file=sys.stderr, flush=True)
