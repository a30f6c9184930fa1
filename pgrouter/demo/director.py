"""What is done to the cluster during the demo, a killed leader or a switchover, and how that affected the clients."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgrouter.demo.processes import DemoError, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.demo.patroni import Member, PatroniCluster
    from pgrouter.demo.workload import Workload

STAYS_DOWN_S = 3.0  # so that the missing member is visible on the screen


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for people."""

    at_s: float  # since the demo's start
    text: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A leader change and its effect on the clients."""

    kind: str  # failover, switchover
    old: str
    new: str
    elected_s: float  # until another member led and accepted writes
    writes_held_s: float  # the longest time without an acknowledged write
    client_errors: int


class Director:
    """Does one thing at a time to the cluster, in a thread of its own, and records it."""

    def __init__(self, cluster: PatroniCluster, workload: Workload) -> None:
        self._cluster = cluster
        self._workload = workload
        self._thread: threading.Thread | None = None
        self._began_s = time.monotonic()
        self.events: list[Event] = []
        self.changes: list[Change] = []
        self.failed = False

    @property
    def busy(self) -> bool:
        """Whether something is in progress."""
        return self._thread is not None and self._thread.is_alive()

    def fail_over(self) -> None:
        """Kill the leader's Patroni and PostgreSQL, and start them again when another member leads."""
        self._begin(self._fail_over)

    def switch_over(self) -> None:
        """Make Patroni do a switchover."""
        self._begin(self._switch_over)

    def tell(self, text: str, *, bad: bool = False) -> None:
        """Record an event."""
        self.events.append(Event(time.monotonic() - self._began_s, text, bad))

    def _begin(self, act: Callable[[], None]) -> None:
        if not self.busy:
            self._thread = threading.Thread(target=self._act, args=(act,), daemon=True)
            self._thread.start()

    def _act(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (DemoError, OSError) as error:  # TimeoutError is an OSError
            self.failed = True
            self.tell(f"that went wrong: {error}", bad=True)

    def _fail_over(self) -> None:
        old, since_s = self._cluster.require_leader(), time.monotonic()
        old.kill()
        self.tell(f"{old.name}, the leader, was killed (Patroni and PostgreSQL, kill -9)", bad=True)
        new = self._cluster.wait_leader_other_than(old)
        self._record("failover", old, new, since_s)
        time.sleep(STAYS_DOWN_S)
        old.launch()
        self.tell(f"{old.name} was started again")
        old.wait_ready()
        self.tell(f"{old.name} streams from {new.name}")

    def _switch_over(self) -> None:
        old, since_s = self._cluster.require_leader(), time.monotonic()
        self.tell(f"{old.name} is asked to hand over (as patronictl switchover does)")
        new = self._cluster.switchover()
        self._record("switchover", old, new, since_s)
        old.wait_ready()
        self.tell(f"{old.name} streams from {new.name}")

    def _record(self, kind: str, old: Member, new: Member, since_s: float) -> None:
        moment_s = time.monotonic()
        self.tell(f"{new.name} was elected after {moment_s - since_s:.1f} s")
        until(lambda: self._workload.written_since(moment_s), 60, "a write through the router after the leader change")
        held_s = self._workload.longest_write_pause_s(since_s)
        errors = len(self._workload.faults_since(since_s))
        self.changes.append(Change(kind, old.name, new.name, moment_s - since_s, held_s, errors))
        words = f"writes go on, on {new.name}: held for {held_s:.1f} s, errors seen by clients: {errors}"
        self.tell(words, bad=errors > 0)
