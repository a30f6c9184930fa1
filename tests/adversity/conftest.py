"""A router that trusts its clients, in front of a primary and two standbys, for the tests of one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.events import configure, wait_synchronous
from support.front import running
from support.rawclient import RawClient, values
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.patroni import PatroniCluster
    from pgrouter.demo.streaming import StreamingCluster


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    cluster = static_cluster(_streaming_cluster.servers)
    cluster["monitor"] = cluster["monitor"] | {"timeout": "1s"}  # sooner than a test's patience
    with running({"cluster": cluster, "auth": {"type": "trust"}, "pool": {"size": 10}}) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    """Give a router in front of `streaming`, pool.size 10."""
    streaming.primary.sql("set lock_timeout = '3s'; drop table if exists items; create table items (id int, word text)")
    streaming.wait_caught_up()
    return _front


@pytest.fixture
def bystander(front: Router) -> Iterator[None]:
    """Whatever a test does, a client that was there before goes on, and a new one can come."""
    with RawClient(front.port) as old:
        old.login()
        old.ask("begin")
        yield
        assert values(old.ask("select 'still here'")) == [["still here"]]
        assert old.ask("commit")[-1].body == b"I"
        with RawClient(front.port) as new:
            new.login()
            assert values(new.ask("select 1")) == [["1"]]


@pytest.fixture
def synchronous(patroni: PatroniCluster, request: pytest.FixtureRequest) -> Iterator[object]:
    """Have commits wait for a replica, one of those that may lead next; a parameter asks for another mode, or none."""
    mode = getattr(request, "param", True)
    if not mode:
        yield mode
        return
    configure(patroni, {"synchronous_mode": mode})
    wait_synchronous(patroni)
    yield mode
    patroni.heal()
    configure(patroni, {"synchronous_mode": None, "synchronous_mode_strict": None})
    leader = patroni.require_leader()
    until(lambda: leader.sql("show synchronous_standby_names") == [("",)], 30, "asynchronous replication")
