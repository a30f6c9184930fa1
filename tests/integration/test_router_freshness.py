"""Reads that are never older than their own session's writes, and which replicas share them, on real servers."""

# ruff: noqa: S608  (the SQL is ours)

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg
    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

    Front = Callable[..., Router]

pytestmark = pytest.mark.pg

WHO = "current_setting('demo.member')"
READ = f"select {WHO}, value from counters where id = %s"


@pytest.fixture(scope="module")
def _fronts(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    with running({"cluster": static_cluster(_streaming_cluster.servers)}) as router:
        yield router


@pytest.fixture
def tables(streaming: StreamingCluster) -> StreamingCluster:
    streaming.primary.sql("drop table if exists counters; create table counters (id int primary key, value int)")
    streaming.primary.sql("insert into counters select i, 0 from generate_series(1, 100) i")
    streaming.wait_caught_up()
    return streaming


@pytest.fixture
def front(_fronts: Router, tables: StreamingCluster) -> Iterator[Router]:
    yield _fronts
    for standby in tables.standbys:
        standby.sql("select pg_wal_replay_resume()")
    tables.wait_caught_up()


@pytest.fixture
def late(tables: StreamingCluster, front: Router) -> str:
    """Hold back one replica; the name of it."""
    until(lambda: all(r["sv_idle"] for r in front.admin("SHOW CLUSTER") if r["readable"]) or _warm(front), 30, "warm")
    tables.standbys[0].sql("select pg_wal_replay_pause()")
    return tables.standbys[0].name


def _warm(front: Router) -> bool:
    with front.connect() as one, front.connect() as two:
        for _ in range(4):
            one.execute("select 1")
            two.execute("select 1")
    return False


def where(client: psycopg.Connection[Any], times: int = 20) -> Counter[str]:
    rows = [client.execute(f"select {WHO}").fetchone() for _ in range(times)]
    return Counter(row[0] for row in rows if row)


class Pairs(threading.Thread):
    """A client that writes and reads back at once, again and again."""

    def __init__(self, front: Router, number: int, pairs: int) -> None:
        super().__init__()
        self.front, self.number, self.pairs = front, number, pairs
        self.stale = 0
        self.where: Counter[str] = Counter()

    def run(self) -> None:
        with self.front.connect() as client:
            for value in range(1, self.pairs + 1):
                client.execute("update counters set value = %s where id = %s", (value, self.number))
                for again in range(1 + 2 * (value % 50 == 0)):
                    time.sleep(0.1 * bool(again))  # for a sample
                    name, seen = client.execute(READ, (self.number,)).fetchone() or ("", -1)
                    self.where[name] += 1
                    self.stale += seen != value


@pytest.mark.parametrize("pairs", [250, pytest.param(2500, marks=[pytest.mark.slow, pytest.mark.timeout(240)])])
def test_nobody_misses_his_own_write(front: Router, late: str, pairs: int) -> None:
    clients = [Pairs(front, number, pairs) for number in range(1, 5)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    seen = sum((client.where for client in clients), Counter())
    assert sum(client.stale for client in clients) == 0
    assert seen[late] == 0, seen
    assert seen["pg2"] >= 4 * pairs / 50, seen  # what is read a little later reaches the replica that has it
    assert sum(seen.values()) >= 4 * pairs


def test_reads_of_a_session_come_back_to_its_replicas(front: Router) -> None:
    with front.connect() as client:
        client.execute("update counters set value = 1 where id = 1")
        assert where(client, 1) == {"pg0": 1}
        until(lambda: where(client, 4).keys() == {"pg1", "pg2"}, 5, "both replicas")
    reasons = {(row["target"], row["reason"]) for row in front.admin("SHOW ROUTES")}
    assert ("primary", "newer than the replicas") in reasons


def test_who_has_not_written_reads_anywhere(front: Router, late: str, tables: StreamingCluster) -> None:
    tables.primary.sql("update counters set value = 5 where id = 1")
    until(lambda: tables.standbys[1].sql("select value from counters where id = 1") == [(5,)], 10, "pg2 has it")
    with front.connect() as client:
        rows = [client.execute(READ, (1,)).fetchone() for _ in range(10)]
    assert set(rows) == {(late, 0), ("pg2", 5)}


def test_a_session_that_does_not_mind(front: Router, late: str) -> None:
    with front.connect(options="'-c pgrouter.read_consistency=eventual'") as client:
        client.execute("update counters set value = 7 where id = 1")
        rows = [client.execute(READ, (1,)).fetchone() for _ in range(10)]
    assert (late, 0) in rows


def test_strict_reads_see_what_others_have_written(front: Router, late: str) -> None:
    with front.connect() as writer, front.connect() as reader:
        reader.execute("set pgrouter.read_consistency = strict")
        for value in range(1, 100):
            writer.execute("update counters set value = %s where id = 1", (value,))
            name, seen = reader.execute(READ, (1,)).fetchone() or ("", -1)
            assert (seen, name != late) == (value, True)


def test_a_position_is_carried_from_session_to_session(front: Router, late: str) -> None:
    with front.connect() as writer, front.connect() as reader:
        for value in range(1, 30):
            writer.execute("update counters set value = %s where id = 1", (value,))
            (position,) = writer.execute("show pgrouter.lsn").fetchone() or ("",)
            reader.execute(f"set pgrouter.min_lsn = '{position}'".encode())
            name, seen = reader.execute(READ, (1,)).fetchone() or ("", -1)
            assert (seen, name != late) == (value, True)
        until(lambda: where(reader, 4).keys() == {"pg2"}, 5, "the replica that has replayed it")
        reader.execute("reset pgrouter.min_lsn")
        until(lambda: late in where(reader, 4), 5, "any replica")
        reader.execute("set pgrouter.min_lsn = 'nonsense'")
        assert where(reader, 4) == {"pg0": 4}
        assert writer.execute("SHOW pgrouter.lsn", prepare=True).description[0].name == "pgrouter.lsn"  # type: ignore[index]


def test_transactions_that_only_read_leave_no_mark(front: Router, late: str) -> None:
    with front.connect() as client:
        client.execute("begin")
        client.execute(READ, (1,))
        client.execute("commit")
        client.execute("set statement_timeout = '1min'")
        assert where(client, 10).keys() == {late, "pg2"}
        client.execute("begin")
        client.execute("update counters set value = 1 where id = 1")
        client.execute("rollback")
        assert where(client, 1) == {"pg0": 1}


def test_a_read_only_transaction_sees_the_session_s_write(front: Router, late: str) -> None:
    with front.connect() as client:
        for value in range(1, 50):
            client.execute("update counters set value = %s where id = 3", (value,))
            client.execute("begin read only")
            name, seen = client.execute(READ, (3,)).fetchone() or ("", -1)
            client.execute("commit")
            assert (seen, name != late) == (value, True)


def test_a_replica_that_is_killed_promises_nothing(front: Router, tables: StreamingCluster) -> None:
    """It begins again from its last restart point, which may lie before what it had shown."""
    replica = tables.standbys[0]
    with front.connect() as client:
        for value in range(1, 6):
            client.execute("update counters set value = %s where id = 4", (value,))
            until(lambda: "pg1" in where(client, 4), 10, "its turn")
            replica.kill()
            replica.start()
            for _ in range(200):
                name, seen = client.execute(READ, (4,)).fetchone() or ("", -1)
                assert seen == value, name


# -- who shares the reads


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ({"balance": "weighted", "members": [{"name": "pg1", "weight": 2}]}, {"pg1": 40, "pg2": 20}),
        ({"primary": "always"}, {"pg0": 20, "pg1": 20, "pg2": 20}),
        ({"members": [{"name": "pg2", "tier": 1}]}, {"pg1": 60}),
        ({"zone": "x", "members": [{"name": "pg2", "zone": "x"}]}, {"pg2": 60}),
        ({"balance": "least_active"}, {"pg1": 30, "pg2": 30}),
    ],
)
def test_shares(front: Router, reads: dict[str, Any], expected: dict[str, int]) -> None:
    front.settings["reads"] = reads
    front.write_settings()
    front.process.reload()
    with front.connect() as client:
        until(lambda: where(client, 20).keys() == expected.keys(), 5, "the new shares")
        where(client, 40)  # who had no free connection at first catches up
        assert where(client, 60) == expected


