"""A thousand clients with short transactions of every kind that tear their connections down at random.

Afterwards no server is in use or dirty, nothing of anybody is left anywhere, the counts are exact, and the memory is
what it was after an identical storm before: an allocator keeps pages, so the first storm is the warm-up.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.chaos import DONE, NEVER, TABLE, Chaos
from support.crowd import Crowd
from support.front import peak_rss_mb, rss_mb, running
from support.rawclient import RawClient, values
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.postgres import Server
    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

log = logging.getLogger("chaos")

SIZE = 20
STATE = """
    select pg_backend_pid(), current_setting('work_mem'), coalesce(current_setting('chaos.word', true), ''),
    (select count(*) from pg_listening_channels()), (select count(*) from pg_cursors),
    (select count(*) from pg_prepared_statements where name not like 'pgrouter\\_%'), session_user, current_user
"""
BUSY = """
    select pid, state, query from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
    and (state <> 'idle' or backend_xmin is not null or backend_xid is not null)
"""
LEFT = """
    select (select count(*) from pg_locks where locktype = 'advisory'),
    (select count(*) from pg_class where relpersistence = 't' and relname = 'mine')
"""


@pytest.fixture
def front(streaming: StreamingCluster) -> Iterator[Router]:
    """Give a router in front of `streaming`, SIZE connections to each member."""
    streaming.primary.sql(TABLE)
    streaming.wait_caught_up()
    settings = {
        "cluster": static_cluster(streaming.servers), "auth": {"type": "trust"},
        "pool": {"size": SIZE, "max_clients": 1200, "wait_timeout": "10m"},
    }  # fmt: skip
    with running(settings) as router:
        yield router


def storm(front: Router, streaming: StreamingCluster, clients: int, transactions: int, vanishing: float) -> None:
    """Let them loose, and look at what they have left; the same seed does the same each time."""
    streaming.primary.sql("truncate chaos")
    crew = [Chaos(who, 4711, transactions, vanishing) for who in range(clients)]
    began = time.monotonic()
    Crowd(front.port).run([one.program for one in crew], timeout_s=1500)
    took = time.monotonic() - began
    did: Counter[str] = sum((one.did for one in crew), Counter())
    gone: Counter[str] = sum((one.vanished for one in crew), Counter())
    log.warning("%d transactions in %.1f s, %d disconnects", clients * transactions, took, gone.total())
    log.warning("did %s; vanished in %s", dict(did), dict(gone))
    assert gone.total()
    assert_nothing_left(front, streaming)
    assert_counts(crew, streaming.primary)


def assert_counts(crew: list[Chaos], primary: Server) -> None:
    """Every acknowledged transaction is there exactly once; the others wholly or not at all, by what was sent."""
    rows = primary.sql("select who, number, count(*) from chaos group by who, number")
    found = {(who, number): count for who, number, count in rows}
    outcome: Counter[str] = Counter()
    for one in crew:
        for number, (count, state) in one.ledger.items():
            there = found.pop((one.who, number), 0)
            good = {DONE: there == count, NEVER: there == 0}.get(state, there in (0, count))
            assert good, f"client {one.who}, transaction {number}: {there} rows of {count}, state {state}"
            outcome[f"{('never', 'unknown', 'acknowledged')[state]}: {'there' if there else 'not there'}"] += 1
    assert not found
    log.warning("%s", dict(outcome))


def assert_nothing_left(front: Router, streaming: StreamingCluster) -> None:
    """No client, no server in use, no transaction, lock, temporary table, channel or setting, anywhere."""
    until(lambda: len(front.admin("SHOW CLIENTS")) == 1, 60, "all clients gone but who asks")
    until(lambda: {row["state"] for row in front.admin("SHOW SERVERS")} <= {"idle"}, 60, "all servers free")
    (pool,) = (row for row in front.admin("SHOW POOLS") if row["database"] == "postgres")
    assert {name: pool[name] for name in ("cl_active", "cl_waiting", "sv_active", "sv_login", "sv_tested")} == {
        "cl_active": 0, "cl_waiting": 0, "sv_active": 0, "sv_login": 0, "sv_tested": 0,
    }  # fmt: skip
    for server in streaming.servers:
        until(lambda server=server: not server.sql(BUSY), 30, f"nobody works on {server.name}")
        assert server.sql(LEFT) == [(0, 0)]
    assert_clean_servers(front, len(streaming.servers))


def assert_clean_servers(front: Router, members: int) -> None:
    """Go through all connections to the primary, and to all replicas, at the same time: each is as new."""
    servers = Counter(row["port"] for row in front.admin("SHOW SERVERS"))
    assert len(servers) <= members
    assert max(servers.values()) <= SIZE
    replica = "/* pgrouter: replica */ " + STATE
    for begin, state, count in (("begin", STATE, SIZE), ("begin read only", replica, SIZE * max(1, members - 1))):
        pids = set()
        with ExitStack() as stack:
            for _ in range(count):
                client = stack.enter_context(RawClient(front.port, timeout_s=30))
                client.login()
                client.ask(begin)
                (row,) = values(client.ask(state))
                pids.add(row[0])
                assert row[1:] == ["4MB", "", "0", "0", "0", "postgres", "postgres"]
        log.debug("looked at %d connections", len(pids))
    until(lambda: {row["state"] for row in front.admin("SHOW SERVERS")} <= {"idle"}, 60, "all servers free")


def descriptors(front: Router) -> int:
    """Count the router's descriptors, but for its connections to servers."""
    return len(list(Path(f"/proc/{front.process.pid}/fd").iterdir())) - len(front.admin("SHOW SERVERS"))


def two_storms(front: Router, streaming: StreamingCluster, clients: int, transactions: int, within_mb: float) -> None:
    """Storm twice: the second leaves neither memory nor descriptors behind that the first did not need."""
    pid = front.process.pid
    with RawClient(front.port) as client:
        client.login()
        client.ask("select 1")
    until(lambda: len(front.admin("SHOW CLIENTS")) == 1, 30, "alone")
    start_mb, start_fds = rss_mb(pid), descriptors(front)
    storm(front, streaming, clients, transactions, 0.2)
    first_mb, first_fds = rss_mb(pid), descriptors(front)
    storm(front, streaming, clients, transactions, 0.2)
    second_mb, second_fds = rss_mb(pid), descriptors(front)
    log.warning(
        "memory %.1f MB, %.1f after the first, %.1f after the second storm, %.1f at most; descriptors %d, %d, %d",
        start_mb, first_mb, second_mb, peak_rss_mb(pid), start_fds, first_fds, second_fds,
    )  # fmt: skip
    assert abs(first_fds - start_fds) <= 2  # of the monitor, which comes and goes
    assert abs(second_fds - start_fds) <= 2
    assert second_mb - first_mb < within_mb


def test_a_hundred_clients_leave_nothing(front: Router, streaming: StreamingCluster) -> None:
    two_storms(front, streaming, 100, 20, within_mb=6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_clients_leave_nothing(front: Router, streaming: StreamingCluster) -> None:
    two_storms(front, streaming, 1000, 200, within_mb=6)
