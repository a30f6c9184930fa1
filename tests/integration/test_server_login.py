"""`server_login` against PostgreSQL itself: every method of pg_hba.conf, every credential, its own refusals."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from pgrouter.auth import scram
from pgrouter.auth.conversation import Conversation
from pgrouter.auth.secret import Derivation, Md5Secret, PlainSecret, ScramSecret, parse_secret
from pgrouter.auth.server import ServerHello, ServerRefused, server_login
from pgrouter.demo.postgres import Server, ServerOptions
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.errors import InvalidAuthorization

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.auth.secret import Credential

pytestmark = pytest.mark.pg

PASSWORD = "p\u00e4ss\u00a0w\u00adord'"
METHODS = ("trust", "password", "md5", "scram-sha-256")

# Roles: how pg_authid keeps the password, and how pg_hba.conf lets them in (the role's own database is "postgres")
ROLES = {
    **{f"scram_by_{method}": ("scram-sha-256", method) for method in METHODS},
    **{f"md5_by_{method}": ("md5", method) for method in METHODS[:3]},
    "nobody_home": ("scram-sha-256", "reject"),
}

# Passwords that SASLprep changes, leaves, or prohibits (then PostgreSQL takes them as they are)
ODD_PASSWORDS = ("I\u00adX", "\u2168", "\u00aa\u00a0b", "\u0627\u0031", "\u0221x", "\u00ad", "a\x07b", "\U0001f418 e")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One PostgreSQL with a role for every method."""
    hba = tuple(f"host all {role} 127.0.0.1/32 {method}" for role, (_, method) in ROLES.items())
    with StreamingCluster(1, options=ServerOptions(hba=hba)) as cluster:
        with cluster.primary.connect() as connection:
            for role, (stored, _) in ROLES.items():
                connection.execute(sql.SQL("set password_encryption = {}").format(stored))
                create = sql.SQL("create role {} login password {}")
                connection.execute(create.format(sql.Identifier(role), PASSWORD))
        yield cluster.primary


def log_in(server: Server, user: str, credential: Credential | None, database: str = "postgres") -> ServerHello:
    """Run a login over a blocking socket."""
    conversation = Conversation(server_login(user, database, (("application_name", "t\u00ebst"),), credential), 1 << 20)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock, sock.makefile("rb") as incoming:
        request = conversation.resume(None)
        while request is not None:
            sock.sendall(conversation.sends())
            if isinstance(request, Derivation):
                request = conversation.resume(request.run())
                continue
            code, *length = incoming.read(5)
            request = conversation.resume((code, incoming.read(int.from_bytes(bytes(length), "big") - 4)))
        return conversation.result


def stored_secret(server: Server, role: str) -> PlainSecret | Md5Secret | ScramSecret:
    """Give what pg_authid has."""
    with server.connect() as connection:
        row = connection.execute("select rolpassword from pg_authid where rolname = %s", (role,)).fetchone()
    assert row is not None
    return parse_secret(row[0])


@pytest.mark.parametrize("role", [role for role in ROLES if role != "nobody_home"])
def test_a_password_opens_every_door(server: Server, role: str) -> None:
    hello = log_in(server, role, PlainSecret(PASSWORD))
    parameters = dict(hello.parameters)
    assert parameters["session_authorization"] == role
    assert parameters["client_encoding"] == "UTF8"
    assert parameters["application_name"].startswith("t")
    assert hello.pid > 0
    assert len(hello.key) == 4


@pytest.mark.parametrize("role", [role for role, (_, method) in ROLES.items() if method not in ("trust", "reject")])
def test_a_wrong_password_is_refused_in_postgresqls_words(server: Server, role: str) -> None:
    with pytest.raises(ServerRefused) as caught:
        log_in(server, role, PlainSecret("wrong"))
    assert (caught.value.sqlstate, caught.value.severity) == ("28P01", "FATAL")
    assert caught.value.message == f'password authentication failed for user "{role}"'
    assert b"C28P01\0" in caught.value.body


def test_refusals_that_are_not_about_passwords(server: Server) -> None:
    with pytest.raises(ServerRefused, match='database "nowhere" does not exist') as caught:
        log_in(server, "scram_by_trust", None, "nowhere")
    assert caught.value.sqlstate == "3D000"
    with pytest.raises(ServerRefused) as caught:
        log_in(server, "nobody_home", PlainSecret(PASSWORD))
    assert caught.value.sqlstate == "28000"


@pytest.mark.parametrize("role", ["md5_by_md5", "md5_by_trust"])
def test_what_pg_authid_keeps_of_md5_logs_in(server: Server, role: str) -> None:
    secret = stored_secret(server, role)
    assert isinstance(secret, Md5Secret)
    assert log_in(server, role, secret).pid


def test_scram_keys_from_a_clients_login_log_in(server: Server) -> None:
    secret = stored_secret(server, "scram_by_scram-sha-256")
    assert isinstance(secret, ScramSecret)
    keys = scram.derive(PASSWORD, secret.salt, secret.iterations)
    assert (keys.stored_key, keys.server_key) == (secret.stored_key, secret.server_key)
    assert log_in(server, "scram_by_scram-sha-256", keys).pid
    assert log_in(server, "scram_by_md5", scram.derive(PASSWORD, *_salt_of(server, "scram_by_md5"))).pid


def _salt_of(server: Server, role: str) -> tuple[bytes, int]:
    secret = stored_secret(server, role)
    assert isinstance(secret, ScramSecret)
    return secret.salt, secret.iterations


@pytest.mark.parametrize(
    ("role", "credential"),
    [
        ("scram_by_scram-sha-256", None),
        ("scram_by_scram-sha-256", Md5Secret("0" * 32)),
        ("scram_by_scram-sha-256", scram.derive(PASSWORD, b"not the server's", 4096)),
        ("scram_by_password", scram.derive(PASSWORD, b"not the server's", 4096)),
        ("md5_by_md5", None),
        ("md5_by_password", Md5Secret("0" * 32)),
    ],
)
def test_what_cannot_answer_says_so(server: Server, role: str, credential: Credential | None) -> None:
    with pytest.raises(InvalidAuthorization, match="cannot log in to the server") as caught:
        log_in(server, role, credential)
    assert caught.value.hint


@pytest.mark.parametrize("password", ODD_PASSWORDS)
def test_passwords_are_prepared_as_postgresql_prepares_them(server: Server, password: str) -> None:
    with server.connect() as connection:
        role = sql.Identifier("scram_by_scram-sha-256")
        alter = sql.SQL("alter role {} password {}")
        connection.execute(alter.format(role, password))
        connection.commit()
        try:
            assert log_in(server, "scram_by_scram-sha-256", PlainSecret(password)).pid
        finally:
            connection.execute(alter.format(role, PASSWORD))


@pytest.mark.parametrize("count", [1, 4095, 30000])
def test_other_iteration_counts(server: Server, count: int) -> None:
    keys = scram.derive(PASSWORD, bytes(range(16)), count)
    written = "SCRAM-SHA-256${}:{}${}:{}".format(
        count, *(scram.encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    )
    role = sql.Identifier(f"counted_{count}")
    with server.connect() as connection:
        connection.execute(sql.SQL("create role {} login password {}").format(role, written))
    assert log_in(server, f"counted_{count}", PlainSecret(PASSWORD)).pid
