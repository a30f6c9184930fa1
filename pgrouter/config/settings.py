"""Every setting, with its default, its unit and what it does: one field, one documented setting.

Durations are written in YAML as `15s`, `200ms`, `10m`, `1h` or a plain number of seconds, and are seconds here; the
Python name then carries the unit (`wait_timeout` in YAML, `wait_timeout_s` here). Nothing here is global: settings are
built once by `config.load` and passed to constructors; a reload builds new ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct, field


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file: immutable, and an unknown key is an error."""


class Listen(_Section):
    """One address that clients connect to."""

    host: str = "127.0.0.1"
    port: int = 6432  # 0: the kernel picks one (tests)
    mode: Literal["split", "primary", "replica"] = "split"  # split: each statement by its class


class MemberAddress(_Section):
    """One PostgreSQL server of a static cluster."""

    name: str
    host: str
    port: int = 5432


class Monitor(_Section):
    """How the router itself logs in to the members, for probes and the catalog."""

    user: str = "postgres"
    password: str = ""
    database: str = "postgres"
    interval_s: float = field(default=1.0, name="interval")  # between two probes of a member
    timeout_s: float = field(default=3.0, name="timeout")  # connect and answer of one probe


class EtcdTls(_Section):
    """Certificates towards etcd."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Etcd(_Section):
    """Where Patroni keeps the cluster's keys: /<namespace>/<scope>/."""

    endpoints: tuple[str, ...]
    scope: str
    namespace: str = "/service"
    username: str = ""
    password: str = ""
    tls: EtcdTls | None = None
    connect_timeout_s: float = field(default=1.0, name="connect_timeout")
    request_timeout_s: float = field(default=2.0, name="request_timeout")
    idle_s: float = field(default=5.0, name="idle")  # silence on a watch after which everything is read again


class Cluster(_Section):
    """Who the members are and who says which of them leads."""

    source: Literal["static", "etcd"]
    members: tuple[MemberAddress, ...] = ()  # source: static
    etcd: Etcd | None = None  # source: etcd
    monitor: Monitor = field(default_factory=Monitor)


class Auth(_Section):
    """How clients prove who they are, and the passwords with which the router logs in to servers."""

    type: Literal["trust", "password", "md5", "scram-sha-256"] = "scram-sha-256"
    users_file: Path | None = None  # PgBouncer's userlist.txt


class Pool(_Section):
    """Server connections: a pool per member, database and user."""

    mode: Literal["transaction", "session", "statement"] = "transaction"
    size: int = 20  # server connections per member, database and user
    min_size: int = 0
    max_clients: int = 1000  # client connections in all
    wait_timeout_s: float = field(default=120.0, name="wait_timeout")  # for a server connection; then 57014
    no_leader_timeout_s: float = field(default=30.0, name="no_leader_timeout")  # held while nobody leads; then 57P03
    idle_timeout_s: float = field(default=600.0, name="idle_timeout")  # an unused server connection is closed
    lifetime_s: float = field(default=3600.0, name="lifetime")  # an older one is closed once it is free
    connect_timeout_s: float = field(default=15.0, name="connect_timeout")  # dial and login to a server
    login_timeout_s: float = field(default=60.0, name="login_timeout")  # a client's login
    drain_timeout_s: float = field(default=30.0, name="drain_timeout")  # SIGTERM: running transactions may finish
    prepared_statements: int = 200  # kept per server connection; the least recently used is closed


class Routing(_Section):
    """Which statement goes where."""

    cache_bytes: int = 64 * 1024 * 1024  # memory for classified statements
    read_only_functions: tuple[str, ...] = ()  # taken as reads whatever pg_proc says; name or schema.name
    write_functions: tuple[str, ...] = ()  # taken as writes whatever pg_proc says
    max_parsed_bytes: int = 1024 * 1024  # a longer statement is not parsed: it goes to the primary


class Admin(_Section):
    """The console: the database names that open it, and who may."""

    databases: tuple[str, ...] = ("pgrouter", "pgbouncer")
    admin_users: tuple[str, ...] = ()  # all commands; empty: every user that can log in
    stats_users: tuple[str, ...] = ()  # SHOW only


class Log(_Section):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    connections: bool = True  # a line per login and logout


class Settings(_Section):
    """The whole file."""

    cluster: Cluster
    listen: tuple[Listen, ...] = (Listen(),)
    auth: Auth = field(default_factory=Auth)
    pool: Pool = field(default_factory=Pool)
    routing: Routing = field(default_factory=Routing)
    admin: Admin = field(default_factory=Admin)
    log: Log = field(default_factory=Log)
