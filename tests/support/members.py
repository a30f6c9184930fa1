"""Clients of the members themselves, bypassing any router: what the cluster can do by itself."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Self

import psycopg

if TYPE_CHECKING:
    from pgrouter.demo.patroni import Member, PatroniCluster


class Writers:
    """A client of every member that writes whenever possible, and the times at which each accepted a write."""

    def __init__(self, cluster: PatroniCluster) -> None:
        self.accepted: dict[str, list[float]] = {member.name: [] for member in cluster.members}
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(member,)) for member in cluster.members]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def first_after(self, name: str, moment_s: float) -> float:
        return next(accepted_s for accepted_s in self.accepted[name] if accepted_s > moment_s)

    def pause(self, old: str, new: str, since_s: float) -> tuple[float, float]:
        """Return the times of the last write that the old leader accepted and of the first that the new one did."""
        first_s = self.first_after(new, since_s)
        return max(moment_s for moment_s in self.accepted[old] if moment_s < first_s), first_s

    def _write(self, member: Member) -> None:
        while not self._end.wait(0.01):
            with contextlib.suppress(psycopg.Error), member.connect() as connection:
                while not self._end.wait(0.005):
                    with contextlib.suppress(psycopg.errors.ReadOnlySqlTransaction):
                        connection.execute("CREATE TABLE IF NOT EXISTS written (n int)")
                        self.accepted[member.name].append(time.monotonic())
