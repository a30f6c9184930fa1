"""auth.type hba over TLS and Unix sockets: certificates, channel binding, peer; as PostgreSQL with the same files."""

from __future__ import annotations

import getpass
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.authority import Authority
from support.router import static_cluster

from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.processes import write_file
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.postgres import Server

pytestmark = pytest.mark.pg

LOCAL = "127.0.0.1/32"
SOCKET = 6499  # the number in the router's Unix socket
HBA = (
    "local all postgres peer map=me",
    "local all joe peer",
    "local all scram scram-sha-256",
    "local all jim,by_dn,by_map,ca,joe_too,scram_full,pgrouter trust",  # by this the router comes to the server
    f"hostssl all joe,jim {LOCAL} cert",
    f"hostssl all by_dn {LOCAL} cert clientname=DN map=names",
    f"hostssl all by_map {LOCAL} cert map=names",
    f"hostssl all ca {LOCAL} scram-sha-256 clientcert=verify-ca",
    f"hostssl all joe_too {LOCAL} trust clientcert=verify-ca",
    f"hostssl all scram_full {LOCAL} scram-sha-256 clientcert=verify-full",
    f"hostssl all scram {LOCAL} scram-sha-256",
    f"hostnossl all clear {LOCAL} scram-sha-256",
    f"host all postgres,pgrouter {LOCAL} scram-sha-256",
    "host all all 0.0.0.0/0 reject",
)
IDENT = (
    f"me {getpass.getuser()} postgres",
    'names "/^(.*) of us$" by_map',
    "names /CN=joe.of.us by_dn",
)
ROLES = ("joe", "jim", "by_dn", "by_map", "ca", "joe_too", "scram_full", "scram", "clear")


class World:
    """A PostgreSQL with TLS and a Unix socket, and the files of it and of a router."""

    def __init__(self, directory: Path, sockets: Path, server: Server) -> None:
        self.directory, self.sockets, self.server = directory, sockets, server
        self.authority, self.foreign = Authority(directory), Authority(directory, "foreign")
        cert, key = self.authority.issue("127.0.0.1", file="server")
        self.tls = {"cert": str(cert), "key": str(key), "ca": str(self.authority.ca)}
        for name, source in (("server.crt", cert), ("server.key", key), ("root.crt", self.authority.ca)):
            write_file(server.data / name, source.read_text())
        write_file(server.data / "pg_ident.conf", "\n".join(IDENT) + "\n")
        (directory / "pg_ident.conf").write_text("\n".join(IDENT) + "\n")
        (directory / "pg_hba.conf").write_text("\n".join(HBA) + "\n")
        server.sql("alter system set ssl_ca_file = 'root.crt'")
        server.sql("alter system set ssl = on")
        server.sql("select pg_reload_conf()")
        for role in ROLES:
            server.sql(f"create role {role} login password '{role}'")
        self.certificates: dict[str, tuple[Path, Path] | None] = {
            "none": None,
            "jim": self.authority.issue("jim.example", name="jim"),
            "joe": self.authority.issue("joe.example", name="joe"),
            "us": self.authority.issue("us.example", name="joe of us", file="us"),
            "full": self.authority.issue("full.example", name="scram_full"),
            "foreign": self.foreign.issue("joe.example", name="joe", file="foreign"),
        }

    def outcome(self, port: int, user: str, certificate: str = "none", **more: Any) -> str:
        files = self.certificates[certificate]
        # Not from the home directory; a certificate is sent if there is one
        tls = {"sslcert": str(files[0]), "sslkey": str(files[1])} if files else {"sslcertmode": "disable"}
        info = {"host": "127.0.0.1", "sslmode": "require", "gssencmode": "disable"} | tls | more
        try:
            with psycopg.connect(
                **({"port": port, "user": user, "password": user, "dbname": "postgres"} | info)
            ) as connection:
                row = connection.execute("select current_user").fetchone()
                return str(row and row[0])
        except psycopg.OperationalError as error:
            text = str(error)
            return text.partition("FATAL:")[2].strip().partition("\n")[0] or text.rpartition("failed:")[2].strip()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("hba")
    sockets_at = Path(tempfile.mkdtemp(prefix="pgrouter-sockets-"))
    sockets_at.chmod(0o777)  # PostgreSQL runs as somebody else if we are root
    sockets = {"unix_socket_directories": str(sockets_at)}
    try:
        with StreamingCluster(1, options=ServerOptions(hba=HBA, parameters=sockets)) as cluster:
            yield World(directory, sockets_at, cluster.primary)
    finally:
        shutil.rmtree(sockets_at, ignore_errors=True)


@pytest.fixture
def front(world: World, router: RouterFactory) -> Router:
    secrets = {role: role for role in ROLES} | {"postgres": "postgres"}
    auth = {"hba_file": str(world.directory / "pg_hba.conf"), "ident_file": str(world.directory / "pg_ident.conf")}
    listen = [{"port": 0, "tls": world.tls}, {"unix": str(world.sockets), "port": SOCKET}]
    member = {"name": "pg0", "host": str(world.sockets), "port": world.server.port}
    cluster = static_cluster([world.server]) | {"members": [member]}
    return router({"listen": listen, "cluster": cluster, "auth": {"type": "hba"} | auth}, users=secrets)


REFUSED = [
    ("joe", "none"),
    ("joe", "foreign"),
    ("jim", "joe"),
    ("by_dn", "joe"),
    ("by_map", "joe"),
    ("ca", "none"),
    ("ca", "foreign"),
    ("scram_full", "joe"),
    ("scram_full", "none"),
    ("clear", "none"),
    ("nobody", "joe"),
]
LET_IN = [
    ("jim", "jim"),
    ("by_dn", "us"),
    ("by_map", "us"),
    ("ca", "joe"),
    ("joe_too", "us"),
    ("scram_full", "full"),
    ("scram", "none"),
]


def test_who_is_refused_hears_what_postgresql_says(world: World, front: Router) -> None:
    different = {}
    for user, certificate in REFUSED:
        direct, routed = (world.outcome(port, user, certificate) for port in (world.server.port, front.port))
        if direct != routed:
            different[user, certificate] = (direct, routed)
    assert different == {}


def test_who_is_let_in_there_passes_here(world: World, front: Router) -> None:
    for user, certificate in LET_IN:
        for port in (world.server.port, front.port):
            assert world.outcome(port, user, certificate) == user


def test_channel_binding_is_there_for_who_requires_it(world: World, front: Router) -> None:
    for port in (world.server.port, front.port):
        assert world.outcome(port, "scram", channel_binding="require", require_auth="scram-sha-256") == "scram"
        assert "password authentication failed" in world.outcome(
            port, "scram", channel_binding="require", password="wrong"
        )


def test_peer_over_a_unix_socket(world: World, front: Router) -> None:
    assert front.process.ports
    for port in (world.server.port, SOCKET):
        socket = {"host": str(world.sockets), "sslmode": "disable"}
        assert world.outcome(port, "postgres", **socket) == "postgres"
        assert world.outcome(port, "joe", **socket) == 'Peer authentication failed for user "joe"'
        assert world.outcome(port, "clear", **socket) == (
            'no pg_hba.conf entry for host "[local]", user "clear", database "postgres", no encryption'
        )
