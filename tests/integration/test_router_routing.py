"""Where statements go, as the servers themselves see it: each names the server that answered."""

# ruff: noqa: S608  (the SQL is ours)

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

# The server that answers, by a setting of its own that a session may have, too: nothing that needs the primary.
WHO = "current_setting('demo.member')"


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    listen = [{"host": "127.0.0.1", "port": 0, "mode": mode} for mode in ("split", "primary", "replica")]
    settings = {
        "cluster": static_cluster(_streaming_cluster.servers), "listen": listen,
        "routing": {"read_consistency": "eventual"},  # where statements go by themselves
    }  # fmt: skip
    with running(settings) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    streaming.primary.sql(
        "set lock_timeout = '3s'; drop table if exists items; create table items (id serial, word text);"
        "create or replace function writes() returns int language sql volatile as "
        "$$ insert into items (word) values ('by function'); select inet_server_port() $$"
    )
    streaming.wait_caught_up()
    return _front


class Where:
    """Asks statements which server answered them."""

    def __init__(self, connection: psycopg.Connection[Any], servers: StreamingCluster) -> None:
        self.connection = connection
        self.names = {server.port: server.name for server in servers.servers}

    def __call__(self, statement: str, times: int = 10, **more: Any) -> Counter[str]:
        rows = [self.connection.execute(statement.encode(), **more).fetchone() for _ in range(times)]
        return Counter(self.names.get(row[0], row[0]) for row in rows if row)


@pytest.fixture
def where(front: Router, streaming: StreamingCluster) -> Iterator[Where]:
    with front.connect() as connection:
        yield Where(connection, streaming)


EVENLY = Counter(pg1=5, pg2=5)
PRIMARY = Counter(pg0=10)


@pytest.fixture
def warm(where: Where, front: Router) -> Where:
    """Both replicas have a free connection, so that turns are exact."""

    def connected() -> bool:
        if where(f"select {WHO}", 2) != Counter(pg1=1, pg2=1):
            return False  # one is still to catch up
        return all(row["sv_idle"] for row in front.admin("SHOW CLUSTER") if row["readable"])

    until(connected, 30, "a free connection to each replica")
    return where


@pytest.mark.parametrize("statement", [
    f"select {WHO}",
    f"  /* a comment */ select {WHO} from (values (1)) v",
    f"with x as (select 1) select {WHO} from x",
    f"select {WHO} from items right join (values (1)) v on true",
    f"select max({WHO}) from generate_series(1, 3)",
])  # fmt: skip
@pytest.mark.parametrize("prepare", [False, True])
def test_reads_take_turns(warm: Where, statement: str, prepare: bool) -> None:  # noqa: FBT001
    assert warm(statement, prepare=prepare) == EVENLY


@pytest.mark.parametrize("statement", [
    f"insert into items (word) values ('x') returning {WHO}",
    f"with w as (insert into items (word) values ('x') returning 1) select {WHO} from w",
    f"select {WHO} from (values (1)) v left join lateral (select 1 from items for update) i on true",
    f"select {WHO}, nextval('items_id_seq')",
    f"select {WHO} from (select pg_current_wal_lsn()) x",
    f"select {WHO}, txid_current()",
    "select writes()",
    f"select {WHO}; select {WHO}, nextval('items_id_seq')",
    f"/*pgrouter: primary*/ select {WHO}",
    f"select {WHO}, pg_advisory_xact_lock(1)",
])  # fmt: skip
def test_writes_and_what_only_the_primary_knows(where: Where, statement: str) -> None:
    assert where(statement) == PRIMARY


def test_a_transaction_stays_on_the_primary(where: Where) -> None:
    with where.connection.transaction():
        assert where(f"select {WHO}") == PRIMARY


def test_a_read_only_transaction_is_on_one_replica(where: Where) -> None:
    seen = Counter[str]()
    for _ in range(4):
        where.connection.execute("begin read only")
        here = where(f"select {WHO}")
        where.connection.execute("commit")
        assert len(here) == 1
        seen += here
    assert set(seen) == {"pg1", "pg2"}


