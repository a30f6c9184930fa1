"""psycopg 3: sync and async, prepared statements, pipeline mode, COPY, cursors on the server, binary results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(front: Router) -> Iterator[Connection]:
    with front.connect() as made:
        yield made


def one(connection: Connection, statement: str, *values: Any, **more: Any) -> Any:
    row = connection.execute(statement.encode(), values, **more).fetchone()
    return row[0] if row and len(row) == 1 else row


def test_parameters_of_many_types_come_back(connection: Connection) -> None:
    values = (2**40, "naïve 'quotes' \\ \x01", b"\x00\xff", None, True, 1.5, [1, 2, 3], {"a": 1}["a"])
    for binary in (False, True):
        question = "select %s::int8, %s, %s::bytea, %s::text, %s, %s::float8, %s::int[], %s"
        assert one(connection, question, *values, binary=binary) == values


def test_statements_that_it_prepares_by_itself(connection: Connection) -> None:
    connection.prepare_threshold = 0
    for i in range(300):  # more than the router keeps per server, over both replicas
        assert one(connection, f"select %s::int + {i}", i) == 2 * i
    for i in range(300):
        assert one(connection, f"select %s::int + {i}", 1) == i + 1


def test_statements_that_it_deallocates_by_sql(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg.capabilities, "has_send_close_prepared", lambda: False)  # as with a libpq before 17
    connection.prepare_threshold = 0
    connection.prepared_max = 3
    for i in range(30):
        assert one(connection, f"select %s::int + {i % 7}", i) == i + i % 7
    names = connection.execute("select name from pg_prepared_statements", prepare=False).fetchall()
    assert len(names) in (3, 4)
    assert all(name.startswith("_pg3_") for (name,) in names)


def test_a_prepared_write_and_what_it_returns(connection: Connection) -> None:
    for i in range(12):
        assert one(connection, "insert into items values (%s, %s) returning id", i, "x", prepare=True) == i
    with connection.transaction():
        assert one(connection, "select sum(id) from items") == 66


def test_a_prepared_statement_whose_table_changes_is_prepared_anew(
    connection: Connection, streaming: StreamingCluster
) -> None:
    connection.execute("insert into items values (1, 'a')")
    query = "select * from items for update"
    for _ in range(7):
        one(connection, query, prepare=True)
    streaming.primary.sql("alter table items add column more int")
    assert connection.execute(query, prepare=True).fetchall() == [(1, "a", None)]


def test_a_statement_of_a_new_client_knows_what_its_table_has_become(
    front: Router, streaming: StreamingCluster
) -> None:
    query = b"select * from items for update"
    with front.connect() as old, front.connect() as new:
        old.pgconn.prepare(b"before", query)
        streaming.primary.sql("alter table items add column more int")
        assert new.pgconn.prepare(b"after", query).status == psycopg.pq.ExecStatus.COMMAND_OK
        described = new.pgconn.describe_prepared(b"after")
        assert (described.error_message, described.nfields) == (b"", 3)


def test_many_clients_with_the_same_statement_names(front: Router) -> None:
    clients = [front.connect() for _ in range(10)]
    try:
        for client in clients:
            client.prepare_threshold = 0
        for turn in range(20):
            for i, client in enumerate(clients):  # each calls a different text by the same name, _pg3_N
                assert one(client, f"select %s::int * {i}", turn) == turn * i
    finally:
        for client in clients:
            client.close()


def test_errors_leave_the_session_usable(connection: Connection) -> None:
    for statement, error in (
        ("select 1/0", psycopg.errors.DivisionByZero),
        ("selec 1", psycopg.errors.SyntaxError),
        ("select * from nowhere", psycopg.errors.UndefinedTable),
        ("select %s::int", psycopg.errors.InvalidTextRepresentation),
    ):
        with pytest.raises(error):
            one(connection, statement, *(["x"] if "%s" in statement else []))
        assert one(connection, "select 1") == 1


def test_transactions_nest_and_roll_back(connection: Connection) -> None:
    with connection.transaction():
        connection.execute("insert into items values (1, 'kept')")
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():  # noqa: PT012
            connection.execute("insert into items values (2, 'lost')")
            connection.execute("select 1/0")
        assert one(connection, "select array_agg(id) from items") == [1]
    with connection.transaction(force_rollback=True):
        connection.execute("insert into items values (3, 'lost')")
    with connection.transaction():
        assert one(connection, "select array_agg(id) from items") == [1]


def test_a_failed_transaction_waits_for_its_rollback(front: Router) -> None:
    with psycopg.connect(front.dsn()) as client:
        with pytest.raises(psycopg.errors.DivisionByZero):
            client.execute("select 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            client.execute("select 1")
        client.rollback()
        assert one(client, "select 1") == 1


def test_copy_in_and_out(connection: Connection) -> None:
    cursor = connection.cursor()
    with connection.transaction():
        with cursor.copy("copy items from stdin") as copy:
            for i in range(3000):
                copy.write_row((i, f"word {i}"))
        assert cursor.rowcount == 3000
        with cursor.copy("copy (select * from items order by id) to stdout") as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == [(i, f"word {i}") for i in range(3000)]


def test_copy_in_binary(connection: Connection) -> None:
    cursor = connection.cursor()
    with cursor.copy("copy items from stdin (format binary)") as copy:
        copy.set_types(["int4", "text"])
        for i in range(100):
            copy.write_row((i, "b"))
    assert cursor.rowcount == 100


def test_a_copy_that_fails_and_one_that_is_given_up(connection: Connection) -> None:
    cursor = connection.cursor()
    with pytest.raises(psycopg.errors.InvalidTextRepresentation), cursor.copy("copy items from stdin") as copy:
        copy.write("no number\tx\n")
    with pytest.raises(ZeroDivisionError), cursor.copy("copy items from stdin") as copy:  # noqa: PT012
        copy.write("1\tx\n")
        raise ZeroDivisionError
    with connection.transaction():
        assert one(connection, "select count(*) from items") == 0


def test_a_cursor_on_the_server(connection: Connection) -> None:
    with connection.transaction():
        cursor = connection.cursor("named", scrollable=True)
        cursor.execute("select generate_series(1, 1000)")
        cursor.itersize = 100
        assert sum(row[0] for row in cursor) == 500500
        cursor.scroll(0, mode="absolute")
        assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
        cursor.close()


def test_rows_that_are_streamed_one_by_one(connection: Connection) -> None:
    cursor = connection.cursor()
    assert sum(row[0] for row in cursor.stream("select generate_series(1, %s)", [5000])) == 12502500
    assert one(connection, "select 1") == 1


def test_many_inserts_with_executemany(connection: Connection) -> None:
    cursor = connection.cursor()
    cursor.executemany("insert into items values (%s, %s) returning id", [(i, "x") for i in range(200)], returning=True)
    returned = []
    while True:
        returned += cursor.fetchall()
        if not cursor.nextset():
            break
    assert returned == [(i,) for i in range(200)]


def test_a_pipeline_of_reads_and_writes(connection: Connection) -> None:
    with connection.pipeline():
        cursors = [connection.execute("select %s::int", (i,)) for i in range(100)]
        connection.execute("insert into items values (7, 'piped')")
        more = [connection.execute("select %s::int", (i,)) for i in range(100)]
        assert sum(cursor.fetchone()[0] for cursor in cursors + more) == 9900
    with connection.transaction():
        assert one(connection, "select * from items") == (7, "piped")


def test_an_error_in_a_pipeline_spoils_the_rest_up_to_the_sync(connection: Connection) -> None:
    with connection.pipeline() as pipeline:
        before = connection.execute("select 'before'")
        pipeline.sync()
        broken = connection.execute("select 1/0")
        spoiled = connection.execute("insert into items values (1, 'spoiled')")
        with pytest.raises(psycopg.errors.DivisionByZero):
            pipeline.sync()
        assert before.fetchone() == ("before",)
        with pytest.raises(psycopg.Error):
            spoiled.fetchone()
        assert broken.statusmessage is None
        assert connection.execute("select 'after'").fetchone() == ("after",)
    with connection.transaction():
        assert one(connection, "select count(*) from items") == 0


def test_a_pipeline_with_prepared_statements_and_a_transaction(connection: Connection) -> None:
    connection.prepare_threshold = 0
    with connection.pipeline(), connection.transaction():
        for i in range(50):
            connection.execute("insert into items values (%s, %s)", (i, "p"))
        total = connection.execute("select count(*) from items")
        assert total.fetchone() == (50,)


def test_async_connections_at_the_same_time(front: Router) -> None:
    async def client(number: int) -> int:
        async with await psycopg.AsyncConnection.connect(front.dsn(), autocommit=True) as connection:
            async with connection.pipeline():
                cursors = [await connection.execute("select %s::int", (number,)) for _ in range(20)]
                sums = [await cursor.fetchone() for cursor in cursors]
            async with connection.transaction():
                await connection.execute("insert into items values (%s, 'async')", (number,))
            return sum(row[0] for row in sums if row)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(client(i) for i in range(30)))

    assert asyncio.run(all_of_them()) == [20 * i for i in range(30)]
    with front.connect() as connection, connection.transaction():
        assert one(connection, "select count(*), sum(id) from items") == (30, 435)


def test_large_values_both_ways(connection: Connection) -> None:
    big = "x" * 3_000_000  # a message that is not kept whole
    assert one(connection, "select %s", big) == big
    assert one(connection, "insert into items values (1, %s) returning length(word)", big) == len(big)
    assert one(connection, "select %s", big, prepare=True) == big


@pytest.mark.parametrize("prepare", [False, True])
def test_a_huge_statement_text(connection: Connection, prepare: bool) -> None:  # noqa: FBT001
    statement = "select count(*) from generate_series(1, 10) g /* " + 1_500_000 * "x" + " */"
    for _ in range(3):
        assert one(connection, statement, prepare=prepare) == 10
    assert one(connection, "select 1") == 1


def test_what_the_server_says_of_itself(connection: Connection) -> None:
    info = connection.info
    assert info.parameter_status("in_hot_standby") in (None, "off")
    assert info.parameter_status("default_transaction_read_only") in (None, "off")
    assert info.server_version >= 150000 or info.server_version >= 100000
    connection.execute("set timezone to 'Asia/Tokyo'")
    assert info.parameter_status("TimeZone") == "Asia/Tokyo"


def test_notices_arrive(connection: Connection) -> None:
    heard: list[str | None] = []
    connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    connection.execute("do $$ begin raise notice 'hello'; end $$")
    assert heard == ["hello"]
