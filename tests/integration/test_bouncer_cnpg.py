"""An ini as CloudNativePG writes it, started unmodified but for directories and ports.

Source: cloudnative-pg, pkg/management/pgbouncer/config/config.go; docs/src/connection_pooling.md for the roles.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.authority import Authority
from support.bouncer import Bouncer

from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.processes import make_directory, own, run, until, write_file
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.demo.workdir import Workdir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.pg

ASKER = "cnpg_pooler_pgbouncer"
INI = """
[databases]
* = host={host} port={pg}

[pgbouncer]
pool_mode = transaction
auth_user = cnpg_pooler_pgbouncer
auth_query = SELECT usename, passwd FROM public.user_search($1)
auth_dbname = postgres

admin_users = pgbouncer
auth_hba_file = {configs}/pg_hba.conf
auth_type = hba
client_tls_ca_file = {configs}/client-ca/ca.crt
client_tls_cert_file = {configs}/client-tls/tls.crt
client_tls_key_file = {configs}/client-tls/tls.key
client_tls_sslmode = prefer
ignore_startup_parameters = extra_float_digits,options
listen_addr = *
listen_port = {port}
log_stats = 0
server_tls_ca_file = {configs}/server-tls/ca.crt
server_tls_cert_file = {configs}/server-tls/tls.crt
server_tls_key_file = {configs}/server-tls/tls.key
server_tls_sslmode = verify-ca
unix_socket_dir = {directory}
"""
HBA = """
local pgbouncer pgbouncer peer



host all all 0.0.0.0/0 md5
host all all ::/0 md5
"""
ROLES = (
    f"create role {ASKER} login",
    f"grant connect on database postgres to {ASKER}",
    """create function public.user_search(uname text) returns table (usename name, passwd text) language sql
    security definer set search_path = pg_catalog, pg_temp as
    'select usename, passwd from pg_catalog.pg_shadow where usename = $1'""",
    "revoke all on function public.user_search(text) from public",
    f"grant execute on function public.user_search(text) to {ASKER}",
    "create role app login password 'of app'",
    "create database app owner app",
)


def keep(directory: Path, **files: Path) -> None:
    make_directory(directory)
    for name, source in files.items():
        write_file(directory / name.replace("_", "."), source.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StreamingCluster, Authority]]:
    """Give a PostgreSQL with TLS that lets the asker in by certificate."""
    directory = tmp_path_factory.mktemp("authority")
    authority = Authority(directory)
    hba = (
        f"hostssl all {ASKER} 127.0.0.1/32 cert",
        f"host all {ASKER} 127.0.0.1/32 reject",
        "hostnossl all app all reject",
    )
    with StreamingCluster(1, options=ServerOptions(hba=hba)) as cluster:
        primary = cluster.primary
        cert, key = authority.issue("db-rw", file="server")
        for name, source in (("server.crt", cert), ("server.key", key), ("root.crt", authority.ca)):
            write_file(primary.data / name, source.read_text())
        primary.sql("alter system set ssl_ca_file = 'root.crt'")
        primary.sql("alter system set ssl = on")
        primary.sql("select pg_reload_conf()")
        for role in ROLES:
            primary.sql(role)
        yield cluster, authority


def test_it_serves_and_its_controller_commands_it(server: tuple[StreamingCluster, Authority]) -> None:
    cluster, authority = server
    workdir = Workdir("cnpg")
    (port,) = workdir.ports(1)
    directory = workdir.path / "pod"
    configs = directory / "configs"
    text = INI.format(host="127.0.0.1", pg=cluster.primary.port, port=port, directory=directory, configs=configs)
    one = Bouncer(directory, text, port)
    make_directory(configs)
    write_file(configs / "pg_hba.conf", HBA)
    cert, key = authority.issue("db-pooler", file="pooler")
    keep(configs / "client-tls", tls_crt=cert, tls_key=key)
    keep(configs / "client-ca", ca_crt=authority.ca)
    cert, key = authority.issue(name=ASKER)
    keep(configs / "server-tls", tls_crt=cert, tls_key=key, ca_crt=authority.ca)
    own(configs)
    try:
        one.start()
        who = "select session_user, current_database(), ssl from pg_stat_ssl where pid = pg_backend_pid()"
        assert one.ask(who, "app", user="app", password="of app", sslmode="require") == [("app", "app", True)]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            one.connect("app", user="app", password="wrong")
        socket = f"host={directory} port={port} user=pgbouncer dbname=pgbouncer sslmode=disable"

        def command(sql: str) -> str:
            return run(["psql", "-Atc", sql, socket], directory)

        for sql in ("SHOW VERSION", "SHOW POOLS", "SHOW LISTS", "SHOW STATS", "RELOAD", "PAUSE"):
            command(sql)
        with ThreadPoolExecutor() as pool:
            held = pool.submit(one.ask, "select 1", "app", user="app", password="of app")
            until(lambda: "1" in command("SHOW STATE") and not held.done(), 5, "it is held")
            command("RESUME")
            assert held.result(timeout=10) == [(1,)]
        one.signal(signal.SIGINT)
        until(lambda: not one.alive, 10, "the end")
    finally:
        one.stop()
        workdir.remove()
