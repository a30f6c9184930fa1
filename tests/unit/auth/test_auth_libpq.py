"""libpq itself logs in at `client_login`, served by a few lines of asyncio."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from auth_dialogue import WELCOME, start

from pgrouter.auth import md5, scram
from pgrouter.auth.client import StoredSecret, client_login
from pgrouter.auth.secret import Md5Secret, PlainSecret, ScramSecret
from pgrouter.errors import RouterError

PASSWORD = "p\u00e4ss\u00a0w\u00adord"


def scram_of(password: str) -> ScramSecret:
    """Give what PostgreSQL would keep."""
    keys = scram.derive(password, b"0123456789abcdef", 4096)
    return ScramSecret(keys.salt, keys.iterations, keys.stored_key, keys.server_key)


async def _serve(
    auth_type: str, user: str, secret: StoredSecret | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") - 4)
    exchange = start(client_login(auth_type, user, secret))
    try:
        while exchange.result is None:
            writer.write(exchange.sends())
            code, *length = await reader.readexactly(5)
            exchange.resume((code, await reader.readexactly(int.from_bytes(bytes(length), "big") - 4)))
        writer.write(exchange.result.final + WELCOME)
        await reader.read()
    except RouterError as error:
        body = f"SFATAL\0VFATAL\0C{error.sqlstate}\0M{error.message}\0\0".encode()
        writer.write(b"E" + (len(body) + 4).to_bytes(4, "big") + body)
    finally:
        writer.close()
        await writer.wait_closed()


async def _log_in(auth_type: str, secret: StoredSecret | None, password: str, required: str) -> str:
    """Connect as libpq does and give the server's version."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve(auth_type, "j\u00f6e", secret, reader, writer)
        finally:
            served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        async with await psycopg.AsyncConnection.connect(
            host=host, port=port, user="j\u00f6e", password=password, dbname="x", sslmode="disable",
            gssencmode="disable", require_auth=required, connect_timeout=10,
        ) as connection:  # fmt: skip
            return connection.info.parameter_status("server_version") or ""
    finally:
        server.close()
        await served.wait()
        await server.wait_closed()


WAYS = [
    ("trust", None, "none"),
    ("password", PlainSecret(PASSWORD), "password"),
    ("password", scram_of(PASSWORD), "password"),
    ("md5", PlainSecret(PASSWORD), "md5"),
    ("md5", Md5Secret(md5.password_digest(PASSWORD, "j\u00f6e")), "md5"),
    ("md5", scram_of(PASSWORD), "scram-sha-256"),
    ("scram-sha-256", PlainSecret(PASSWORD), "scram-sha-256"),
    ("scram-sha-256", scram_of(PASSWORD), "scram-sha-256"),
]


@pytest.mark.parametrize(("auth_type", "secret", "required"), WAYS)
def test_libpq_logs_in(auth_type: str, secret: StoredSecret | None, required: str) -> None:
    assert asyncio.run(_log_in(auth_type, secret, PASSWORD, required)) == "18"


@pytest.mark.parametrize(("auth_type", "secret", "required"), WAYS[1:])
def test_libpq_is_told_of_a_wrong_password(auth_type: str, secret: StoredSecret | None, required: str) -> None:
    with pytest.raises(psycopg.OperationalError, match='password authentication failed for user "jöe"'):
        asyncio.run(_log_in(auth_type, secret, "wrong", required))


def test_libpq_cannot_log_in_by_scram_with_an_md5_secret() -> None:
    secret = Md5Secret(md5.password_digest(PASSWORD, "j\u00f6e"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        asyncio.run(_log_in("scram-sha-256", secret, PASSWORD, "scram-sha-256"))
