"""Limits: pool.size and who waits for it, max_clients, timeouts."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.front import running
from support.rawclient import RawClient, query, sqlstate, startup, values
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

POOL = {"size": 2, "max_clients": 40, "idle_timeout": "10m"}
HASTY = POOL | {"wait_timeout": "600ms", "login_timeout": "700ms"}


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    settings = {"cluster": static_cluster(_streaming_cluster.servers), "auth": {"type": "trust"}, "pool": POOL}
    with running(settings) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    assert streaming.primary.alive
    return _front


@pytest.fixture
def hasty(router: RouterFactory, streaming: StreamingCluster) -> Router:
    """Give a router that lets nobody wait for long."""
    return router({"cluster": static_cluster(streaming.servers), "auth": {"type": "trust"}, "pool": HASTY})


def pool(router: Router) -> dict[str, Any]:
    return next(row for row in router.admin("SHOW POOLS") if row["database"] == "postgres")


def wait_for_queue(router: Router, length: int) -> None:
    until(lambda: pool(router)["cl_waiting"] == length, 30, f"{length} clients wait")


def test_many_clients_share_few_servers_and_nobody_starves(front: Router, streaming: StreamingCluster) -> None:
    done = [0] * 30
    connected: set[int] = set()
    all_there = asyncio.Event()

    async def client(number: int) -> None:
        login = {"user": "postgres", "database": "postgres"}
        connection = await asyncpg.connect(host="127.0.0.1", port=front.port, **login)
        connected.add(number)
        if len(connected) == len(done):
            all_there.set()
        await all_there.wait()
        over = time.monotonic() + 1.5
        while time.monotonic() < over:
            async with connection.transaction():
                assert await connection.fetchval("select $1::int", number) == number
            done[number] += 1
        await connection.close()

    async def main() -> None:
        await asyncio.gather(*(client(i) for i in range(30)))

    asyncio.run(main())
    sql = "select count(*) from pg_stat_activity where datname = 'postgres' and application_name = ''"
    assert all(server.sql(sql)[0][0] <= 2 + 2 for server in streaming.servers)  # the router's monitor and ourselves
    assert min(done) >= 0.5 * max(done), done


def test_first_come_first_served(front: Router) -> None:
    with ExitStack() as stack:
        holders = [stack.enter_context(front.connect()) for _ in range(2)]
        clients = [stack.enter_context(front.connect()) for _ in range(6)]
        for holder in holders:
            holder.execute("begin")
        order: list[int] = []
        lock = threading.Lock()

        def write(number: int) -> None:
            with clients[number].transaction():
                with lock:
                    order.append(number)
                time.sleep(0.01)

        with ThreadPoolExecutor(6) as threads:
            for number in range(6):
                threads.submit(write, number)
                wait_for_queue(front, number + 1)
            holders[0].execute("commit")
            # one server for six clients: each gives it to who came next
        holders[1].execute("commit")
        assert order == list(range(6))


def test_a_wait_that_is_too_long_is_an_error_and_the_session_goes_on(hasty: Router) -> None:
    with ExitStack() as stack:
        holders = [stack.enter_context(hasty.connect()) for _ in range(2)]
        waiter = stack.enter_context(hasty.connect())
        for holder in holders:
            holder.execute("begin")
        for prepare in (False, True):
            began = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled, match="no server connection became free"):
                waiter.execute("begin", prepare=prepare)
            assert 0.5 < time.monotonic() - began < 20
        row = waiter.execute("select 'reads have servers of their own'").fetchone()
        assert row == ("reads have servers of their own",)
        for holder in holders:
            holder.execute("commit")
        with waiter.transaction():
            assert waiter.execute("select 1").fetchone() == (1,)


def test_what_a_client_sent_ahead_while_it_waited_is_not_lost(front: Router) -> None:
    with ExitStack() as stack:
        holders = [stack.enter_context(front.connect()) for _ in range(2)]
        for holder in holders:
            holder.execute("begin")
        raw = stack.enter_context(RawClient(front.port))
        raw.login()
        raw.send(b"".join(query(f"/*pgrouter: primary*/ select {i}") for i in range(500)))
        wait_for_queue(front, 1)
        for holder in holders:
            holder.execute("commit")
        assert [values(raw.until_ready()) for _ in range(500)] == [[[str(i)]] for i in range(500)]


def test_what_a_waiting_client_sent_ahead_is_followed_too(front: Router) -> None:
    with ExitStack() as stack:
        holders = [stack.enter_context(front.connect()) for _ in range(2)]
        for holder in holders:
            holder.execute("begin")
        raw = stack.enter_context(RawClient(front.port))
        raw.login()
        raw.send(query("/*pgrouter: primary*/ select 1") + query("set work_mem = '9MB'"))
        wait_for_queue(front, 1)
        for holder in holders:
            holder.execute("commit")
        raw.until_ready()
        raw.until_ready()
        assert [values(raw.ask("select current_setting('work_mem')")) for _ in range(4)] == [[["9MB"]]] * 4
        others = [holder.execute("select current_setting('work_mem')").fetchone() for holder in holders * 4]
        assert ("9MB",) not in others


def test_a_waiting_client_that_leaves_is_taken_out_of_the_queue(front: Router) -> None:
    with ExitStack() as stack:
        holders = [stack.enter_context(front.connect()) for _ in range(2)]
        for holder in holders:
            holder.execute("begin")
        for _ in range(3):
            raw = RawClient(front.port)
            raw.login()
            raw.send(query("begin"))
            wait_for_queue(front, 1)
            raw.reset()
            wait_for_queue(front, 0)
        for holder in holders:
            holder.execute("commit")
    until(lambda: pool(front)["sv_active"] == 0, 30, "all servers free")


def test_max_clients_refuses_the_next_and_takes_it_when_there_is_room(front: Router) -> None:
    with ExitStack() as stack:
        until(lambda: len(front.admin("SHOW CLIENTS")) == 1, 30, "all others gone")
        for _ in range(40):
            raw = stack.enter_context(RawClient(front.port))
            assert not sqlstate(raw.login())
        with RawClient(front.port) as refused:
            said = refused.login()
            assert sqlstate(said) == "53300"
            assert said[-1].fields["S"] == "FATAL"
            assert refused.receive() is None
        raw.close()
        with RawClient(front.port) as late:
            assert not sqlstate(late.login())


def test_strangers_take_nobodys_place(streaming: StreamingCluster, router: RouterFactory) -> None:
    """Who has not proved anything counts neither among max_clients nor for long: logins go on beside 600 of them."""
    pool_settings = {"max_clients": 40, "max_logins": 100, "login_step_timeout": "10m", "login_timeout": "10m"}
    front = router({"cluster": static_cluster(streaming.servers), "pool": pool_settings})
    with ExitStack() as stack:
        strangers = [stack.enter_context(RawClient(front.port)) for _ in range(600)]
        for number, raw in enumerate(strangers):
            if number % 3 == 1:
                raw.send(struct.pack("!II", 8, 80877103))  # asks for TLS, and falls silent
            elif number % 3 == 2:
                raw.send(startup(user="postgres", database="postgres"))  # never answers the challenge
        strangers[-1].receive()  # what they have said has been read: the challenge, or that they are too many
        began = time.monotonic()
        for _ in range(40):  # all that fit
            stack.enter_context(front.connect())
        assert time.monotonic() - began < 20
        with pytest.raises(psycopg.OperationalError, match="too many clients already"):
            front.connect()
        lists = {row["list"]: row["items"] for row in front.admin("SHOW LISTS")}  # the console is let in all the same
        assert lists["login_clients"] <= 100
        assert sqlstate(strangers[0].until_closed()) == "53300"
        assert front.process.alive


def test_a_wrong_password_takes_no_place(streaming: StreamingCluster, router: RouterFactory) -> None:
    front = router({"cluster": static_cluster(streaming.servers), "pool": {"max_clients": 1}})
    with front.connect():
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(front.dsn(password="wrong"))
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(front.dsn(user="nobody"))


def test_each_step_of_a_login_must_come_in_time(streaming: StreamingCluster, router: RouterFactory) -> None:
    hasty = {"login_step_timeout": "500ms", "login_timeout": "10m"}
    front = router({"cluster": static_cluster(streaming.servers), "pool": hasty})
    with RawClient(front.port) as silent, RawClient(front.port) as shy:
        shy.send(startup(user="postgres", database="postgres"))
        assert shy.receive().code == "R"
        for raw in (silent, shy):
            assert sqlstate(raw.until_closed()) == "57014"


@pytest.mark.parametrize("size", [65_536, 1 << 20, 1 << 30])
def test_a_stranger_sends_no_long_messages(streaming: StreamingCluster, router: RouterFactory, size: int) -> None:
    front = router({"cluster": static_cluster(streaming.servers), "auth": {"type": "password"}})
    with RawClient(front.port) as raw:
        raw.send(startup(user="postgres", database="postgres"))
        assert raw.receive().code == "R"
        raw.send(struct.pack("!cI", b"p", size))  # refused before a byte of it has come
        said = raw.until_closed()
        assert sqlstate(said) == "08P01"


def test_a_login_must_end_in_time(hasty: Router) -> None:
    with RawClient(hasty.port) as silent, RawClient(hasty.port) as half:
        half.send(b"\0\0\0\x40\0\3\0\0user\0")
        began = time.monotonic()
        for raw in (silent, half):
            said = raw.until_closed()
            assert sqlstate(said) == "57014"
        assert 0.5 < time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("idle_timeout", "idle"), pytest.param("lifetime", "lifetime", marks=pytest.mark.slow)],
)
def test_server_connections_are_closed_in_time(
    streaming: StreamingCluster, router: RouterFactory, setting: str, reason: str
) -> None:
    front = router({"cluster": static_cluster(streaming.servers), "pool": {setting: "3s"}})
    with front.connect() as client:

        def one_on_each() -> bool:
            client.execute("select 1")
            client.execute("begin")
            client.execute("commit")
            return pool(front)["sv_idle"] >= 3

        until(one_on_each, 30, f"a free connection to each member, {reason}")
        with client.transaction():
            client.execute("select 1")
            until(lambda: pool(front)["sv_idle"] == 0, 30, "what is free is closed")
            time.sleep(3.5)
            assert pool(front)["sv_active"] == 1  # never under a client
        assert client.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_the_least_recently_used_statements_of_a_server_are_closed(
    streaming: StreamingCluster, router: RouterFactory, limit: int
) -> None:
    front = router({"cluster": static_cluster(streaming.servers), "pool": {"prepared_statements": limit}})
    with front.connect() as client, client.transaction():
        for i in list(range(20)) * 2:
            assert client.execute(f"select %s::int + {i}".encode(), [i], prepare=True).fetchone() == (2 * i,)
        held = [row["prepared_statements"] for row in front.admin("SHOW SERVERS") if row["database"] == "postgres"]
        assert max(held) == max(1, limit)