def test_a_replica_that_lags_leaves_and_comes_back(tables: StreamingCluster) -> None:
    late = tables.standbys[0]

    def readable(router: Router) -> dict[str, bool]:
        return {row["name"]: row["readable"] for row in router.admin("SHOW CLUSTER")}

    settings = {
        "cluster": static_cluster(tables.servers), "reads": {"max_lag_bytes": 100_000, "max_lag": "3s"},
    }  # fmt: skip
    with running(settings) as router:
        until(lambda: readable(router) == {"pg0": False, "pg1": True, "pg2": True}, 10, "both share")
        late.sql("select pg_wal_replay_pause()")
        try:
            tables.primary.sql("insert into counters select i, 0 from generate_series(1000, 9000) i")
            until(lambda: not readable(router)["pg1"], 10, "too many bytes behind")
            row = next(row for row in router.admin("SHOW CLUSTER") if row["name"] == "pg1")
            assert (row["reason"], row["lag_bytes"] > 100_000) == ("lags more than reads.max_lag_bytes", True)
            late.sql("select pg_wal_replay_resume()")
            until(lambda: readable(router)["pg1"], 10, "it is back")
            late.sql("select pg_wal_replay_pause()")
            tables.primary.sql("update counters set value = 1 where id = 1")  # a few bytes
            until(lambda: not readable(router)["pg1"], 10, "too long behind")
            row = next(row for row in router.admin("SHOW CLUSTER") if row["name"] == "pg1")
            assert (row["reason"], row["lag_ms"] > 3000) == ("lags more than reads.max_lag", True)
        finally:
            late.sql("select pg_wal_replay_resume()")
        until(lambda: readable(router)["pg1"], 10, "it is back")
