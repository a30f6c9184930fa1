"""Every setting, with its default, its unit and what it does: one field, one documented setting.

Durations are written in YAML as `15s`, `200ms`, `10m`, `1h` or a plain number of seconds, and are seconds here; the
Python name then includes the unit (`wait_timeout` in YAML, `wait_timeout_s` here). Nothing here is global: settings are
built once by `config.load` and passed to constructors; a reload builds new ones, and `config.diff` says which changes
it can apply. docs/configuration.md and configs/full.yml have every setting too; a test compares them.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (msgspec reads the annotations)
from typing import Annotated, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from pgrouter.config.types import Count, CountOrNone, ListenPort, Name, Port, Seconds, Secret, UnixMode, Weight

PoolMode = Literal["transaction", "session", "statement"]
Pins = Literal["keep", "error"]
TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
AuthMethod = Literal["password", "md5", "scram-sha-256", "none", "!password", "!md5", "!scram-sha-256", "!none"]
TlsVersion = Literal["TLSv1.2", "TLSv1.3"]
SyslogFacility = Literal[
    "auth", "authpriv", "daemon", "user",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip
MetricNames = Literal["pgbouncer", "cnpg", "pgpool"]


def _key(name: str) -> str:
    """Return a field's key in the file: without the unit, which is written with the value."""
    return name.removesuffix("_s")


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_key):
    """A part of the file: immutable, and an unknown key is an error."""


class ListenTls(_Section, frozen=True, kw_only=True):
    """TLS to clients of one listener."""

    # allow, prefer: clients may use it; require: they must; verify-ca: with a certificate; verify-full: with one whose
    # common name is the user's; default: prefer with a certificate, disable without
    mode: TlsMode | None = None
    cert: Path | None = None  # the router's own, with its chain
    key: Path | None = None  # default: in `cert`
    ca: Path | None = None  # who may have signed clients' certificates; without it none is asked for
    crl: Path | None = None  # revoked ones
    min_version: TlsVersion = "TLSv1.2"
    ciphers: str = ""  # OpenSSL's list, for TLS 1.2; default: OpenSSL's own

    def in_force(self) -> TlsMode:
        """Return the mode."""
        return self.mode or ("prefer" if self.cert else "disable")


class Listen(_Section, frozen=True, kw_only=True):
    """One address, or several, that clients connect to, or a Unix socket."""

    host: Name = "127.0.0.1"  # addresses or names, separated by commas; *: all
    unix: Path | None = None  # instead: the directory of a Unix socket, .s.PGSQL.<port>
    unix_mode: UnixMode = "0777"  # permissions of the socket
    port: ListenPort = 6432  # 0: the kernel picks one (tests)
    mode: Literal["split", "primary", "replica"] = "split"  # split: each statement by its class
    tls: ListenTls = field(default_factory=ListenTls)


class ServersTls(_Section, frozen=True, kw_only=True):
    """TLS to servers, for clients' connections and the router's own; Unix sockets have none."""

    mode: TlsMode = "prefer"  # libpq's sslmode
    ca: Path | None = None  # who may have signed servers' certificates; default: whom the system trusts
    crl: Path | None = None  # revoked ones
    cert: Path | None = None  # the router's own, if servers ask for one
    key: Path | None = None  # default: in `cert`
    negotiation: Literal["postgres", "direct"] = "postgres"  # direct: without asking first, since PostgreSQL 17
    min_version: TlsVersion = "TLSv1.2"
    ciphers: str = ""  # OpenSSL's list, for TLS 1.2


class Servers(_Section, frozen=True, kw_only=True):
    """How the router connects to PostgreSQL servers."""

    # What servers may ask for: libpq's require_auth; default: all, but no password in clear unless nobody can listen
    require_auth: tuple[AuthMethod, ...] = ()
    tls: ServersTls = field(default_factory=ServersTls)


class MemberAddress(_Section, frozen=True, kw_only=True):
    """One PostgreSQL server of a static cluster."""

    name: Name
    host: Name  # an absolute path is the directory of a Unix socket
    port: Port = 5432


class MonitorSettings(_Section, frozen=True, kw_only=True):
    """How the router itself logs in to the members, for probes and the catalog."""

    user: Name = "postgres"
    password: Secret = Secret("")
    database: Name = "postgres"
    interval_s: Seconds = 1.0  # between two probes of a member
    timeout_s: Seconds = 3.0  # connect and answer of one probe


