"""Images that are configured by their environment: what their entrypoints write, as the text of an ini. Pure.

Source: edoburu/docker-pgbouncer, entrypoint.sh; zalando/postgres-operator, pooler/entrypoint.sh, pgbouncer.ini.tmpl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pgrouter.bouncer.parameters import PARAMETERS
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTH_FILE = "/etc/pgbouncer/userlist.txt"
CERTIFICATE = "/etc/ssl/certs/pgbouncer.crt"
KEY = "/etc/ssl/certs/pgbouncer.key"

# What edoburu's entrypoint sets when a variable is not set
EDOBURU = {
    "listen_addr": "0.0.0.0",  # noqa: S104
    "listen_port": "5432",
    "unix_socket_dir": "",
    "auth_file": AUTH_FILE,
    "auth_type": "md5",
    "admin_users": "postgres",
    "ignore_startup_parameters": "extra_float_digits",
}
ZALANDO = """\
[databases]
* = host={PGHOST} port={PGPORT} auth_user={PGUSER}
postgres = host={PGHOST} port={PGPORT} auth_user={PGUSER}
[pgbouncer]
pool_mode = {CONNECTION_POOLER_MODE}
listen_port = {CONNECTION_POOLER_PORT}
listen_addr = *
admin_users = {PGUSER}
stats_users = {INFRASTRUCTURE_ROLES}
auth_dbname = postgres
auth_file = {auth_file}
auth_query = SELECT * FROM {PGSCHEMA}.user_lookup($1)
auth_type = md5
server_tls_sslmode = require
client_tls_sslmode = require
client_tls_key_file = {key}
client_tls_cert_file = {certificate}
log_connections = 0
log_disconnections = 0
default_pool_size = {CONNECTION_POOLER_DEFAULT_SIZE}
reserve_pool_size = {CONNECTION_POOLER_RESERVE_SIZE}
max_client_conn = {CONNECTION_POOLER_MAX_CLIENT_CONN}
max_db_connections = {CONNECTION_POOLER_MAX_DB_CONN}
idle_transaction_timeout = 600
server_login_retry = 5
ignore_startup_parameters = extra_float_digits,options
"""


@dataclass(frozen=True, slots=True)
class Generated:
    """What an entrypoint writes: an ini, and users for the file of users who are not in it."""

    ini: str
    users: tuple[tuple[str, str], ...] = ()
    auth_file: str = AUTH_FILE
    certificate: tuple[str, str] | None = None  # a self-signed one with its key, if the files are missing


def generated(environment: Mapping[str, str]) -> Generated | None:
    """Return what the entrypoint of a known image would write; None: these are not its variables.

    Raises:
        ConfigError: a variable is missing.

    """
    if environment.get("CONNECTION_POOLER_MODE"):
        return _zalando(environment)
    if any(environment.get(name) for name in ("DB_HOST", "DATABASE_URL", "DATABASE_URLS")):
        return _edoburu(environment)
    return None


def _zalando(environment: Mapping[str, str]) -> Generated:
    given = {"INFRASTRUCTURE_ROLES": "", **environment}
    certificate = given.get("CONNECTION_POOLER_CLIENT_TLS_CRT") or CERTIFICATE
    key = given.get("CONNECTION_POOLER_CLIENT_TLS_KEY") or KEY
    try:
        ini = ZALANDO.format_map({**given, "auth_file": AUTH_FILE, "certificate": certificate, "key": key})
    except KeyError as error:
        raise ConfigError([f"there is no environment variable {error.args[0]}"]) from None
    own = (certificate, key) if certificate == CERTIFICATE else None
    return Generated(ini, certificate=own)


@dataclass(frozen=True, slots=True)
class _Database:
    host: str
    port: str
    name: str
    user: str
    password: str


def _edoburu(environment: Mapping[str, str]) -> Generated:
    urls = environment.get("DATABASE_URLS") or environment.get("DATABASE_URL") or ""
    databases = [_by_url(url) for url in urls.split(",") if url.strip()] or [_by_name(environment)]
    encoding = environment.get("CLIENT_ENCODING")
    lines = ["[databases]"]
    for each in databases:
        more = f" client_encoding={encoding}" if encoding else ""
        lines.append(f"{each.name or '*'} = host={each.host} port={each.port} auth_user={each.user}{more}")
    settings = EDOBURU | {
        name: value
        for name in PARAMETERS
        if name not in ("user", "conffile") and (value := environment.get(name.upper()))
    }
    lines += ["[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
    users = tuple(dict.fromkeys((each.user, each.password) for each in databases if each.password))
    return Generated("\n".join(lines) + "\n", users, settings["auth_file"])


def _by_url(text: str) -> _Database:
    try:
        url = urlsplit(text.strip() if "://" in text else f"postgres://{text.strip()}")
        port = url.port or 5432
    except ValueError:
        raise ConfigError(["DATABASE_URL: expected postgres://USER:PASSWORD@HOST:PORT/NAME"]) from None
    user, password = unquote(url.username or "postgres"), unquote(url.password or "")
    return _Database(url.hostname or "", str(port), url.path.lstrip("/"), user, password)


def _by_name(environment: Mapping[str, str]) -> _Database:
    return _Database(
        environment.get("DB_HOST", ""),
        environment.get("DB_PORT") or "5432",
        environment.get("DB_NAME", ""),
        environment.get("DB_USER") or "postgres",
        environment.get("DB_PASSWORD", ""),
    )
