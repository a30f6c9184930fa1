"""What becomes of the connection in whose handler a bug was."""

from __future__ import annotations

import select
import socket

from pgrouter.auth.files import AuthFiles
from pgrouter.config.settings import Cluster, MemberAddress, Settings
from pgrouter.net.loop import Loop
from pgrouter.planes import NoRoles
from pgrouter.pool.manager import PoolManager
from pgrouter.proxy.access import Access
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.data_plane import bug
from pgrouter.proxy.databases import Databases
from pgrouter.proxy.registry import Registry
from pgrouter.topology import ClusterView


def test_a_client_is_told_of_a_bug_and_closed() -> None:
    loop = Loop(on_bug=bug)
    settings = Settings(cluster=Cluster(source="static", members=(MemberAddress(name="pg0", host="10.0.0.1"),)))
    pools = PoolManager(loop.poller, settings.pool, ClusterView())
    access = Access(AuthFiles.load(settings.auth), NoRoles())
    registry = Registry(settings, pools, Databases(settings.routing), access, lambda _client: None)
    ours, theirs = socket.socketpair()
    with theirs:
        client = ClientConnection(loop.poller, registry, "split")
        client.attach(ours, select.EPOLLIN)
        bug(client, ZeroDivisionError())
        answer = theirs.recv(4096)
        assert (answer[:1], b"SFATAL" in answer, b"CXX000" in answer) == (b"E", True, True)
        assert b"ZeroDivisionError" in answer
        assert client.closed
    loop.close()
