"""Every way to log in towards clients with every way towards servers, by the drivers that people use."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, get_args

import asyncpg
import psycopg
import pytest
from support.router import static_cluster

from pgrouter.demo.postgres import Auth, ServerOptions
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

pytestmark = pytest.mark.pg

WAYS: tuple[Auth, ...] = get_args(Auth)


@pytest.fixture(scope="module", params=WAYS)
def cluster(request: pytest.FixtureRequest) -> Iterator[StreamingCluster]:
    """Give one server that asks for its logins in this way."""
    with StreamingCluster(1, options=ServerOptions(auth=request.param)) as made:
        yield made


def by_psycopg(router: Router, password: str) -> Any:
    with psycopg.connect(router.dsn(password=password), connect_timeout=30) as connection:
        row = connection.execute("select current_user").fetchone()
        return row[0] if row else None


def by_asyncpg(router: Router, password: str) -> Any:
    async def main() -> Any:
        login = {"user": "postgres", "password": password, "database": "postgres"}
        connection = await asyncpg.connect(host="127.0.0.1", port=router.port, timeout=5, **login)
        try:
            return await connection.fetchval("select current_user")
        finally:
            await connection.close()

    return asyncio.run(main())


@pytest.mark.parametrize("way", WAYS)
def test_passwords_in_the_users_file_open_every_combination(
    cluster: StreamingCluster, router: RouterFactory, way: Auth
) -> None:
    servers = {"require_auth": ["scram-sha-256", "md5", "password", "none"]}  # in clear, too
    front = router({"cluster": static_cluster(cluster.servers), "auth": {"type": way}, "servers": servers})
    assert by_psycopg(front, "postgres") == by_asyncpg(front, "postgres") == "postgres"
    if way != "trust":
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            by_psycopg(front, "wrong")
        with pytest.raises(asyncpg.InvalidPasswordError):
            by_asyncpg(front, "wrong")
    unknown = {"user": "nobody", "password": "postgres"}
    with pytest.raises(psycopg.OperationalError, match=r"authentication failed|does not exist|no password"):
        psycopg.connect(front.dsn(**unknown), connect_timeout=30)


def test_a_scram_secret_copied_from_the_server(router: RouterFactory, streaming: StreamingCluster) -> None:
    secret = streaming.primary.sql("select rolpassword from pg_authid where rolname = 'postgres'")[0][0]
    assert secret.startswith("SCRAM-SHA-256$")
    front = router({"cluster": static_cluster(streaming.servers)}, users={"postgres": secret})
    assert by_psycopg(front, "postgres") == by_asyncpg(front, "postgres") == "postgres"
    with pytest.raises(psycopg.OperationalError):
        by_psycopg(front, "wrong")


def test_an_md5_secret_where_servers_ask_for_md5(router: RouterFactory) -> None:
    secret = "md5" + hashlib.md5(b"postgrespostgres", usedforsecurity=False).hexdigest()
    with StreamingCluster(1, options=ServerOptions(auth="md5")) as old:
        settings = {"cluster": static_cluster(old.servers), "auth": {"type": "md5"}}
        front = router(settings, users={"postgres": secret})
        assert by_psycopg(front, "postgres") == by_asyncpg(front, "postgres") == "postgres"
        front.stop()
