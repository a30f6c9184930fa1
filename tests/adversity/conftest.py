"""A router that trusts its clients, in front of a primary and two standbys, for the tests of one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.front import running
from support.rawclient import RawClient, values
from support.router import static_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

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
