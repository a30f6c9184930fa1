"""Members that come and go while the router runs."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.load import NOTHING, READS, WRITES, Load, roles, wait_roles
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from support.router import Router, RouterFactory

    from pgrouter.demo.postgres import Server
    from pgrouter.demo.streaming import StreamingCluster


def list_members(front: Router, *servers: Server) -> None:
    """Write the file with these static members and have it read."""
    front.settings["cluster"] = static_cluster(servers)
    front.write_settings()
    front.admin("RELOAD")


@pytest.mark.pg
def test_static_members_come_and_go_with_a_reload(router: RouterFactory, streaming: StreamingCluster) -> None:
    pg0, pg1, pg2 = streaming.servers
    front = router({"cluster": static_cluster([pg0, pg1])})
    pg0.sql("drop table if exists written; create table written (writer int, number int)")
    streaming.wait_caught_up()
    with Load(front) as load:
        load.wait_progress()
        list_members(front, pg0, pg1, pg2)
        wait_roles(front, pg0=WRITES, pg1=READS, pg2=READS)
        asked = {row["name"]: row["query_count"] for row in front.admin("SHOW CLUSTER")}
        until(lambda: any(r["name"] == "pg2" and r["query_count"] > 20 for r in front.admin("SHOW CLUSTER")), 30, "reads")
        list_members(front, pg0, pg2)
        assert set(roles(front)) == {"pg0", "pg2"}  # at once, although pg1 would answer still
        load.wait_progress()
    assert asked["pg2"] <= 20
    assert not load.errors, load
    until(lambda: pg1.sql("select count(*) from pg_stat_activity where application_name ~ 'pgrouter'") == [(0,)], 20, "gone")


@pytest.mark.pg
def test_writes_wait_while_the_primary_is_not_on_the_list(router: RouterFactory, streaming: StreamingCluster) -> None:
    pg0, *standbys = streaming.servers
    front = router({"cluster": static_cluster(streaming.servers)})
    with front.connect() as client:
        client.execute("drop table if exists ticks; create table ticks (a int)")
        list_members(front, *standbys)
        assert roles(front) == {"pg1": READS, "pg2": READS}
        assert client.execute("select 1").fetchone() == (1,)
        timer = threading.Timer(0.7, list_members, (front, pg0, *standbys))
        timer.start()
        began_s = time.monotonic()
        client.execute("insert into ticks values (1)")
        assert time.monotonic() - began_s > 0.5
        timer.join()
    assert roles(front)["pg0"] == WRITES
    assert NOTHING not in roles(front).values()
