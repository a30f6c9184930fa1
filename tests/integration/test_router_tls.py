"""TLS on both sides of the router, with certificates of an authority of its own, and real clients and servers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.authority import Authority
from support.router import Router, RouterFactory, static_cluster

from pgrouter.demo.postgres import Server, ServerOptions
from pgrouter.demo.processes import until, write_file
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.demo.template import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.pg

HBA = (
    "hostssl all only_tls 127.0.0.1/32 scram-sha-256",
    "hostnossl all only_clear 127.0.0.1/32 scram-sha-256",
    "hostssl all certified 127.0.0.1/32 cert",
    "host all only_tls,only_clear,certified 127.0.0.1/32 reject",
)
ROLES = ("only_tls", "only_clear", "certified")
SSL_REQUEST = struct.pack("!II", 8, 80877103)
HOW = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"


class World:
    """A PostgreSQL with TLS, an authority, and the files of both."""

    def __init__(self, directory: Path, cluster: StreamingCluster) -> None:
        self.authority = Authority(directory)
        self.foreign = Authority(directory, "foreign")
        self.server: Server = cluster.primary
        self.cluster = cluster
        self.listener = dict(
            zip(("cert", "key"), map(str, self.authority.issue("127.0.0.1", "localhost")), strict=True)
        )
        cert, key = self.authority.issue("127.0.0.1", file="server")
        for name, source in (("server.crt", cert), ("server.key", key), ("root.crt", self.authority.ca)):
            write_file(self.server.data / name, source.read_text())
        self.server.sql("alter system set ssl_ca_file = 'root.crt'")
        self.server.sql("alter system set ssl = on")
        self.server.sql("select pg_reload_conf()")
        for role in ROLES:
            self.server.sql(f"create role {role} login password '{role}'")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One PostgreSQL that speaks TLS."""
    with StreamingCluster(1, options=ServerOptions(hba=HBA)) as cluster:
        yield World(tmp_path_factory.mktemp("tls"), cluster)


Start = Any


@pytest.fixture
def start(world: World, router: RouterFactory) -> Start:
    """Start a router with these TLS settings of the listener and of the servers."""

    def started(listener: dict[str, Any] | None = None, servers: dict[str, Any] | None = None) -> Router:
        entry: dict[str, Any] = {"host": "127.0.0.1", "port": 0}
        if listener is not None:
            entry["tls"] = world.listener | {name: str(value) for name, value in listener.items()}
        settings: dict[str, Any] = {"listen": [entry], "cluster": static_cluster([world.server])}
        if servers is not None:
            settings["servers"] = {"tls": {name: str(value) for name, value in servers.items()}}
            settings["pool"] = {"no_leader_timeout": 1}
        return router(settings, users={USER: PASSWORD} | {role: role for role in ROLES})

    return started


def clear(sqlstate: str, connect: Callable[[], Any]) -> str:
    """Return the message of a login that is refused with this SQLSTATE, if it is one."""
    with pytest.raises(psycopg.OperationalError) as refused:
        connect()
    assert sqlstate in ("", refused.value.sqlstate or "")
    return str(refused.value)


# -- clients


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_client_verifies_the_router_and_talks(start: Start, world: World, negotiation: str, version: str) -> None:
    router = start({})
    with router.connect(
        sslmode="verify-full",
        sslrootcert=world.authority.ca,
        sslnegotiation=negotiation,
        ssl_min_protocol_version=version,
        ssl_max_protocol_version=version,
    ) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("select 1").fetchone() == (1,)
        rows = connection.execute("select repeat('x', 1000) from generate_series(1, 20000)").fetchall()
        assert len(rows) == 20000
        long = "y" * 3_000_000
        assert connection.execute("select length(%s)", [long]).fetchone() == (len(long),)


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_whether_clear_connections_may_come(start: Start, mode: str) -> None:
    router = start({"mode": mode})
    if mode == "require":
        assert "accepts only TLS" in clear("", lambda: router.connect(sslmode="disable"))
    else:
        with router.connect(sslmode="disable") as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    with router.connect(sslmode="require") as connection:
        assert connection.pgconn.ssl_in_use


