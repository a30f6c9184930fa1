"""A group's pools under everything that can happen, in any order."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "pool"))
from pool_ground import Client, World, view

from pgrouter.errors import ServerLost
from pgrouter.server.states import ACTIVE, DIALLING, IDLE_STATE, LOGGING_IN, RESETTING

SIZE = 2
pick = st.integers(0, 1_000_000)
views = st.sampled_from(
    [
        view(),
        view(readers=("b",)),
        view(readers=()),
        view(primary=None),
        view(primary=None, readers=()),
        view(primary="b", readers=("a", "c")),
        view(primary="c", readers=("a", "b")),
        view(readers=("b",), members=("a", "b")),
        view(readers=("b", "c", "d"), members=("a", "b", "c", "d")),
    ]
)


class PoolManager(RuleBasedStateMachine):
    """Clients ask, wait, work and leave; servers log in, fail and die; the cluster changes; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(size=SIZE, wait_timeout_s=20, no_leader_timeout_s=10, idle_timeout_s=60, lifetime_s=300)
        self.group = self.world.group
        self.clients: list[Client] = []
        self.wiping: list = []

    def teardown(self) -> None:
        """Let go."""
        self.world.close()

    # -- helpers

    def working(self) -> list[Client]:
        """Give the clients that hold a connection."""
        return [client for client in self.clients if client.held is not None]

    def queued(self) -> list[Client]:
        """Give the clients that wait."""
        return [entry[0] for queue in (self.group.waiting.writes, self.group.waiting.reads) for entry in queue]

    # -- clients

    @initialize()
    def start(self) -> None:
        """One that makes the pools known."""
        self.ask(reads=True)

    @rule(reads=st.booleans())
    def ask(self, reads: bool) -> None:  # noqa: FBT001
        """A new client wants a connection."""
        queue = self.group.waiting.reads if reads else self.group.waiting.writes
        ahead = len(queue)
        client = Client(self.world, len(self.clients))
        self.clients.append(client)
        if client.ask(reads=reads):
            assert not ahead, "overtaken"

    @precondition(lambda self: self.working())
    @rule(which=pick, dirty=st.booleans())
    def release(self, which: int, dirty: bool) -> None:  # noqa: FBT001
        """A client is done."""
        client = self.working()[which % len(self.working())]
        server = client.held
        server.session.dirty = server.session.dirty or dirty
        queues = (self.group.waiting.writes, self.group.waiting.reads)
        before = [[entry[0] for entry in queue] for queue in queues]
        self.world.served.clear()
        client.release()
        for served in self.world.served:
            assert any(names and names[0] is served for names in before), "not the first of its queue"
        if server.state == RESETTING:
            self.wiping.append(server)

    @precondition(lambda self: self.queued())
    @rule(which=pick)
    def leave(self, which: int) -> None:
        """A client that waits goes away."""
        client = self.queued()[which % len(self.queued())]
        self.group.forget(client)
        assert client not in self.queued()

    # -- servers

    @precondition(lambda self: self.world.dialled)
    @rule(which=pick)
    def log_in(self, which: int) -> None:
        """A dial succeeds."""
        self.world.log_in(self.world.dialled[which % len(self.world.dialled)])

    @precondition(lambda self: self.world.dialled)
    @rule(which=pick)
    def fail(self, which: int) -> None:
        """A dial fails."""
        self.world.fail(self.world.dialled[which % len(self.world.dialled)])

    @precondition(lambda self: self.wiping)
    @rule()
    def wiped(self) -> None:
        """A reset has ended, well or not."""
        server = self.wiping.pop(0)
        if not server.closed:
            server.owner.server_free(server)

    @precondition(lambda self: [s for s in self.world.servers() if s not in self.world.dialled])
    @rule(which=pick)
    def die(self, which: int) -> None:
        """A server ends a connection."""
        living = [server for server in self.world.servers() if server not in self.world.dialled]
        server = sorted(living, key=lambda s: s.connection_id)[which % len(living)]
        server.lose(ServerLost("gone"))
        assert server.peer is None

    # -- the world

    @rule(new=views)
    def change(self, new: object) -> None:
        """The cluster changes."""
        self.world.apply(new)
        self.world.dialled = [server for server in self.world.dialled if not server.closed]

    @rule(seconds=st.sampled_from([0.01, 0.1, 1, 5, 30, 100]))
    def wait(self, seconds: float) -> None:
        """Time passes; the janitor sees to it that somebody is dialled for who waits."""
        self.world.advance(seconds)
        for queue, reads in ((self.group.waiting.writes, False), (self.group.waiting.reads, True)):
            pools = self.group.eligible(reads=reads)
            if queue and any(pool.can_dial(self.world.now) for pool in pools):
                assert sum(pool.pending for pool in pools) >= 1

    @rule()
    def pause_or_resume(self) -> None:
        """An operator pauses the database, or ends that."""
        self.group.pause(not self.group.paused)
        self.world.dialled = [server for server in self.world.dialled if not server.closed]

    # -- what always holds

    @invariant()
    def a_paused_pool_runs_out_of_connections(self) -> None:
        """None is free, none is opened, and what is in use, or being reset, is closed afterwards."""
        for pool in self.group.members.values():
            if self.group.paused:
                assert not pool.idle
                assert not pool.pending
                assert all(server.close_when_idle for server in pool.servers)

    @invariant()
    def a_connection_is_in_one_place(self) -> None:
        """In its pool's set until it is closed; idle exactly when its state says so; never with two clients."""
        for pool in self.group.members.values():
            states = Counter(server.state for server in pool.servers)
            assert set(pool.idle) == {server for server in pool.servers if server.state == IDLE_STATE}
            assert len(pool.idle) == len(set(pool.idle))
            assert pool.pending == states[DIALLING] + states[LOGGING_IN]
            assert not any(server.closed for server in pool.servers)
        held = [client.held for client in self.working()]
        assert len(held) == len(set(held))
        assert all(server.state == ACTIVE and not server.closed for server in held)

    @invariant()
    def limits_hold(self) -> None:
        """No pool is larger than allowed."""
        assert all(len(pool.servers) <= SIZE for pool in self.group.members.values())

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Who waits could not be served by anything that is free."""
        if self.group.waiting.writes:
            assert not (self.group.writer is not None and self.group.writer.idle)
        if self.group.waiting.reads:
            assert not any(pool.idle for pool in self.group.eligible(reads=True))

    @invariant()
    def writes_go_to_the_primary(self) -> None:
        """No pool but those of the view's members is kept."""
        assert set(self.group.members) <= {member.name for member in self.world.view.members}
        assert (self.group.writer.member.name if self.group.writer else None) == self.world.view.primary


PoolManager.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestPools = PoolManager.TestCase
