"""auth.type hba: the same pg_hba.conf for PostgreSQL and for the router, and what clients hear from both."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from joserfc import jwk, jws
from support.rawclient import RawClient, message, startup, values
from support.router import static_cluster

from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.router import Router, RouterFactory

pytestmark = pytest.mark.pg

LOCAL = "127.0.0.1/32"
HBA = (
    f"host all trusted {LOCAL} trust",
    f"host all rejected {LOCAL} reject",
    f"host all by_scram,scram_late,scram_never {LOCAL} scram-sha-256",
    f"host all by_md5,by_md5_with_scram {LOCAL} md5",
    f"host all by_password {LOCAL} password",
    f"host all +staff {LOCAL} trust",
    f"host postgres /^re_.*$ {LOCAL} trust",
    f"host sameuser own {LOCAL} trust",
    f"host template1 all {LOCAL} reject",
    f"hostssl all over_tls {LOCAL} trust",
    "host all by_name localhost trust",
    "host all from_here samehost trust",
    f"host all unknown {LOCAL} scram-sha-256",
    f"host all unknown_md5 {LOCAL} md5",
    f"host all unknown_trust {LOCAL} trust",
    # The router's own sessions; the general lines that follow in the server's file must not be reached
    f"host all postgres,pgrouter {LOCAL} scram-sha-256",
    f"host replication all {LOCAL} scram-sha-256",
    "host all all 0.0.0.0/0 reject",
)
PASSWORD = "p'w\u00e4"
ROLES = (
    "trusted", "rejected", "by_scram", "by_password", "re_1", "own", "over_tls", "by_name", "from_here", "worker",
    "other", "scram_late", "scram_never", "by_md5_with_scram",
)  # fmt: skip
SETUP = (
    *(f"create role {role} login password '{PASSWORD.replace(chr(39), chr(39) * 2)}'" for role in ROLES),
    "set password_encryption = 'md5'; create role by_md5 login password 'p''w\u00e4'; reset password_encryption",
    "create role staff; create role seniors; grant staff to seniors; grant seniors to worker",
    "create database own",
    "alter role scram_late valid until '2001-01-01'",
    "alter role scram_never nologin",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[StreamingCluster]:
    with StreamingCluster(1, options=ServerOptions(hba=HBA)) as made:
        for statement in SETUP:
            made.primary.sql(statement)
        yield made


@pytest.fixture
def front(cluster: StreamingCluster, router: RouterFactory, tmp_path: Path) -> Router:
    (tmp_path / "pg_hba.conf").write_text("\n".join(HBA) + "\n")
    secrets = dict(cluster.primary.sql("select rolname, rolpassword from pg_authid where rolpassword is not null"))
    settings = {"type": "hba", "hba_file": str(tmp_path / "pg_hba.conf")}
    servers = {"require_auth": ["scram-sha-256", "md5", "password", "none"]}  # in clear, too
    return router({"cluster": static_cluster(cluster.servers), "auth": settings, "servers": servers}, users=secrets)


def outcome(port: int, user: str, password: str, database: str = "postgres") -> str:
    """Log in and return who that is, or the error with its SQLSTATE as libpq tells it."""
    try:
        with psycopg.connect(
            host="127.0.0.1", port=port, user=user, password=password, dbname=database, connect_timeout=10,
            gssencmode="disable", sslmode="disable",
        ) as connection:  # fmt: skip
            row = connection.execute("select current_user").fetchone()
            return str(row and row[0])
    except psycopg.OperationalError as error:
        return str(error).partition("FATAL:")[2].strip().partition("\n")[0]


def by_asyncpg(port: int, user: str, password: str, database: str = "postgres") -> str:
    async def main() -> str:
        login = {"user": user, "password": password, "database": database, "ssl": False}
        try:
            connection = await asyncpg.connect(host="127.0.0.1", port=port, timeout=10, **login)
        except asyncpg.PostgresError as error:
            return f"{error.sqlstate} {error}"
        try:
            return str(await connection.fetchval("select current_user"))
        finally:
            await connection.close()

    return asyncio.run(main())


def by_psql(port: int, user: str, password: str, database: str = "postgres") -> str:
    info = f"host=127.0.0.1 port={port} user={user} dbname={database} sslmode=disable gssencmode=disable"
    done = subprocess.run(
        ["psql", "-X", "-w", "-At", "-c", "select current_user", info],
        env={"PGPASSWORD": password, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, capture_output=True, text=True,
        check=False, timeout=20,
    )  # fmt: skip
    return (done.stdout or done.stderr.partition("FATAL:")[2]).strip()


CASES = [
    *((role, PASSWORD, "postgres") for role in ROLES),
    ("by_md5", PASSWORD, "postgres"),
    *(
        (role, "wrong", "postgres")
        for role in ("by_scram", "by_md5", "by_md5_with_scram", "by_password", "trusted", "scram_late")
    ),
    ("nobody", PASSWORD, "postgres"),
    ("unknown", PASSWORD, "postgres"),
    ("unknown_md5", PASSWORD, "postgres"),
    ("unknown_trust", PASSWORD, "postgres"),
    ("re_1", "", "template1"),
    ("own", "", "own"),
    ("other", "", "template1"),
    ("trusted", "", "none_such"),
]


@pytest.mark.parametrize("driver", [outcome, by_asyncpg, by_psql])
def test_clients_hear_the_same_as_from_postgresql(cluster: StreamingCluster, front: Router, driver: Any) -> None:
    different = {}
    for user, password, database in CASES:
        direct, routed = (driver(port, user, password, database) for port in (cluster.primary.port, front.port))
        if direct != routed:
            different[user, password, database] = (direct, routed)
    assert different == {}


def greeting(port: int, user: str) -> tuple[Any, ...]:
    """Return what a client is asked for, and the error for a wrong answer, as it is on the wire."""
    with RawClient(port) as client:
        client.send(startup(user=user, database="postgres"))
        asked = client.receive()
        if asked is None or asked.code != "R":
            return (asked,)
        kind = int.from_bytes(asked.body[:4], "big")
        answer = b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc" if kind == 10 else b"md5" + b"0" * 32 + b"\0"
        client.send(message(b"p", answer))
        then = client.receive()
        assert then is not None
        if then.code == "R":  # the challenge: nonce and salt are what differs
            nonce, salt, iterations = then.body[4:].split(b",")
            client.send(message(b"p", b"c=biws," + nonce + b",p=" + b"A" * 43 + b"="))
            shape = (len(nonce), len(salt), iterations)
            last = client.receive()
            return (kind, shape, last and last.fields | {"M": ""})
        return (kind, then.fields | {"M": ""})


@pytest.mark.parametrize(("known", "unknown"), [("by_scram", "unknown"), ("by_md5_with_scram", "unknown_md5")])
def test_an_unknown_user_looks_like_a_wrong_password(front: Router, known: str, unknown: str) -> None:
    assert greeting(front.port, known) == greeting(front.port, unknown)


def test_a_token_opens_a_session(cluster: StreamingCluster, router: RouterFactory, tmp_path: Path) -> None:
    key = jwk.ECKey.generate_key("P-256", {"kid": "1"}, auto_kid=False)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    (tmp_path / "ident").write_text("tokens /^(.*)@example$ \\1\n")
    (tmp_path / "hba").write_text('host all all all oauth issuer=https://issuer scope="db" map=tokens\n')
    auth = {
        "type": "hba", "hba_file": str(tmp_path / "hba"), "ident_file": str(tmp_path / "ident"),
        "oauth": {"jwks_file": str(tmp_path / "jwks.json"), "user_claim": "email"},
    }  # fmt: skip
    front = router({"cluster": static_cluster(cluster.servers), "auth": auth})

    def said(**claims: Any) -> list[Any]:
        payload = {"iss": "https://issuer", "scope": "db", "exp": time.time() + 60, "email": "trusted@example"} | claims
        token = jws.serialize_compact({"alg": "ES256", "kid": "1"}, json.dumps(payload), key)
        body = b"n,,\1auth=Bearer " + token.encode() + b"\1\1"
        with RawClient(front.port) as client:
            client.send(startup(user="trusted", database="postgres"))
            asked = client.receive()
            assert asked is not None
            assert asked.body == b"\0\0\0\x0aOAUTHBEARER\0\0"
            client.send(message(b"p", b"OAUTHBEARER\0" + len(body).to_bytes(4, "big") + body))
            answer = client.receive()
            if answer is not None and answer.body[:4] == b"\0\0\0\x0b":
                client.send(message(b"p", b"\1"))
                return client.until_closed()
            if answer is None or answer.code != "R":
                return [answer]
            client.until_ready()
            return values(client.ask("select current_user"))

    assert said() == [["trusted"]]
    for claims in ({"email": "joe@example"}, {"exp": 0}, {"scope": ""}):
        (error,) = said(**claims)
        assert error.fields["C"] == "28000"
        assert error.fields["M"] == 'OAuth bearer authentication failed for user "trusted"'
    assert front.log_contains("the token is not accepted: it has expired")


def test_the_line_is_in_the_log_and_a_broken_file_changes_nothing(front: Router, tmp_path: Path) -> None:
    file = tmp_path / "pg_hba.conf"
    assert outcome(front.port, "trusted", "") == "trusted"
    outcome(front.port, "rejected", "")
    outcome(front.port, "nobody", "")
    outcome(front.port, "by_scram", "wrong")
    for words in (
        rf'pg_hba.conf rejects .*user "rejected".* \({file}:2: "host all rejected .* reject"\)',
        rf'login failed: password authentication failed for user "by_scram" \({file}:3\)',
    ):
        until(lambda words=words: front.log_contains(words), 10, words)
    file.write_text("host all all all nothing\n")
    front.process.reload()
    until(lambda: front.log_contains(rf'auth.hba_file: {file}:1: invalid authentication method "nothing"'), 10, "told")
    assert outcome(front.port, "trusted", "") == "trusted"
    file.write_text(f"host all trusted {LOCAL} reject\n")
    front.process.reload()
    until(lambda: outcome(front.port, "trusted", "").startswith("pg_hba.conf rejects"), 10, "reloaded")
