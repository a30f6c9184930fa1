"""asyncpg: its pool with the default reset query, prepared statements, cursors, COPY, cancelling, transactions."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.router import Router

pytestmark = pytest.mark.pg


def address(router: Router, **more: Any) -> dict[str, Any]:
    login = {"user": "postgres", "password": "postgres", "database": "postgres"}
    return {"host": "127.0.0.1", "port": router.port, "timeout": 10} | login | more


def with_connection(router: Router, work: Callable[[Any], Awaitable[None]], **more: Any) -> None:
    """Run `work` with a connection, which must close in peace."""

    async def main() -> None:
        connection = await asyncpg.connect(**address(router, **more))
        try:
            await work(connection)
        finally:
            await connection.close(timeout=5)

    asyncio.run(main())


def test_fetches_with_parameters_of_many_types(front: Router) -> None:
    async def work(c: Any) -> None:
        values = (2**40, "é", b"\0", [1, 2], None, 5)
        question = "select $1::int8, $2::text, $3::bytea, $4::int[], $5::text, $6::numeric::float8"
        assert tuple(await c.fetchrow(question, *values)) == values
        assert await c.fetchval("select count(*) from generate_series(1, $1::int)", 1000) == 1000

    with_connection(front, work)


def test_prepared_statements_over_all_servers(front: Router) -> None:
    async def work(c: Any) -> None:
        statements = [await c.prepare(f"select $1::int + {i}") for i in range(20)]
        for turn in range(10):
            assert [await s.fetchval(turn) for s in statements] == [turn + i for i in range(20)]
        assert [a.type.name for a in statements[0].get_attributes()] == ["int4"]
        write = await c.prepare("insert into items values ($1, $2) returning id")
        assert [await write.fetchval(i, "w") for i in range(10)] == list(range(10))

    with_connection(front, work)


def test_without_its_statement_cache(front: Router) -> None:
    async def work(c: Any) -> None:
        for i in range(50):
            assert await c.fetchval("select $1::int", i) == i

    with_connection(front, work, statement_cache_size=0)


def test_transactions_with_savepoints(front: Router) -> None:
    async def work(c: Any) -> None:
        async with c.transaction():
            await c.execute("insert into items values (1, 'kept')")
            with pytest.raises(asyncpg.DivisionByZeroError):  # noqa: PT012
                async with c.transaction():
                    await c.execute("insert into items values (2, 'lost')")
                    await c.execute("select 1/0")
            assert await c.fetch("select id from items") == [(1,)]
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with c.transaction(readonly=True):
                await c.execute("insert into items values (3, 'refused')")

    with_connection(front, work)


def test_cursors(front: Router) -> None:
    async def work(c: Any) -> None:
        async with c.transaction():
            seen = [record[0] async for record in c.cursor("select generate_series(1, $1::int)", 1000, prefetch=30)]
            assert seen == list(range(1, 1001))
            cursor = await c.cursor("select generate_series(1, 100)")
            await cursor.forward(10)
            assert [r[0] for r in await cursor.fetch(3)] == [11, 12, 13]

    with_connection(front, work)


def test_executemany_and_its_error(front: Router) -> None:
    async def work(c: Any) -> None:
        await c.executemany("insert into items values ($1, $2)", [(i, "m") for i in range(500)])
        with pytest.raises(asyncpg.DivisionByZeroError):
            await c.executemany("insert into items values (1 / $1::int, 'm')", [(1,), (0,), (1,)])
        async with c.transaction():
            assert await c.fetchval("select count(*) from items") == 500

    with_connection(front, work)


def test_copy_in_and_out(front: Router) -> None:
    async def work(c: Any) -> None:
        records = [(i, f"word {i}") for i in range(3000)]
        assert await c.copy_records_to_table("items", records=records) == "COPY 3000"
        out = io.BytesIO()
        async with c.transaction():
            await c.copy_from_query("select * from items order by id", output=out, format="csv")
        assert out.getvalue().decode() == "".join(f"{i},{word}\n" for i, word in records)
        with pytest.raises(asyncpg.BadCopyFileFormatError):
            await c.copy_to_table("items", source=io.BytesIO(b"1\tx\ty\n"))
        assert await c.fetchval("select 1") == 1

    with_connection(front, work)


def test_a_timeout_cancels_what_runs(front: Router) -> None:
    async def work(c: Any) -> None:
        before = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await c.execute("select pg_sleep(20)", timeout=0.2)
        assert await c.fetchval("select 7") == 7
        with pytest.raises(TimeoutError):
            async with c.transaction():
                await c.fetchval("select pg_sleep($1)", 20, timeout=0.2)
        assert await c.fetchval("select 8") == 8
        assert asyncio.get_running_loop().time() - before < 5

    with_connection(front, work)


def test_a_cancelled_task_cancels_its_query(front: Router) -> None:
    async def work(c: Any) -> None:
        task = asyncio.ensure_future(c.execute("select pg_sleep(20)"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await c.fetchval("select 8") == 8

    with_connection(front, work)
    assert not [row for row in front.admin("SHOW SERVERS") if row["state"] == "active"]


def test_its_pool_does_not_pin_servers(front: Router) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(**address(front), min_size=4, max_size=8) as pool:

            async def worker(number: int) -> None:
                for _ in range(15):  # each time acquire, and at release its reset query
                    assert await pool.fetchval("select $1::int", number) == number

            await asyncio.gather(*(worker(i) for i in range(20)))
            clients = await asyncio.to_thread(front.admin, "SHOW CLIENTS")
            ours = [row for row in clients if row["database"] == "postgres"]
            assert 4 <= len(ours) <= 8
            assert {row["pin"] for row in ours} == {""}
            assert {row["link"] for row in ours} == {""}

    asyncio.run(main())


def test_on_uvloop_as_most_run_it(front: Router) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(**address(front), min_size=2, max_size=4) as pool:

            async def worker(number: int) -> None:
                async with pool.acquire() as c, c.transaction():
                    assert await c.fetchval("select $1::int", number) == number
                    rows = await c.fetch("select * from generate_series(1, $1::int)", 5000)
                    assert len(rows) == 5000

            await asyncio.gather(*(worker(i) for i in range(40)))

    uvloop.run(main())


def test_a_pooled_connection_is_reset_between_uses(front: Router) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(**address(front), min_size=1, max_size=1) as pool:
            async with pool.acquire() as c:
                await c.execute("set work_mem = '7MB'")
                await c.execute("create temp table scratch (a int)")
                assert await c.fetchval("show work_mem") == "7MB"
            async with pool.acquire() as c:
                assert await c.fetchval("show work_mem") == "4MB"

    asyncio.run(main())


def test_listeners_hear_notifications(front: Router) -> None:
    async def main() -> None:
        listener = await asyncpg.connect(**address(front))
        speaker = await asyncpg.connect(**address(front))
        heard: asyncio.Queue[str] = asyncio.Queue()
        await listener.add_listener("news", lambda *event: heard.put_nowait(event[-1]))
        for i in range(3):
            await speaker.execute("select pg_notify('news', $1)", f"item {i}")
            assert await asyncio.wait_for(heard.get(), 30) == f"item {i}"
        await listener.close()
        await speaker.close()

    asyncio.run(main())


def test_custom_types_by_introspection(front: Router) -> None:
    async def work(c: Any) -> None:
        await c.execute("drop type if exists pair; create type pair as (a int, b text)")
        row = await c.fetchrow("/*pgrouter: primary*/ select row(1, 'x')::pair as p, array[row(2, 'y')::pair] as q")
        assert tuple(row["p"]) == (1, "x")
        assert [tuple(p) for p in row["q"]] == [(2, "y")]

    with_connection(front, work)


def test_type_introspection_does_not_pin(front: Router) -> None:
    async def work(c: Any) -> None:
        assert await c.fetchval("select $1::int[]", [1, 2]) == [1, 2]
        await c.fetchval("select array[row(1, 2)]::record[]")
        clients = await asyncio.to_thread(front.admin, "SHOW CLIENTS")
        assert [row["pin"] for row in clients if row["database"] == "postgres"] == [""]

    with_connection(front, work)


# A driver that asks for a Flush behind Parse and Describe: an error there could not be taken back.


def test_a_new_table_of_an_old_name_has_its_own_columns(front: Router) -> None:
    async def work(c: Any) -> None:
        for columns in ("a int", "a int, b text", "b text"):
            await c.execute(f"drop table if exists shapes; create table shapes ({columns})")
            other = await asyncpg.connect(**address(front))
            statement = await other.prepare("select * from shapes for update")
            assert len(statement.get_attributes()) == columns.count(",") + 1
            await other.close()

    with_connection(front, work)


def test_a_new_table_in_the_same_transaction_has_its_own_columns(front: Router) -> None:
    async def work(c: Any) -> None:
        for columns in ("a int", "a int, b text", "b text"):
            async with c.transaction():
                await c.execute(f"drop table if exists shapes; create table shapes ({columns})")
                statement = await c.prepare("select * from shapes for update", name=f"of {columns}")
                assert len(statement.get_attributes()) == columns.count(",") + 1

    with_connection(front, work)


def test_temporary_tables_of_one_name_have_their_own_columns(front: Router) -> None:
    for columns in ("a int", "a int, b text", "b text") * 3:

        async def work(c: Any, columns: str = columns) -> None:
            await c.execute(f"create temp table shapes_of_mine ({columns})")
            for _ in range(2):
                statement = await c.prepare("select * from shapes_of_mine")
                assert len(statement.get_attributes()) == columns.count(",") + 1

        with_connection(front, work)


def test_a_listener_knows_its_own_notifications(front: Router) -> None:
    async def work(c: Any) -> None:
        heard: asyncio.Queue[int] = asyncio.Queue()
        other = await asyncpg.connect(**address(front))
        await c.add_listener("news", lambda _c, pid, _channel, _payload: heard.put_nowait(pid))
        await c.execute("notify news")
        assert await asyncio.wait_for(heard.get(), 10) == c.get_server_pid()
        await other.execute("notify news")
        assert await asyncio.wait_for(heard.get(), 10) != c.get_server_pid()
        await other.close()

    with_connection(front, work)