def test_without_tls_a_client_is_told_so(start: Start) -> None:
    router = start()
    assert "server does not support SSL" in clear("", lambda: router.connect(sslmode="require"))
    with router.connect(sslmode="prefer") as connection:
        assert not connection.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError):
        router.connect(sslmode="require", sslnegotiation="direct")


def test_a_router_that_is_not_whom_the_client_trusts(start: Start, world: World) -> None:
    router = start({})
    words = clear("", lambda: router.connect(sslmode="verify-ca", sslrootcert=world.foreign.ca))
    assert "certificate verify failed" in words
    until(lambda: router.log_contains("could not accept SSL connection: .*unknown ca"), 5, "the log")


def test_client_certificates(start: Start, world: World) -> None:
    router = start({"mode": "verify-full", "ca": world.authority.ca})
    good = world.authority.issue("client.test", name=USER)
    other = world.authority.issue("client.test", name="somebody")
    foreign = world.foreign.issue("client.test", name=USER, file="stranger")

    def connect(files: tuple[Path, Path] | None) -> Any:
        more = {} if files is None else {"sslcert": files[0], "sslkey": files[1]}
        return router.connect(sslmode="require", sslcertmode="disable" if files is None else "allow", **more)

    with connect(good) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert "connection requires a valid client certificate" in clear("", lambda: connect(None))
    assert f'certificate authentication failed for user "{USER}"' in clear("", lambda: connect(other))
    assert "unknown ca" in clear("", lambda: connect(foreign))


def test_a_revoked_client_certificate(start: Start, world: World) -> None:
    good = world.authority.issue("client.test", name=USER, file="good")
    bad = world.authority.issue("client.test", name=USER, file="bad")
    crl = world.authority.revoke(bad[0])
    router = start({"mode": "verify-ca", "ca": world.authority.ca, "crl": crl})
    with router.connect(sslmode="require", sslcert=good[0], sslkey=good[1]) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert "certificate revoked" in clear("", lambda: router.connect(sslmode="require", sslcert=bad[0], sslkey=bad[1]))


def test_asyncpg_with_tls(start: Start, world: World) -> None:
    router = start({"mode": "require"})

    async def main() -> None:
        context = ssl.create_default_context(cafile=world.authority.ca)
        connection = await asyncpg.connect(
            host="127.0.0.1", port=router.port, user=USER, password=PASSWORD, database="postgres", ssl=context
        )
        assert await connection.fetchval("select sum(n) from generate_series(1, $1) n", 100) == 5050
        await connection.close()

    asyncio.run(main())


