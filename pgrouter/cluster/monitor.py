"""The monitor: runs the source and the probes, merges their results, publishes and logs each new view.

Everything here runs in one event loop; the only thread is the one that watches etcd.

How often a member is probed: every `interval` while all is well (with static members at least every 0.5 s: only the
servers themselves show a promotion); every 0.05 s when it has been named leader and only its own report is missing;
every 0.1 s while nobody is writable or the DCS is out of reach, for some seconds after a change of roles, and after a
failure, with pauses doubling up to `interval` for a member that keeps failing. A sign of trouble at one member makes
all of them be probed at once. So a crash is noticed at once (the open connection breaks, or `suspect` is called), a
host that hangs after two timeouts.

When a session has to see its own write (`sample`), the primary is asked for its WAL position and then the replicas for
theirs, at most twenty times a second: `cluster.freshness` turns them into marks.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pgrouter.clock import monotonic, wall
from pgrouter.cluster.alarms import same_server, second_primaries
from pgrouter.cluster.case import Lag
from pgrouter.cluster.freshness import Freshness
from pgrouter.cluster.health import SILENT_AFTER, Probe
from pgrouter.cluster.member_watch import MemberWatch
from pgrouter.cluster.merge import merge
from pgrouter.cluster.names import follow
from pgrouter.cluster.pace import ALERT_FOR_S, STATIC_S, pace_s
from pgrouter.cluster.reigns import Reigns
from pgrouter.cluster.source import source_of
from pgrouter.cluster.stall import Stall
from pgrouter.cluster.static import StaticSource
from pgrouter.cluster.switchover import NONE, hold
from pgrouter.config.settings import Reads
from pgrouter.libpq.connection import NO_PROTECTION
from pgrouter.topology import ClusterView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgrouter.clock import Clock
    from pgrouter.cluster.patroni_keys import Snapshot
    from pgrouter.cluster.probe import Prober
    from pgrouter.cluster.source import Source
    from pgrouter.config.settings import Cluster
    from pgrouter.libpq.connection import Protection
    from pgrouter.planes import ClusterSubscriber
    from pgrouter.topology import ReplayPoint

log = logging.getLogger("pgrouter.cluster")

SAMPLE_S = 0.05  # between two requested samples of WAL positions
START_S = 3.0  # start() waits this long for a complete first view


class Monitor:
    """Follows one cluster; the subscriber gets each new view, and marks, in the loop.

    A view that differs in WAL positions only keeps its number and is published at most once per `interval`.
    """

    def __init__(
        self,
        settings: Cluster,
        reads: Reads | None = None,
        clock: Clock = monotonic,
        source: Source | None = None,
        protection: Protection = NO_PROTECTION,
    ) -> None:
        self._settings, self._clock, self._protection = settings, clock, protection
        self.subscriber: ClusterSubscriber
        self._names: asyncio.Task[None] | None = None
        self._hold = NONE
        self.detached: frozenset[str] = frozenset()  # members that get no reads, as an operator has said
        self._stall: Stall | None = None  # not over yet
        self._awake_s = 0.0  # the end of the last one
        self._on_looked: Callable[[], None] = lambda: None
        self._reads = reads or Reads()
        self._freshness = Freshness()
        self._marks: dict[str, ReplayPoint] = {}
        self._sampler: asyncio.TimerHandle | None = None  # pending between the request for a sample and its query
        self._sampled_s = 0.0
        self._sampled: str | None = None  # the primary, while its answer is awaited; after it the replicas are asked
        self._source = source or source_of(settings, clock)
        static = settings.source == "static"
        self._interval_s = min(settings.monitor.interval_s, STATIC_S if static else math.inf)
        self._view = ClusterView()
        self._watches: dict[str, MemberWatch] = {}
        self._probes: dict[str, Probe] = {}
        self._retired: set[asyncio.Task[None]] = set()  # probers that are stopping
        self._alarms: frozenset[str] = frozenset()
        self._changed_s = self._published_s = clock()
        self.source_name = settings.source
        self.dcs_since_s = self.leader_since_s = self._changed_s  # of the current state and leader
        self.reigns = Reigns(self._changed_s)
        self._running = False
        self._complete = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_s: float | None = None  # when the timer is due, at which a hold begins or ends by itself

    @property
    def view(self) -> ClusterView:
        """Return the newest view."""
        return self._view

    @property
    def probes(self) -> Mapping[str, Probe]:
        """Return each member's last report, with WAL positions and the times of query and answer."""
        return self._probes

    async def start(self, subscriber: ClusterSubscriber) -> None:
        """Start to follow; return when every member has answered or failed, or after START_S."""
        self.subscriber = subscriber
        self._running = True
        log.info("cluster: following source %s", self.source_name)
        self._names = asyncio.get_running_loop().create_task(follow(self._open_probers), name="names")
        self._source.start(self._update)
        self._update()
        try:
            async with asyncio.timeout(START_S):
                await self._complete.wait()
        except TimeoutError:
            silent = [member.name for member in self._view.members if member.name not in self._probes]
            who = ", ".join(silent) or f"source {self.source_name}"
            log.warning("cluster: %s: no word within %.0f s of the start, going on without", who, START_S)

    def limit(self, reads: Reads) -> None:
        """Apply limits to the lag of replicas, from now on."""
        self._reads = reads
        self._update()

    async def stop(self) -> None:
        """Stop source and probes and close their connections."""
        self._running = False
        if self._sampler is not None:
            self._sampler.cancel()
        self._wake_at(None)
        if self._names is not None:
            self._names.cancel()
        await self._source.stop()
        watches, self._watches = list(self._watches.values()), {}
        await asyncio.gather(*(watch.stop() for watch in watches), *self._retired)

    def reload(self, settings: Cluster) -> None:
        """Apply a changed list of static members; those that stay keep their roles. Everything else needs a restart.

        With `forget_on_reload` each reload calls `forget`, so that SIGHUP can do that.
        """
        if isinstance(self._source, StaticSource):
            self._source.replace(settings.members)
            self._update()
        if settings.forget_on_reload:
            self.forget()

    def detach(self, name: str) -> None:
        """Give a member no reads until `attach`; one that leads gets its writes all the same."""
        log.warning("cluster: %s is detached by an operator: it gets no reads", name)
        self.detached |= {name}
        self._update()

    def attach(self, name: str) -> None:
        """Give a member reads again, if nothing else is against it, and look at it at once."""
        if name in self.detached:
            log.warning("cluster: %s is attached again", name)
        self.detached -= {name}
        self._update()
        self.suspect(name)

    def forget(self) -> None:
        """Forget the cluster's system identifier and timeline, for an operator who knows that both are new.

        Who leads, and that at most one does, is decided by the source and the servers' reports as always.
        """
        log.warning(
            "cluster: told to forget system identifier %s and timeline %d", self._view.system_id, self._view.timeline
        )
        members = tuple(replace(member, follows=None) for member in self._view.members)
        self._view = replace(self._view, members=members, system_id="", timeline=0, lsn=0)
        for watch in self._watches.values():
            watch.prober.forget()
        self._update()
        self._hurry_all()

    def look_again(self, stalled_s: float, then: Callable[[], None]) -> None:
        """Hold writes until it is known afresh who leads, then call `then`: the process was stopped for so long."""
        if not self._running:
            then()
            return
        log.warning("cluster: the router stood still for %.1f s; writes are held until it has looked", stalled_s)
        self._awake_s, self._on_looked = self._clock(), then
        self._stall = Stall(stalled_s, self._awake_s)
        self._source.refresh()
        self._hurry_all()
        self._update()

    def suspect(self, name: str) -> None:
        """Probe a member at once: another part of the router has had trouble with it."""
        self._freshness.distrust(name, self._clock())
        self._follow_marks()
        watch = self._watches.get(name)
        if watch is not None:
            watch.prober.hurry()

    def sample(self) -> None:
        """Query WAL positions soon: a read has to see a write that no replica is known to have."""
        awaited = self._sampled is not None and self._sampled == self._view.primary
        if self._sampler is None and not awaited and self._running:
            pause_s = max(0.0, self._sampled_s + SAMPLE_S - self._clock())
            self._sampler = asyncio.get_running_loop().call_later(pause_s, self._sample)

    def _sample(self) -> None:
        self._sampler = None
        self._sampled_s = self._clock()
        self._sampled = self._view.primary
        if self._sampled is not None and self._sampled in self._watches:
            self._watches[self._sampled].prober.hurry()

    def _update(self) -> None:
        """Merge what is known now and publish the view if it is new."""
        if not self._running:
            return
        snapshot = self._source.current(self._view, self._probes)
        if snapshot is None:
            return
        snapshot = replace(self._after_stall(self._with_hold(snapshot)), detached=self.detached)
        self._follow_marks()
        lag = Lag(most_bytes=self._reads.max_lag_bytes, most_s=self._reads.max_lag_s, marks=self._marks)
        before, self._view = self._view, merge(self._view, snapshot, self._probes, lag)
        if self._follow_members():  # reports from an old address do not count for the new one
            self._view = merge(before, snapshot, self._probes, lag)
        if self._view.number != before.number:
            self.reigns.follow(before, self._view, self._clock())
            if self._view.dcs_reachable != before.dcs_reachable:
                self.dcs_since_s = self._clock()
            if self._view.leader != before.leader:
                self.leader_since_s = self._clock()
            log.info("cluster view %d: %s", self._view.number, self._view.reason)
            self._publish()
            if _roles(self._view) != _roles(before):
                self._changed_s = self._clock()
                self._hurry_all()
        elif self._view is not before and self._clock() - self._published_s >= self._settings.monitor.interval_s:
            self._publish()
        self._alarm(snapshot.leader, snapshot.leader_since_s)
        if all(member.name in self._probes for member in self._view.members):
            self._complete.set()

    def _follow_marks(self) -> None:
        marks = self._freshness.marks(self._view, self._probes)
        if marks != self._marks:
            self._marks = marks
            self.subscriber.freshen(marks)

    def _with_hold(self, snapshot: Snapshot) -> Snapshot:
        """Add the current consequences of an announced switchover, and schedule an update for when they change."""
        limit_s = self._settings.switchover_timeout_s
        now = self._hold = hold(snapshot, self._clock(), wall(), limit_s, self._hold)
        self._wake_at(now.until_s)
        return replace(snapshot, hold=now.reason) if now.reason else snapshot

    def _after_stall(self, snapshot: Snapshot) -> Snapshot:
        """Add the current consequences of a stall: what was known or said before it proves nothing."""
        if self._stall is not None:
            probes = [self._probes.get(name, Probe()) for name in self._watches]
            if not self._stall.is_over(snapshot, probes, self._clock()):
                return replace(snapshot, hold=self._stall.reason)
            log.info("cluster: looked again %.3f s after standing still", self._clock() - self._awake_s)
            self._stall = None
            self._on_looked()
        return replace(snapshot, leader_since_s=max(snapshot.leader_since_s, self._awake_s))

    def _wake_at(self, moment_s: float | None) -> None:
        if moment_s == self._wakes_s:
            return
        self._wakes_s = moment_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment_s is not None:
            pause_s = max(0.0, moment_s - self._clock())
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._wake)

    def _wake(self) -> None:
        self._timer = self._wakes_s = None
        self._update()

    def _publish(self) -> None:
        self._published_s = self._clock()
        try:
            self.subscriber.apply(self._view)
        except Exception:  # a consumer's bug must not blind the router
            log.exception("cluster view %d: a consumer failed", self._view.number)

    def _follow_members(self) -> bool:
        """Probe exactly the members of the view, at its addresses; return whether a report was dropped."""
        dropped = False
        wanted = {member.name: (member.host, member.port) for member in self._view.members}
        for name, watch in list(self._watches.items()):
            if wanted.get(name) != watch.prober.address:
                del self._watches[name]
                dropped = self._probes.pop(name, None) is not None or dropped
                self._retire(watch)
        for name, address in wanted.items():
            if name not in self._watches:
                watch = MemberWatch(name, address, self._settings.monitor, self, self._clock, self._protection)
                self._watches[name] = watch
                watch.prober.start()
        return dropped

    def _open_probers(self) -> Iterator[Prober]:
        return (watch.prober for watch in self._watches.values())

    def _retire(self, watch: MemberWatch) -> None:
        task = asyncio.get_running_loop().create_task(watch.stop())
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    def heard(self, name: str, before: Probe, probe: Probe) -> None:
        """Called by a member's watch with each outcome, and what was known before it."""
        self._probes[name] = probe
        if probe.primary_since_s > before.primary_since_s and self._view.leader != name:
            self._source.refresh()  # promoted without our knowing: the source's last answer may be old
        self._update()
        if (probe.failures, probe.unstreamed) in ((1, 0), (0, 1)):
            self._hurry_all(but=name)
        if name == self._sampled:  # right after the primary's answer, replicas are most likely to be that far
            self._sampled = None
            self._hurry_all(but=name)

    def _hurry_all(self, but: str = "") -> None:
        for name, watch in self._watches.items():
            if name != but:
                watch.prober.hurry()

    def pace_s(self, name: str) -> float:
        """Return the pause before the next probe of a member."""
        view, probe = self._view, self._probes.get(name, Probe())
        return pace_s(
            self._interval_s,
            failures=probe.failures,
            silent=0 < probe.silences < SILENT_AFTER,
            awaited=view.primary is None and view.leader == name,
            # Without a DCS only the servers' reports show another leader.
            alert=view.primary is None or not view.dcs_reachable or self._clock() - self._changed_s < ALERT_FOR_S,
        )

    def _alarm(self, leader: str | None, since_s: float) -> None:
        """Log an alarm, once each, for servers that report to be primary although another one has been named since."""
        now = frozenset(second_primaries(self._probes, leader, since_s)) - same_server(self._view, self._probes, leader)
        for name in sorted(now - self._alarms):
            log.error("cluster: ALARM: %s says it is primary while %s leads; it gets nothing", name, leader)
        for name in sorted(self._alarms - now):
            log.warning("cluster: %s no longer says that it is primary, or leads now", name)
        self._alarms = now


def _roles(view: ClusterView) -> tuple[object, ...]:
    return view.leader, view.primary, view.readers, view.paused, len(view.members)
