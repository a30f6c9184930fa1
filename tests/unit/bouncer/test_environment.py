"""Images that are configured by their environment: a row for each of the variables that matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgrouter.bouncer import convert, process
from pgrouter.bouncer.environment import Generated, generated
from pgrouter.errors import ConfigError

ZALANDO = {
    "PGHOST": "acid",
    "PGPORT": "5432",
    "PGUSER": "pooler",
    "PGSCHEMA": "pooler",
    "PGPASSWORD": "secret",
    "CONNECTION_POOLER_PORT": "5432",
    "CONNECTION_POOLER_MODE": "transaction",
    "CONNECTION_POOLER_DEFAULT_SIZE": "30",
    "CONNECTION_POOLER_MIN_SIZE": "15",
    "CONNECTION_POOLER_RESERVE_SIZE": "15",
    "CONNECTION_POOLER_MAX_CLIENT_CONN": "10000",
    "CONNECTION_POOLER_MAX_DB_CONN": "60",
}


def ini(**environment: str) -> convert.Ini:
    made = generated(environment)
    assert made is not None
    return convert.load(Path("pgbouncer.ini"), lambda _: made.ini)


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("LISTEN_PORT", "6432", "listen_port", 6432),
        ("LISTEN_ADDR", "*", "listen_addr", "*"),
        ("AUTH_TYPE", "scram-sha-256", "auth_type", "scram-sha-256"),
        ("AUTH_FILE", "/u", "auth_file", "/u"),
        ("AUTH_USER", "asker", "auth_user", "asker"),
        ("AUTH_QUERY", "select $1", "auth_query", "select $1"),
        ("POOL_MODE", "transaction", "pool_mode", "transaction"),
        ("MAX_CLIENT_CONN", "500", "max_client_conn", 500),
        ("DEFAULT_POOL_SIZE", "7", "default_pool_size", 7),
        ("MAX_DB_CONNECTIONS", "8", "max_db_connections", 8),
        ("ADMIN_USERS", "a,b", "admin_users", "a,b"),
        ("SERVER_TLS_SSLMODE", "require", "server_tls_sslmode", "require"),
        ("QUERY_WAIT_TIMEOUT", "9", "query_wait_timeout", 9.0),
        ("MAX_PREPARED_STATEMENTS", "50", "max_prepared_statements", 50),
    ],
)
def test_edoburu(variable: str, value: str, name: str, expected: object) -> None:
    assert ini(DB_HOST="pg", **{variable: value})[name] == expected


@pytest.mark.parametrize(
    ("environment", "name", "host", "port", "user"),
    [
        ({"DB_HOST": "pg"}, "*", "pg", 5432, "postgres"),
        ({"DB_HOST": "pg", "DB_NAME": "app", "DB_USER": "joe", "DB_PORT": "1"}, "app", "pg", 1, "joe"),
        ({"DATABASE_URL": "postgres://joe:se%40cret@pg:7/app"}, "app", "pg", 7, "joe"),
        ({"DATABASE_URLS": "postgres://joe@pg/a,postgres://ann@pg/b"}, "b", "pg", 5432, "ann"),
    ],
)
def test_edoburus_databases(environment: dict[str, str], name: str, host: str, port: int, user: str) -> None:
    entry = ini(**environment).entries.databases[name]
    assert (entry.hosts, entry.port, entry.text("auth_user")) == ((host,), port, user)


def test_passwords_are_for_the_users_file(tmp_path: Path) -> None:
    made = generated({"DATABASE_URL": "postgres://joe:se%40cret@pg/app", "AUTH_FILE": str(tmp_path / "u")})
    assert made is not None
    for _ in range(2):
        process.complete(made)
        assert (tmp_path / "u").read_text() == '"joe" "se@cret"\n'
    (tmp_path / "u").write_text('"ann" "x"')
    process.complete(made)
    assert (tmp_path / "u").read_text() == '"ann" "x"\n"joe" "se@cret"\n'
    with pytest.raises(ConfigError, match="cannot be written"):
        process.complete(Generated("", (("a", "b"),), str(tmp_path / "missing" / "u")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pool_mode", "transaction"),
        ("listen_port", 5432),
        ("listen_addr", "*"),
        ("admin_users", "pooler"),
        ("auth_query", "SELECT * FROM pooler.user_lookup($1)"),
        ("auth_dbname", "postgres"),
        ("default_pool_size", 30),
        ("reserve_pool_size", 15),
        ("max_client_conn", 10000),
        ("max_db_connections", 60),
        ("client_tls_sslmode", "require"),
        ("server_tls_sslmode", "require"),
        ("client_tls_cert_file", "/etc/ssl/certs/pgbouncer.crt"),
    ],
)
def test_zalando(name: str, expected: object) -> None:
    found = ini(**ZALANDO)
    assert found[name] == expected
    assert found.entries.databases["*"].hosts == ("acid",)


def test_zalandos_certificate() -> None:
    given = {"CONNECTION_POOLER_CLIENT_TLS_CRT": "/tls/tls.crt", "CONNECTION_POOLER_CLIENT_TLS_KEY": "/tls/tls.key"}
    found = ini(**ZALANDO, **given)
    assert (found["client_tls_cert_file"], found["client_tls_key_file"]) == ("/tls/tls.crt", "/tls/tls.key")
    made = generated({**ZALANDO, **given})
    assert made is not None
    assert made.certificate is None


def test_other_environments() -> None:
    assert generated({"PGHOST": "pg", "HOME": "/"}) is None
    with pytest.raises(ConfigError, match="there is no environment variable PGSCHEMA"):
        generated({name: value for name, value in ZALANDO.items() if name != "PGSCHEMA"})
