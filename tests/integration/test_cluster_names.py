"""Members and etcd by host names: several addresses, addresses that change, and a resolver that knows nothing."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.cable import Cable
from support.hosts import Hosts
from support.load import NOTHING, READS, WRITES, roles, wait_roles
from support.router import MONITOR, etcd_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.router import Router, RouterFactory, Settings

    from pgrouter.demo.etcd import EtcdCluster
    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

ALIVE, NOBODY, OTHER = "127.0.0.1", "127.0.0.9", "127.0.0.2"  # NOBODY refuses; at OTHER a test's cable is plugged in


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path / "hosts")


@pytest.fixture
def table(streaming: StreamingCluster) -> StreamingCluster:
    streaming.primary.sql("drop table if exists named; create table named (id int)")
    streaming.wait_caught_up()
    return streaming


def named(cluster: StreamingCluster, **more: Any) -> Settings:
    members = [{"name": s.name, "host": f"{s.name}.test", "port": s.port} for s in cluster.servers]
    return {"cluster": {"source": "static", "members": members, "monitor": MONITOR | {"timeout": "1s"}}, **more}


@contextlib.contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """Let somebody listen there who never answers."""
    with Cable(port, host, port) as cable:
        cable.cut()
        yield


def works(router: Router, times: int = 6) -> set[int]:
    """Write and read; gives the ports that reads went to."""
    with router.connect(options="'-c pgrouter.read_consistency=eventual'") as client:
        client.execute("insert into named values (1)")
        reads = "/*pgrouter: replica*/ select inet_server_port()"
        return {client.execute(reads).fetchone()[0] for _ in range(times)}


def test_the_first_address_of_a_name_is_dead(router: RouterFactory, table: StreamingCluster, hosts: Hosts) -> None:
    """Its own connections and those of clients go where somebody answers, past who refuses, and past who is silent."""
    primary = table.primary
    hosts.set(**{f"{server.name}_test": [NOBODY, ALIVE] for server in table.servers})
    with silent(NOBODY, primary.port), silent(NOBODY, table.standbys[0].port):
        front = router(named(table), program=hosts.program)
        wait_roles(front, pg0=WRITES, pg1=READS, pg2=READS)
        until(lambda: works(front) == {server.port for server in table.standbys}, 10, "both are read from")
        assert not front.log_contains("login failed")
        # all connections are lost, and made again at the address that is known to be good
        primary.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pgrouter'")
        start_s = time.monotonic()
        works(front)
        assert time.monotonic() - start_s < 2
        assert not front.log_contains("probe of")


def test_a_name_gets_another_address(router: RouterFactory, table: StreamingCluster, hosts: Hosts) -> None:
    """The server has moved: clients follow it, and their sessions go on."""
    port = table.primary.port
    others = {f"{server.name}_test": [ALIVE] for server in table.standbys}
    with Cable(port, OTHER, port):
        hosts.set(pg0_test=[OTHER], **others)
        front = router(named(table), program=hosts.program)
        wait_roles(front, pg0=WRITES)
        client = front.connect()
        client.execute("insert into named values (1)")
        hosts.set(pg0_test=[NOBODY, ALIVE], **others)
    with client:  # what was at the old address is gone
        client.execute("insert into named values (2)")
        until(lambda: roles(front)["pg0"] == WRITES, 10, "it leads there")
        assert client.execute("select count(*) from named").fetchone() == (2,)


def test_a_name_that_cannot_be_looked_up(router: RouterFactory, table: StreamingCluster, hosts: Hosts) -> None:
    """A name that nobody knows is said; later on what it was last still holds, also for the monitor's connections."""
    hosts.set(pg0_test=[ALIVE], pg1_test=[ALIVE])
    front = router(named(table), program=hosts.program)
    wait_roles(front, pg0=WRITES, pg1=READS, pg2=NOTHING)
    reason = next(row["reason"] for row in front.admin("SHOW CLUSTER") if row["name"] == "pg2")
    assert reason == ("does not answer: could not translate host name 'pg2.test' to address: Name or service not known")
    hosts.set(**{f"{server.name}_test": [ALIVE] for server in table.servers})
    wait_roles(front, pg0=WRITES, pg1=READS, pg2=READS)
    hosts.set()
    for server in table.servers:
        server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pgrouter'")
    until(lambda: works(front) == {server.port for server in table.standbys}, 10, "both are read from")
    time.sleep(1)  # several rounds of probes, none of which may take anybody down
    assert roles(front) == {"pg0": WRITES, "pg1": READS, "pg2": READS}
    said = [line for line in front.log_text().splitlines() if "probe of" in line]
    assert len(said) == 1, said


@pytest.mark.etcd
def test_etcd_has_a_name(router: RouterFactory, etcd: EtcdCluster, table: StreamingCluster, hosts: Hosts) -> None:
    """Of two addresses the first is dead; then nothing is known of it any more, and then it is back."""
    hosts.set(etcd_test=[NOBODY, ALIVE])
    for server in table.servers:
        value = f'{{"conn_url": "postgres://{ALIVE}:{server.port}/postgres", "state": "running", "xlog_location": 9}}'
        etcd.put(f"/service/demo/members/{server.name}", value)
    etcd.put("/service/demo/leader", "pg0")
    cluster = etcd_cluster(etcd)
    cluster["etcd"] |= {"endpoints": [f"etcd.test:{etcd.ports[0]}"], "idle": "500ms"}
    front = router({"cluster": cluster}, program=hosts.program)
    wait_roles(front, pg0=WRITES)
    hosts.set()
    until(lambda: front.log_contains("Failed to resolve 'etcd.test'"), 10, "it is in the log")
    works(front)  # the name does not matter to what was last known
    etcd.delete("/service/demo/leader")
    hosts.set(etcd_test=[ALIVE, NOBODY])
    wait_roles(front, pg0=NOTHING)
    etcd.put("/service/demo/leader", "pg0")
    wait_roles(front, pg0=WRITES)
    assert len([line for line in front.log_text().splitlines() if "Failed to resolve" in line]) <= 2
