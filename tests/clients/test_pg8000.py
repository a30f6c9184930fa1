"""pg8000: a driver in pure Python that sends Flush where others send Sync."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

native = pytest.importorskip("pg8000.native")
dbapi = pytest.importorskip("pg8000.dbapi")

pytestmark = pytest.mark.pg


@pytest.fixture
def connection(front: Router) -> Iterator[Any]:
    made = native.Connection("postgres", password="postgres", host="127.0.0.1", port=front.port, database="postgres")
    yield made
    made.close()


def test_statements_with_and_without_parameters(connection: Any) -> None:
    for i in range(20):
        assert connection.run("select :a::int, :b::text", a=i, b="ü") == [[i, "ü"]]
        assert connection.run("select 1") == [[1]]


def test_prepared_statements(connection: Any) -> None:
    statement = connection.prepare("select :a::int * 2")
    assert [statement.run(a=i) for i in range(10)] == [[[2 * i]] for i in range(10)]
    statement.close()


def test_transactions_and_errors(connection: Any) -> None:
    connection.run("begin")
    connection.run("insert into items values (:i, 'x')", i=1)
    with pytest.raises(native.DatabaseError) as caught:
        connection.run("select 1/0")
    assert caught.value.args[0]["C"] == "22012"
    connection.run("rollback")
    connection.run("begin")
    assert connection.run("select count(*) from items") == [[0]]
    connection.run("commit")


def test_copy_in_and_out(connection: Any) -> None:
    connection.run("copy items from stdin", stream=["1\ta\n", "2\tb\n"])
    out = io.BytesIO()
    connection.run("begin")
    connection.run("copy items to stdout", stream=out)
    connection.run("commit")
    assert out.getvalue() == b"1\ta\n2\tb\n"


def test_the_dbapi_layer(front: Router) -> None:
    made = dbapi.connect("postgres", password="postgres", host="127.0.0.1", port=front.port, database="postgres")
    cursor = made.cursor()
    cursor.execute("insert into items values (%s, %s)", (5, "five"))
    cursor.execute("select * from items")
    assert cursor.fetchall() == ([5, "five"],)
    made.rollback()
    cursor.execute("select count(*) from items")
    assert cursor.fetchone() == [0]
    made.commit()
    made.close()
