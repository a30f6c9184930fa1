"""Real servers for tests: started when the first test asks, repaired after each test, gone with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from session_fuzz.sides import both_sides
from support.router import RouterFactory

import pgrouter
from pgrouter.demo.etcd import EtcdCluster
from pgrouter.demo.patroni import PatroniCluster
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from session_fuzz.sides import Sides


# A busy machine is no finding: what takes long is pytest-timeout's to say.
settings.register_profile("pgrouter", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pgrouter")


def pytest_report_header() -> str:
    """Say whether the compiled modules run compiled."""
    return f"pgrouter {pgrouter.__version__}, COMPILED = {pgrouter.COMPILED}"


@pytest.fixture(scope="session")
def _streaming_cluster() -> Iterator[StreamingCluster]:
    with StreamingCluster() as cluster:
        yield cluster


@pytest.fixture
def streaming(_streaming_cluster: StreamingCluster) -> Iterator[StreamingCluster]:
    """Give a primary and two standbys; pg0 is the primary at the start of every test."""
    yield _streaming_cluster
    _streaming_cluster.heal()


@pytest.fixture(scope="session")
def sides() -> Iterator[Sides]:
    """Give the two sides of tests/session_fuzz: stories are told on direct connections and through a router."""
    with both_sides() as both:
        yield both


@pytest.fixture(scope="session")
def _patroni_cluster() -> Iterator[PatroniCluster]:
    with PatroniCluster() as cluster:
        yield cluster


@pytest.fixture
def patroni(_patroni_cluster: PatroniCluster) -> Iterator[PatroniCluster]:
    """Give three members under Patroni with a ttl of 5 s; all healthy at the start of every test, any of them leads."""
    yield _patroni_cluster
    _patroni_cluster.heal()


@pytest.fixture(scope="session")
def _etcd_node() -> Iterator[EtcdCluster]:
    with EtcdCluster() as etcd:
        yield etcd


@pytest.fixture
def etcd(_etcd_node: EtcdCluster) -> Iterator[EtcdCluster]:
    """Give one etcd node; empty at the start of every test."""
    _etcd_node.clear()
    yield _etcd_node
    _etcd_node.heal()


@pytest.fixture(scope="session")
def _router_factory() -> Iterator[RouterFactory]:
    factory = RouterFactory()
    yield factory
    factory.remove()


@pytest.fixture
def router(_router_factory: RouterFactory) -> Iterator[RouterFactory]:
    """Start routers: `router({"cluster": static_cluster(streaming.servers)})`; they end with the test."""
    yield _router_factory
    _router_factory.stop_all()