class Tls(_Section, frozen=True, kw_only=True):
    """Certificates towards etcd, or Patroni's REST API."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Etcd(_Section, frozen=True, kw_only=True):
    """Where Patroni keeps the cluster's keys: /<namespace>/<scope>/."""

    endpoints: tuple[str, ...]  # host:port, http://host:port or https://host:port
    scope: Name
    namespace: Name = "/service"
    username: str = ""
    password: Secret = Secret("")
    tls: Tls | None = None
    connect_timeout_s: Seconds = 1.0
    request_timeout_s: Seconds = 2.0
    idle_s: Seconds = 5.0  # after this much silence on a watch everything is read again


class Patroni(_Section, frozen=True, kw_only=True):
    """Patroni's REST API, polled on every member: for a DCS other than etcd, or one out of reach."""

    urls: tuple[str, ...]  # host:port, http://host:port or https://host:port of some members; they name the others
    username: str = ""  # for a proxy in front: Patroni itself answers these requests without authentication
    password: Secret = Secret("")
    tls: Tls | None = None
    interval_s: Seconds = 1.0  # between two requests to a member; 0.1 s during a change
    connect_timeout_s: Seconds = 1.0
    request_timeout_s: Seconds = 2.0  # for the whole answer


class Cluster(_Section, frozen=True, kw_only=True):
    """Who the members are and who says which of them leads; sections of other sources are ignored."""

    source: Literal["static", "etcd", "patroni"]
    members: tuple[MemberAddress, ...] = ()  # source: static
    etcd: Etcd | None = None  # source: etcd
    patroni: Patroni | None = None  # source: patroni
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    switchover_timeout_s: Seconds = 10.0  # writes held for an announced one
    forget_on_reload: bool = False  # each reload forgets the cluster's system identifier and timeline


class Tcp(_Section, frozen=True, kw_only=True):
    """When a peer that has vanished silently is given up, on the sockets of clients and of servers."""

    keepalive: bool = True  # probe idle peers
    keepidle_s: Seconds = 30.0  # silence before the first probe
    keepintvl_s: Seconds = 10.0  # between two probes
    keepcnt: Annotated[int, Meta(ge=1, le=127)] = 3  # this many unanswered probes end the connection
    user_timeout_s: Seconds = 0.0  # for unacknowledged data; 0: the kernel's own


class Oauth(_Section, frozen=True, kw_only=True):
    """Tokens, for lines of auth.hba_file with the method oauth."""

    jwks_file: Path | None = None  # the issuer's public keys (JSON Web Key Set)
    audience: str = ""  # that tokens must be for; "": any
    user_claim: Name = "sub"  # which claim is the user's name, for the line's map


class Auth(_Section, frozen=True, kw_only=True):
    """How clients prove who they are, and the passwords with which the router logs in to servers."""

    # hba: by the lines of hba_file
    type: Literal["trust", "password", "md5", "scram-sha-256", "cert", "peer", "hba"] = "scram-sha-256"
    users_file: Path | None = None  # PgBouncer's userlist.txt
    pool_passwd_file: Path | None = None  # more users: Pgpool-II's pool_passwd
    pool_key_file: Path | None = None  # .pgpoolkey, for AES entries of that
    hba_file: Path | None = None  # pg_hba.conf's format
    ident_file: Path | None = None  # pg_ident.conf's format: maps that lines of hba_file name
    # Secrets of users that users_file does not have, from the primary: PgBouncer's auth_query
    query: str = ""  # $1 is the user; "": pg_authid if there is a query_user
    query_user: str = ""  # who asks; "": cluster.monitor.user
    query_password: Secret = Secret("")
    query_database: str = ""  # "": cluster.monitor.database
    query_max_age_s: Seconds = 5.0  # what the primary has said of a user holds for so long
    oauth: Oauth = field(default_factory=Oauth)


class DatabaseName(_Section, frozen=True, kw_only=True):
    """A name that clients may connect to."""

    name: Name  # *: any that is not listed
    database: str = ""  # the servers' name for it; default: the same
    user: str = ""  # as whom the router logs in to servers; default: as the client
    password: Secret = Secret("")  # that user's; default: what the users file has
    settings: dict[str, str] = field(default_factory=dict)  # what sessions begin with, unless clients bring others


