"""A router with default settings in front of a primary and two standbys, for the tests of one module.

Clients may use TLS: those that do not ask for it do not notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.front import running
from support.router import static_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give who has signed the router's certificate, for 127.0.0.1 and localhost; its own is `ca`."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def listener_tls(authority: Authority) -> dict[str, str]:
    """Give the `tls` of a listener: clients may use it."""
    cert, key = authority.issue("127.0.0.1", "localhost")
    return {"cert": str(cert), "key": str(key)}


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster, listener_tls: dict[str, str]) -> Iterator[Router]:
    listen = [{"host": "127.0.0.1", "port": 0, "tls": listener_tls}]
    with running({"listen": listen, "cluster": static_cluster(_streaming_cluster.servers)}) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    """Give a router in front of `streaming`, pool.size 20, SCRAM towards clients and servers."""
    streaming.primary.sql(SCHEMA)
    streaming.wait_caught_up()
    return _front


SCHEMA = "set lock_timeout = '3s'; drop table if exists items; create table items (id int, word text)"