def test_a_write_in_a_read_only_transaction_is_postgresqls_error(where: Where) -> None:
    where.connection.execute("begin read only")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        where.connection.execute("insert into items (word) values ('x')")
    where.connection.rollback()


def test_a_session_may_choose_its_route(warm: Where) -> None:
    warm.connection.execute("set pgrouter.route = 'primary'")
    assert warm(f"select {WHO}") == PRIMARY
    warm.connection.execute("set pgrouter.route = 'replica'")
    with warm.connection.transaction():
        assert set(warm(f"select {WHO}")) < {"pg1", "pg2"}
    assert set(warm("select inet_server_port()")) == {"pg1", "pg2"}  # on the primary by caution, for other sessions
    assert warm(f"insert into items (word) values ('x') returning {WHO}") == PRIMARY
    warm.connection.execute("reset pgrouter.route")
    assert warm("select inet_server_port()") == PRIMARY
    assert set(warm(f"select {WHO}")) == {"pg1", "pg2"}


def test_a_route_in_the_startup_packet(front: Router, streaming: StreamingCluster) -> None:
    with front.connect(options="'-c pgrouter.route=primary'") as connection:
        assert Where(connection, streaming)(f"select {WHO}") == PRIMARY


def test_a_serializable_session_reads_from_the_primary(warm: Where) -> None:
    warm.connection.execute("set default_transaction_isolation = 'serializable'")
    assert warm(f"select {WHO}") == PRIMARY
    warm.connection.execute("set default_transaction_isolation = 'repeatable read'")
    assert set(warm(f"select {WHO}")) == {"pg1", "pg2"}


def test_transactions_that_are_read_only_by_default_are_on_a_replica(warm: Where) -> None:
    warm.connection.execute("set default_transaction_read_only = on")
    with warm.connection.transaction():
        assert set(warm(f"select {WHO}")) < {"pg1", "pg2"}
    warm.connection.execute("begin read write")
    assert warm(f"insert into items (word) values ('x') returning {WHO}") == PRIMARY
    warm.connection.execute("commit")


@pytest.mark.parametrize(("listener", "members"), [(1, {"pg0"}), (2, {"pg1", "pg2"})])
def test_a_listener_for_one_kind(front: Router, streaming: StreamingCluster, listener: int, members: set[str]) -> None:
    dsn = front.dsn().replace(f"port={front.port}", f"port={front.process.ports[listener]}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        where = Where(connection, streaming)
        until(lambda: set(where(f"select {WHO}")) == members, 30, "answers from all of them and nobody else")
        with connection.transaction():
            assert set(where(f"select {WHO}")) <= members
        insert = f"insert into items (word) values ('x') returning {WHO}"
        if listener == 1:
            assert set(where(insert)) == members
        else:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                where(insert)


def test_turns_are_even_over_many_clients(front: Router, streaming: StreamingCluster) -> None:
    seen = Counter[str]()
    clients = [front.connect() for _ in range(8)]
    for _ in range(25):
        for client in clients:
            seen += Where(client, streaming)(f"select {WHO}", 1)
    for client in clients:
        client.close()
    assert set(seen) == {"pg1", "pg2"}
    assert abs(seen["pg1"] - seen["pg2"]) <= 10  # 5 % of 200


def test_routes_are_counted_with_their_reasons(front: Router) -> None:
    before = {(r["target"], r["reason"]): r["count"] for r in front.admin("SHOW ROUTES")}
    with front.connect() as connection:
        for _ in range(7):
            connection.execute("select 1", prepare=False)
            connection.execute("update items set word = word", prepare=False)
    after = {(r["target"], r["reason"]): r["count"] for r in front.admin("SHOW ROUTES")}
    grown = {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}
    assert sorted(grown.values()) == [7, 7]
    assert {target for target, _ in grown} == {"primary", "replica"}
