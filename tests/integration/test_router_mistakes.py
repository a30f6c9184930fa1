"""What is wrong in the configuration is said in its own words to the first client, and at once."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.router import MONITOR, etcd_cluster, static_cluster

if TYPE_CHECKING:
    from support.router import RouterFactory

    from pgrouter.demo.etcd import EtcdCluster
    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

WITHIN_S = 2.0


def closed_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def monitored(cluster: StreamingCluster, **monitor: str) -> dict[str, Any]:
    return static_cluster(cluster.servers) | {"monitor": MONITOR | monitor}


def refused(router: RouterFactory, cluster: dict[str, Any], pool: dict[str, Any] | None = None) -> str:
    """Give what a client is told."""
    front = router({"cluster": cluster, "pool": pool or {}})
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError) as told:
        front.connect()
    assert time.monotonic() - began < WITHIN_S
    said = str(told.value)
    assert "no server is available: " in said
    assert front.log_contains("no server is available: ")
    return said.partition("no server is available: ")[2]


def test_the_password_of_the_monitor(router: RouterFactory, streaming: StreamingCluster) -> None:
    said = refused(router, monitored(streaming, password="wrong"))
    assert "refuses the router's own login: password authentication failed for user" in said
    assert "cluster.monitor.password" in said


def test_the_role_of_the_monitor(router: RouterFactory, streaming: StreamingCluster) -> None:
    assert "authentication failed" in refused(router, monitored(streaming, user="nobody_has_this_name"))


def test_the_database_of_the_monitor(router: RouterFactory, streaming: StreamingCluster) -> None:
    said = refused(router, monitored(streaming, database="nowhere"))
    assert 'database "nowhere" does not exist' in said
    assert "cluster.monitor.database" in said


def test_the_scope(router: RouterFactory, etcd: EtcdCluster) -> None:
    said = refused(router, etcd_cluster(etcd, "of_somebody_else"))
    assert "there are no keys below /service/of_somebody_else/" in said


def test_etcd_away(router: RouterFactory) -> None:
    where = {"endpoints": [f"127.0.0.1:{closed_port()}"], "scope": "main"}
    said = refused(router, {"source": "etcd", "etcd": where, "monitor": MONITOR})
    assert said.startswith("etcd cannot be reached")


def test_patroni_away(router: RouterFactory) -> None:
    where = {"urls": [f"http://127.0.0.1:{closed_port()}"]}
    said = refused(router, {"source": "patroni", "patroni": where, "monitor": MONITOR})
    assert said.startswith("Patroni's REST API cannot be reached")


def test_what_was_known_once_is_no_mistake(router: RouterFactory, streaming: StreamingCluster) -> None:
    """A limit, a stopped server, a role that is taken away later: as in any outage."""
    cluster = monitored(streaming, user="watcher", password="w")
    streaming.primary.sql("drop role if exists watcher; create role watcher login password 'w' in role pg_monitor")
    streaming.wait_caught_up()
    front = router({"cluster": cluster, "pool": {"connect_timeout": "3s"}})
    with front.connect() as client:
        assert client.execute("select 1").fetchone() == (1,)
    streaming.primary.sql("alter role watcher password 'other'")
    with front.connect() as client:
        assert client.execute("select 1").fetchone() == (1,)
    assert not front.log_contains("no server is available: ")
    streaming.primary.sql("drop role watcher")