class PoolOverride(_Section, frozen=True, kw_only=True):
    """What is different for a database, a user, or a user in a database; None: the general setting."""

    database: Name = "*"  # any
    user: Name = "*"
    mode: PoolMode | None = None
    size: Count | None = None
    min_size: CountOrNone | None = None
    reserve_size: CountOrNone | None = None
    reserve_timeout_s: Seconds | None = None
    max_db_connections: CountOrNone | None = None  # of a database, so of no user in particular
    max_db_clients: CountOrNone | None = None
    max_user_connections: CountOrNone | None = None  # of a user, so of no database in particular
    max_user_clients: CountOrNone | None = None
    wait_timeout_s: Seconds | None = None
    lifetime_s: Seconds | None = None
    pins: Pins | None = None
    route: Literal["auto", "primary"] | None = None
    query_timeout_s: Seconds | None = None
    idle_transaction_timeout_s: Seconds | None = None
    transaction_timeout_s: Seconds | None = None
    client_idle_timeout_s: Seconds | None = None

    def matches(self, database: str, user: str) -> bool:
        """Whether it applies to this pool."""
        return self.database in ("*", database) and self.user in ("*", user)


class PoolSettings(_Section, frozen=True, kw_only=True):
    """Server connections: a pool per member, database and user."""

    mode: PoolMode = "transaction"
    size: Count = 20  # server connections per member, database and user
    min_size: CountOrNone = 0
    reserve_size: CountOrNone = 0  # as many more, while a client has waited for longer than
    reserve_timeout_s: Seconds = 5.0
    # Of server connections to each member, for all pools together, and of clients; 0: none
    max_member_connections: CountOrNone = 0
    max_db_connections: CountOrNone = 0  # to one database
    max_user_connections: CountOrNone = 0  # of one user
    max_clients: Count = 1000  # client connections in total
    max_db_clients: CountOrNone = 0
    max_user_clients: CountOrNone = 0
    wait_timeout_s: Seconds = 120.0  # for a server connection; then 57014
    no_leader_timeout_s: Seconds = 30.0  # held while nobody leads; then 57P03
    idle_timeout_s: Seconds = 600.0  # an unused server connection is closed
    lifetime_s: Seconds = 3600.0  # an older one is closed once it is free
    unused_timeout_s: Seconds = 600.0  # a pool without clients and server connections is forgotten
    connect_timeout_s: Seconds = 15.0  # connecting and logging in to a server
    login_timeout_s: Seconds = 60.0  # a client's login
    login_step_timeout_s: Seconds = 30.0  # each thing that it is asked for meanwhile; 0: no limit of its own
    max_logins: Count | None = None  # connections that have not proved who they are; null: as many as max_clients
    drain_timeout_s: Seconds = 30.0  # SIGTERM: transactions may finish
    # Limits for clients; 0: none
    query_timeout_s: Seconds = 0.0  # on a server; it is cancelled there: 57014
    idle_transaction_timeout_s: Seconds = 0.0  # then FATAL 25P03
    transaction_timeout_s: Seconds = 0.0  # then FATAL 25P04
    client_idle_timeout_s: Seconds = 0.0  # no transaction; FATAL 57P05
    prepared_statements: CountOrNone = 200  # kept per server; the least recently used is closed
    pins: Pins = "keep"  # a statement that ties its session to a server: run, or refused (0A000)
    route: Literal["auto", "primary"] = "auto"  # primary: also reads, unless a session sets pgrouter.route
    overrides: tuple[PoolOverride, ...] = ()  # later ones win

    def of(self, database: str, user: str) -> PoolSettings:
        """Return the settings for a database and user; "" stands for any that no override names."""
        if not self.overrides:
            return self
        changes = {
            name: value
            for entry in self.overrides
            if entry.matches(database, user)
            for name in _OVERRIDDEN
            if (value := getattr(entry, name)) is not None
        }
        return replace(self, **changes) if changes else self


_OVERRIDDEN = tuple(name for name in PoolOverride.__struct_fields__ if name not in ("database", "user"))


