"""One query to a PostgreSQL server over libpq, without blocking, whose only row is the answer.

Not AsyncConnection.execute(): when that is canceled, it first sends a CancelRequest and waits up to 5 s for a server
that may be frozen. Here a caller that has waited long enough just drops the generator and closes the connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from psycopg import pq

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


class QueryError(Exception):
    """The server returned no usable answer; the text says why, in one line."""


def exchange(
    connection: pq.abc.PGconn, query: bytes, parameters: Sequence[bytes] = (), *, optional: bool = False
) -> Generator[bool, None, list[str | None]]:
    """Send one query and return its only row, as text; the connection is non-blocking from then on.

    `parameters` are texts for $1, $2, ... `optional`: there may be no row, which is returned as one without columns.

    Yields to wait for the socket: continue when it is readable or, if the value is true, writable.
    Raises psycopg.Error or OSError if the connection is lost, QueryError if the server does not return one row.
    """
    connection.nonblocking = 1
    if parameters:
        connection.send_query_params(query, parameters)
    else:
        connection.send_query(query)
    row: list[str | None] | None = None
    while True:
        writing = connection.flush() != 0
        if not writing and not connection.is_busy():
            result = connection.get_result()
            if result is None:
                break
            row = _only_row(result, optional=optional)
            continue
        yield writing
        connection.consume_input()
    if row is None:
        raise QueryError("the server gave no answer")
    return row


async def ask(
    connection: pq.abc.PGconn, query: bytes, parameters: Sequence[bytes] = (), *, optional: bool = False
) -> list[str | None]:
    """Run one query as `exchange` does; return its row. If this is canceled, the caller must close the connection."""
    exchanging = exchange(connection, query, parameters, optional=optional)
    while True:
        try:
            writing = next(exchanging)
        except StopIteration as end:
            row: list[str | None] = end.value
            return row
        await _ready(connection.socket, writing=writing)


async def _ready(fd: int, *, writing: bool) -> None:
    """Wait until the socket is readable or, with `writing`, also writable."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        if writing:
            loop.add_writer(fd, ready.set)
        await ready.wait()
    finally:
        loop.remove_reader(fd)
        if writing:
            loop.remove_writer(fd)


def _only_row(result: pq.abc.PGresult, *, optional: bool) -> list[str | None]:
    if optional and result.status == pq.ExecStatus.TUPLES_OK and result.ntuples == 0:
        return []
    if result.status != pq.ExecStatus.TUPLES_OK or result.ntuples != 1:
        raise QueryError(one_line(result.get_error_message()) or "the server gave no row")
    values = (result.get_value(0, column) for column in range(result.nfields))
    return [None if value is None else bytes(value).decode("utf-8", "replace") for value in values]


def one_line(text: str) -> str:
    """Return a libpq message as one line."""
    return " ".join(text.split())
