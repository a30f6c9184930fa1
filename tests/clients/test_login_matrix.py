"""Every way to log in towards clients with every way towards servers, by the drivers that people use."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import ssl
from typing import TYPE_CHECKING, Any, get_args

import asyncpg
import psycopg
import pytest
from support.router import static_cluster

from pgrouter.demo.postgres import Auth, ServerOptions
from pgrouter.demo.processes import write_file
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.demo.template import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.authority import Authority
    from support.router import Router, RouterFactory

pytestmark = pytest.mark.pg

WAYS: tuple[Auth, ...] = get_args(Auth)


@pytest.fixture(scope="module", params=WAYS)
def cluster(request: pytest.FixtureRequest, authority: Authority) -> Iterator[StreamingCluster]:
    """Give one server that asks for its logins in this way, and has TLS."""
    with StreamingCluster(1, options=ServerOptions(auth=request.param)) as made:
        for name, source in zip(("server.crt", "server.key"), authority.issue("127.0.0.1", file="server"), strict=True):
            write_file(made.primary.data / name, source.read_text())
        made.primary.sql("alter system set ssl = on")
        made.primary.sql("select pg_reload_conf()")
        yield made


WHO = "select current_user, (select ssl from pg_stat_ssl where pid = pg_backend_pid())"


def by_psycopg(router: Router, password: str = PASSWORD, **tls: Any) -> Any:
    tls = tls or {"sslmode": "disable"}
    with psycopg.connect(router.dsn(password=password, **tls), connect_timeout=30) as connection:
        assert connection.pgconn.ssl_in_use == (tls["sslmode"] != "disable")
        return connection.execute(WHO).fetchone()


def by_asyncpg(router: Router, password: str = PASSWORD, **tls: Any) -> Any:
    context = ssl.create_default_context(cafile=tls["sslrootcert"]) if tls else False

    async def main() -> Any:
        login = {"user": "postgres", "password": password, "database": "postgres"}
        connection = await asyncpg.connect(host="127.0.0.1", port=router.port, timeout=5, ssl=context, **login)
        try:
            return tuple(await connection.fetchrow(WHO))
        finally:
            await connection.close()

    try:
        return asyncio.run(main())
    finally:
        gc.collect()  # asyncpg leaves the transport of a login that failed over TLS to it: here, not in a later test


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("protected", [pytest.param(False, marks=pytest.mark.slow), True], ids=["clear", "verified"])
@pytest.mark.parametrize("way", WAYS)
def test_passwords_in_the_users_file_open_every_combination(
    cluster: StreamingCluster,
    router: RouterFactory,
    authority: Authority,
    listener_tls: dict[str, str],
    way: Auth,
    *,
    protected: bool,
) -> None:
    servers: dict[str, Any] = {"tls": {"mode": "verify-full", "ca": str(authority.ca)}}
    if not protected:
        servers = {"tls": {"mode": "disable"}, "require_auth": ["scram-sha-256", "md5", "password", "none"]}
    front = router(
        {
            "listen": [{"host": "127.0.0.1", "port": 0, "tls": listener_tls}],
            "cluster": static_cluster(cluster.servers),
            "servers": servers,
            "auth": {"type": way},
        }
    )
    verified = {"sslmode": "verify-full", "sslrootcert": authority.ca}
    for client in ({}, verified):
        tls = client or {"sslmode": "disable"}
        assert by_psycopg(front, **client) == by_asyncpg(front, **client) == ("postgres", protected)
        if way != "trust":
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(front.dsn(password="wrong", **tls), connect_timeout=30)
            with pytest.raises(asyncpg.InvalidPasswordError):
                by_asyncpg(front, "wrong", **client)
        unknown = {"user": "nobody", "password": "postgres"}
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|does not exist|no password"):
            psycopg.connect(front.dsn(**unknown, **tls), connect_timeout=30)


def test_a_scram_secret_copied_from_the_server(router: RouterFactory, streaming: StreamingCluster) -> None:
    secret = streaming.primary.sql("select rolpassword from pg_authid where rolname = 'postgres'")[0][0]
    assert secret.startswith("SCRAM-SHA-256$")
    front = router({"cluster": static_cluster(streaming.servers)}, users={"postgres": secret})
    assert by_psycopg(front, "postgres") == by_asyncpg(front, "postgres") == ("postgres", False)
    with pytest.raises(psycopg.OperationalError):
        by_psycopg(front, "wrong")


def test_an_md5_secret_where_servers_ask_for_md5(router: RouterFactory) -> None:
    secret = "md5" + hashlib.md5(b"postgrespostgres", usedforsecurity=False).hexdigest()
    with StreamingCluster(1, options=ServerOptions(auth="md5")) as old:
        settings = {"cluster": static_cluster(old.servers), "auth": {"type": "md5"}}
        front = router(settings, users={"postgres": secret})
        assert by_psycopg(front, "postgres") == by_asyncpg(front, "postgres") == ("postgres", False)
        front.stop()