class Routing(_Section, frozen=True, kw_only=True):
    """Which statements go where."""

    # Which writes a read must see: the session's own, none, or all that this router has acknowledged
    read_consistency: Literal["session", "eventual", "strict"] = "session"
    cache_bytes: CountOrNone = 64 * 1024 * 1024  # memory for classified statements
    read_only_functions: tuple[Name, ...] = ()  # treated as reads whatever pg_proc says; name or schema.name
    write_functions: tuple[Name, ...] = ()  # treated as writes whatever pg_proc says
    stateful_functions: tuple[Name, ...] = ()  # may change the session in any way: their client keeps its server
    stateless_functions: tuple[Name, ...] = ()  # leave nothing in the session, whatever their code says
    volatile_functions: Literal["write", "by_body"] = "write"  # SQL and PL/pgSQL labelled VOLATILE: by what they do?
    catalog_interval_s: Seconds = 10.0  # between checks for changes
    max_parsed_bytes: CountOrNone = 1024 * 1024  # longer statements are not parsed: they go to the primary


class ReaderSettings(_Section, frozen=True, kw_only=True):
    """One member's share of the reads, unless its tags in Patroni define it."""

    name: Name
    weight: Weight | None = None  # balance: weighted; 0: none
    tier: CountOrNone | None = None  # a higher tier gets reads only while no member of a lower one can take them
    zone: str | None = None


class Reads(_Section, frozen=True, kw_only=True):
    """Which members share the reads, and how."""

    balance: Literal["round_robin", "least_active", "weighted"] = "round_robin"
    primary: Literal["fallback", "always", "never"] = "fallback"  # fallback: only when no replica can be read from
    max_lag_bytes: CountOrNone = 0  # replicas further behind get no reads; 0: no limit
    max_lag_s: Seconds = 0.0  # in time; at least two monitor intervals; 0: no limit
    zone: str = ""  # the router's own: members of the same zone are preferred for reads
    members: tuple[ReaderSettings, ...] = ()


class Admin(_Section, frozen=True, kw_only=True):
    """The console: the database names that open it, and who may use it."""

    databases: tuple[Name, ...] = ("pgrouter", "pgbouncer")
    admin_users: tuple[Name, ...] = ()  # all commands
    stats_users: tuple[Name, ...] = ()  # SHOW only


class Http(_Section, frozen=True, kw_only=True):
    """The HTTP port: health checks, metrics, and a page."""

    host: Name = "127.0.0.1"  # addresses or names, separated by commas; *: all
    port: ListenPort = 9127  # of PgBouncer's exporters; 0: the kernel picks one (tests)
    token: Secret = Secret("")  # that requests show (Authorization: Bearer), except health checks; "": none
    tls: ListenTls = field(default_factory=ListenTls)  # https with a certificate; verify-ca: clients need one, too
    names: tuple[MetricNames, ...] = ()  # metrics also under the names of other programs' exporters


class Pcp(_Section, frozen=True, kw_only=True):
    """The port of Pgpool-II's pcp_* tools."""

    host: str = "127.0.0.1"  # addresses or names, separated by commas; *: all; "": none
    port: Port = 9898
    sockets: tuple[Path, ...] = ()  # directories of Unix sockets, .s.PGSQL.<port>
    version: Literal["4.3", "4.7"] = "4.7"  # of the tools: nodes are described in another way since 4.4
    users_file: Path  # pcp.conf: user:md5 of the password


class Log(_Section, frozen=True, kw_only=True):
    """What is logged, and where: to stderr, a file, or syslog."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    connections: bool = True  # a line per login and logout
    slow_statements_s: Seconds = 0.0  # a line for each that took longer: its fingerprint, without literals; 0: none
    format: Literal["text", "json"] = "text"
    file: Path | None = None  # in place of stderr; a reload opens it again
    syslog: SyslogFacility | None = None  # in place of stderr


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file."""

    listen: tuple[Listen, ...] = (Listen(),)
    cluster: Cluster
    servers: Servers = field(default_factory=Servers)
    tcp: Tcp = field(default_factory=Tcp)
    auth: Auth = field(default_factory=Auth)
    databases: tuple[DatabaseName, ...] = (DatabaseName(name="*"),)
    pool: PoolSettings = field(default_factory=PoolSettings)
    routing: Routing = field(default_factory=Routing)
    reads: Reads = field(default_factory=Reads)
    admin: Admin = field(default_factory=Admin)
    http: Http | None = None  # without the section nothing listens
    pcp: Pcp | None = None  # without the section nothing listens
    log: Log = field(default_factory=Log)