def test_a_cancel_request_over_tls(start: Start) -> None:
    router = start({"mode": "require"}, {"mode": "require"})
    with router.connect(sslmode="require") as connection:
        timer = threading.Timer(0.3, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(30)")
        timer.join()
        assert connection.execute(HOW).fetchone()[0] is True


def test_bytes_sent_ahead_of_the_handshake_are_refused(start: Start) -> None:
    router = start({})
    with socket.create_connection(("127.0.0.1", router.port), timeout=5) as sock:
        sock.sendall(SSL_REQUEST + struct.pack("!II", 9, 196608) + b"\0")
        answer = sock.recv(4096)
    assert b"C08P01" in answer
    assert b"received unencrypted data after SSL request" in answer
    with socket.create_connection(("127.0.0.1", router.port), timeout=5) as sock:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        sock.sendall(struct.pack("!II", 9, 196608) + b"\0")  # no handshake at all
        rest = sock.recv(4096)
        assert rest[:1] in (b"", b"\x15")  # closed, or an alert of TLS


def test_direct_tls_needs_the_protocol_name(start: Start, world: World) -> None:
    router = start({})
    context = ssl.create_default_context(cafile=world.authority.ca)
    with (
        socket.create_connection(("127.0.0.1", router.port), timeout=5) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
    ):
        assert b"without ALPN protocol negotiation extension" in tls.recv(4096)


def test_tls_inside_tls_is_refused(start: Start, world: World) -> None:
    router = start({})
    context = ssl.create_default_context(cafile=world.authority.ca)
    with socket.create_connection(("127.0.0.1", router.port), timeout=5) as sock:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        with context.wrap_socket(sock, server_hostname="127.0.0.1") as tls:
            tls.sendall(SSL_REQUEST)
            assert b"unsupported frontend protocol 1234.5679" in tls.recv(4096)


def test_a_new_certificate_without_a_restart(start: Start, world: World, tmp_path: Path) -> None:
    cert, key = tmp_path / "own.crt", tmp_path / "own.key"

    def install(authority: Authority) -> None:
        new = authority.issue("127.0.0.1", file="new")
        key.touch(0o600)
        key.write_bytes(new[1].read_bytes())
        cert.write_bytes(new[0].read_bytes())

    install(world.authority)
    router = start({"cert": cert, "key": key})

    def connect(authority: Authority) -> psycopg.Connection[Any]:
        return router.connect(sslmode="verify-full", sslrootcert=authority.ca)

    with connect(world.authority) as old:
        install(world.foreign)
        router.process.reload()
        until(lambda: router.log_contains("configuration reloaded"), 5, "reloaded")
        with connect(world.foreign) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert old.execute("select 1").fetchone() == (1,)
        cert.write_text("nonsense")
        with pytest.raises(psycopg.Error, match="was not reloaded"):
            router.admin("reload")
        with connect(world.foreign) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


# -- servers


@pytest.mark.parametrize(
    ("mode", "encrypted"),
    [
        ("disable", False),
        ("allow", False),
        ("prefer", True),
        ("require", True),
        ("verify-ca", True),
        ("verify-full", True),
    ],
)
def test_the_modes_towards_a_server_with_tls(start: Start, world: World, mode: str, *, encrypted: bool) -> None:
    router = start(servers={"mode": mode} | ({"ca": world.authority.ca} if mode.startswith("verify") else {}))
    with router.connect() as connection:
        assert connection.execute(HOW).fetchone()[0] is encrypted
    found = world.server.sql(
        "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where application_name ~ '^pgrouter'"
    )
    assert found == [(encrypted,)]  # the router's own sessions are protected alike


def test_a_role_that_has_to_use_tls_or_must_not(start: Start) -> None:
    for mode in ("allow", "prefer"):
        router = start(servers={"mode": mode})
        for role, encrypted in (("only_tls", True), ("only_clear", False)):
            with psycopg.connect(router.dsn(user=role, password=role), autocommit=True) as connection:
                assert connection.execute(HOW).fetchone()[0] is encrypted, (mode, role)
    for mode, role in (("disable", "only_tls"), ("require", "only_clear")):
        router = start(servers={"mode": mode})
        words = clear("", lambda: psycopg.connect(router.dsn(user=role, password=role)))  # noqa: B023  (called at once)
        assert "pg_hba.conf" in words


def test_a_server_that_the_router_does_not_trust(start: Start, world: World) -> None:
    router = start(servers={"mode": "verify-full", "ca": world.foreign.ca})
    words = clear("", router.connect)
    assert "certificate verify failed" in words
    assert router.log_contains("certificate verify failed")


def test_the_router_shows_its_certificate(start: Start, world: World) -> None:
    cert, key = world.authority.issue("router.test", name="certified")
    router = start(servers={"mode": "verify-full", "ca": world.authority.ca, "cert": cert, "key": key})
    with psycopg.connect(router.dsn(user="certified", password="certified"), autocommit=True) as connection:
        assert connection.execute("select current_user").fetchone() == ("certified",)


# -- Unix sockets, and several addresses


def test_a_unix_socket_and_several_addresses(router: RouterFactory, world: World, tmp_path: Path) -> None:
    listen = [{"unix": str(tmp_path), "port": 6432, "unix_mode": "0700"}, {"host": "127.0.0.1,127.0.0.2", "port": 0}]
    one = router({"listen": listen, "cluster": static_cluster([world.server])})
    path = tmp_path / ".s.PGSQL.6432"
    assert path.stat().st_mode & 0o777 == 0o700
    dsn = f"host={tmp_path} port=6432 user={USER} password={PASSWORD} dbname=postgres"
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        shown = one.admin("show clients")
        assert "unix" in {row["addr"] for row in shown}
    with psycopg.connect(
        f"host=127.0.0.2 port={one.process.ports[-1]} user={USER} password={PASSWORD} dbname=postgres"
    ):
        pass
    one.stop()
    assert not path.exists()
    assert not (tmp_path / ".s.PGSQL.6432.lock").exists()
