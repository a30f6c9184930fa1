"""Every setting of PgBouncer 1.26 and what becomes of it: one of ours, the launcher's own, or a line of the report.

Source: PgBouncer 1.26, src/main.c, bouncer_params; doc/config.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgrouter.bouncer.ini import Line

VERSION = "1.26.0"  # whose command line, file and console this is about

NEVER_S = 1e9
AUTH_TYPES = ("any", "trust", "plain", "md5", "cert", "hba", "ldap", "pam", "scram-sha-256")
POOL_MODES = ("session", "transaction", "statement")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

Value = str | int | float


def _integer(text: str) -> int:
    """As strtol with base 0: 0777 is octal, 0x1ff hexadecimal."""
    digits = text.strip().lower().lstrip("+-")
    if digits.startswith("0x"):
        number = int(digits, 16)
    elif not digits.isascii() or not digits.isdigit():
        raise ValueError
    else:
        number = int(digits, 8 if digits.startswith("0") else 10)
    return -number if text.strip().startswith("-") else number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < NEVER_S:
        raise ValueError
    return seconds


def _one_of(*choices: str) -> Callable[[str], str]:
    def chosen(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError
        return text.lower()

    return chosen


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting: how its value is read, and what becomes of it."""

    name: str
    read: Callable[[str], Value]
    default: Value
    becomes: str = ""  # our setting, or what the launcher does with it
    note: str = ""  # for the report, if it is set to anything but the default


def _text(name: str, default: str = "", becomes: str = "", note: str = "") -> Parameter:
    return Parameter(name, str, default, becomes, note)


def _int(name: str, default: int, becomes: str = "", note: str = "") -> Parameter:
    return Parameter(name, _integer, default, becomes, note)


def _time(name: str, default: float, becomes: str = "", note: str = "") -> Parameter:
    return Parameter(name, _seconds, default, becomes, note)


OWN_RESET = (
    "the router leaves no state of one session to another: it resets what a session has changed, and keeps a server "
    "for a session whose state cannot be reset"
)
OPENSSL = "OpenSSL's own choice is used; listen[].tls.ciphers and servers.tls.ciphers are for TLS 1.2"
NO_SYSLOG = "lines go to logfile, or to stderr, from where journald and containers take them"
KERNEL = "the router's own sizes are used"
STATISTICS = "statistics are on the console (SHOW STATS), not in the log"
PASSED_ON = (
    "every setting of a startup packet is honoured as PostgreSQL honours it, and one that PostgreSQL does not know is "
    "refused as there: what was ignored here takes effect"
)

PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        _text("admin_users", "", "admin.admin_users"),
        _int(
            "application_name_add_host",
            0,
            note="the application's name is passed on as it is; SHOW CLIENTS has addresses",
        ),
        _text("auth_dbname", "", "auth.query_database"),
        _text("auth_file", "", "auth.users_file"),
        _text("auth_hba_file", "", "auth.hba_file"),
        _text("auth_ident_file", "", "auth.ident_file"),
        _text("auth_ldap_options", "", note="there is no LDAP"),
        _text("auth_query", "", "auth.query"),
        Parameter("auth_type", _one_of(*AUTH_TYPES), "md5", "auth.type"),
        _text("auth_user", "", "auth.query_user"),
        _time(
            "autodb_idle_timeout",
            3600.0,
            note="what is kept for a database goes with its last pool (pool.unused_timeout)",
        ),
        _time("cancel_wait_timeout", 10.0, note="cancel requests do not wait for a server: they are passed on at once"),
        _time("client_idle_timeout", 0.0, "pool.client_idle_timeout"),
        _time("client_login_timeout", 60.0, "pool.login_timeout"),
        _text("client_tls13_ciphers", "", note=OPENSSL),
        _text("client_tls_ca_file", "", "listen[].tls.ca"),
        _text("client_tls_cert_file", "", "listen[].tls.cert"),
        _text("client_tls_ciphers", "default", "listen[].tls.ciphers"),
        _text("client_tls_dheparams", "auto", note=OPENSSL),
        _text("client_tls_ecdhcurve", "auto", note=OPENSSL),
        _text("client_tls_key_file", "", "listen[].tls.key"),
        _text("client_tls_protocols", "secure", "listen[].tls.min_version"),
        Parameter("client_tls_sslmode", _one_of(*SSL_MODES), "disable", "listen[].tls.mode"),
        _text("conffile", "", note="the file is the one of the command line"),
        _int("default_pool_size", 20, "pool.size"),
        _int("disable_pqexec", 0, "an error unless 0"),
        _time(
            "dns_max_ttl",
            15.0,
            note="servers' names are looked up every 15 s, and with each of the router's own connections",
        ),
        _time("dns_nxdomain_ttl", 15.0, note="while a name cannot be resolved, its last addresses stay valid"),
        _time("dns_zone_check_period", 0.0, note="servers' names are looked up every 15 s, whatever their zone says"),
        _time("idle_transaction_timeout", 0.0, "pool.idle_transaction_timeout"),
        _text("ignore_startup_parameters", "", note=PASSED_ON),
        _text("job_name", "pgbouncer", note="lines of the log have no name of the job"),
        _text("listen_addr", "", "listen[].host"),
        _int("listen_backlog", 128, note="it is 1024"),
        _int("listen_port", 6432, "listen[].port"),
        _int("log_connections", 1, "log.connections"),
        _int("log_disconnections", 1, "log.connections"),
        _int("log_pooler_errors", 1, note="errors that clients get from the router are logged"),
        _int("log_stats", 1, note=""),
        _text("logfile", "", "the launcher appends the log to it"),
        _text("login_notify_message", "", note="clients get no notice after their login"),
        _int("max_client_conn", 100, "pool.max_clients"),
        _int("max_db_client_connections", 0, "pool.max_db_clients"),
        _int("max_db_connections", 0, "pool.max_db_connections"),
        _int(
            "max_packet_size",
            2147483647,
            note="messages are as large as PostgreSQL takes them; they are streamed, not kept",
        ),
        _int("max_prepared_statements", 200, "pool.prepared_statements"),
        _int("max_user_client_connections", 0, "pool.max_user_clients"),
        _int("max_user_connections", 0, "pool.max_user_connections"),
        _int("min_pool_size", 0, "pool.min_size"),
        _int("peer_id", 0, note="a router is one process: it does not pass cancel requests on to others"),
        _text("pidfile", "", "the launcher writes it"),
        _int("pkt_buf", 4096, note=KERNEL),
        Parameter("pool_mode", _one_of(*POOL_MODES), "session", "pool.mode"),
        _time("pool_idle_timeout", 0.0, "pool.unused_timeout"),
        _time("query_timeout", 0.0, "pool.query_timeout"),
        _int("query_wait_notify", 5, note="clients that wait for a server get no notice"),
        _time("query_wait_timeout", 120.0, "pool.wait_timeout, pool.no_leader_timeout"),
        _int("reserve_pool_size", 0, "pool.reserve_size"),
        _time("reserve_pool_timeout", 5.0, "pool.reserve_timeout"),
        _text("resolv_conf", "", note="names are looked up by the system"),
        _int("sbuf_loopcnt", 5, note="a client that sends a lot is served in parts anyway"),
        _int("scram_iterations", 4096, note="a password in the users file is used with PostgreSQL's 4096 iterations"),
        _time("server_check_delay", 30.0, note=""),
        _text(
            "server_check_query",
            "<empty>",
            note="servers are watched all the time; an idle connection that breaks is dropped",
        ),
        _time("server_connect_timeout", 15.0, "pool.connect_timeout"),
        _int("server_fast_close", 0, note="servers in use are closed at the end of their transaction, or session"),
        _time("server_idle_timeout", 600.0, "pool.idle_timeout"),
        _time("server_lifetime", 3600.0, "pool.lifetime"),
        _time("server_login_retry", 15.0, note="a server that fails is tried again as soon as it answers probes"),
        _text("server_reset_query", "DISCARD ALL", note=OWN_RESET),
        _int("server_reset_query_always", 0, note=OWN_RESET),
        _int("server_round_robin", 0, note="the connection that was used last is used next"),
        _text("server_tls13_ciphers", "", note=OPENSSL),
        _text("server_tls_ca_file", "", "servers.tls.ca"),
        _text("server_tls_cert_file", "", "servers.tls.cert"),
        _text("server_tls_ciphers", "default", "servers.tls.ciphers"),
        _text("server_tls_key_file", "", "servers.tls.key"),
        _text("server_tls_protocols", "secure", "servers.tls.min_version"),
        Parameter("server_tls_sslmode", _one_of(*SSL_MODES), "prefer", "servers.tls.mode"),
        _int("so_reuseport", 0, note="a router is one process on its port: run others on ports of their own"),
        _int("stats_period", 60, note="averages are those of the last minute"),
        _text("stats_users", "", "admin.stats_users"),
        _time("suspend_timeout", 10.0, note="there is no takeover by a second process"),
        _int("syslog", 0, note=NO_SYSLOG),
        _text("syslog_facility", "daemon", note=NO_SYSLOG),
        _text("syslog_ident", "pgbouncer", note=NO_SYSLOG),
        _int("tcp_defer_accept", 1, note=""),
        _int("tcp_keepalive", 1, "tcp.keepalive"),
        _int("tcp_keepcnt", 0, "tcp.keepcnt"),
        _int("tcp_keepidle", 0, "tcp.keepidle"),
        _int("tcp_keepintvl", 0, "tcp.keepintvl"),
        _int("tcp_socket_buffer", 0, note=KERNEL),
        _int("tcp_user_timeout", 0, "tcp.user_timeout"),
        _text("track_extra_parameters", "IntervalStyle", note=""),
        _time("transaction_timeout", 0.0, "pool.transaction_timeout"),
        _text("unix_socket_dir", "/tmp", "listen[].unix"),  # noqa: S108  (PgBouncer's default)
        _text(
            "unix_socket_group",
            "",
            note="the socket has the group of the process: unix_socket_mode says what that may do",
        ),
        _int("unix_socket_mode", 0o777, "listen[].unix_mode"),
        _text("user", "", "the launcher becomes this user"),
        _int("verbose", 0, "log.level"),
    )
}
"""All of them, in the order of SHOW CONFIG."""

NO_DEFAULT = (
    "auth_dbname",
    "auth_file",
    "auth_ident_file",
    "auth_ldap_options",
    "auth_user",
    "conffile",
    "user",
    "verbose",
)
"""What a second [pgbouncer] section does not reset."""

SECTIONS = ("pgbouncer", "databases", "users", "peers")


def values_of(lines: Iterable[Line]) -> dict[str, Value]:
    """Return the values that the lines of a file set; of one that is set twice, the last counts.

    Raises:
        ConfigError: in PgBouncer's words: unknown sections, unknown parameters, invalid values; all of them.

    """
    values: dict[str, Value] = {}
    problems, begun = [], False
    for line in lines:
        if line.section not in SECTIONS:
            problems += (
                [f'invalid section "{line.section}" in configuration ({line.place})'] if line.key is None else []
            )
        elif line.section != "pgbouncer":
            continue
        elif line.key is None:
            begun = True
            values = {name: value for name, value in values.items() if name in NO_DEFAULT}
        elif line.key not in PARAMETERS:
            problems.append(f"unknown parameter: pgbouncer/{line.key} ({line.place})")
        else:
            try:
                values[line.key] = PARAMETERS[line.key].read(line.value)
            except ValueError:
                problems.append(
                    f'invalid value "{line.value}" for parameter {line.key} in configuration ({line.place})'
                )
    if not begun and not problems:
        problems.append("load_init_file: main section missing from config file")
    if problems:
        raise ConfigError(problems)
    return values


def notes(values: dict[str, Value]) -> list[str]:
    """Return what the report says of the settings that have no counterpart, where they are not the default."""
    return [
        f"{name} = {value}: not used: {PARAMETERS[name].note}"
        for name, value in values.items()
        if PARAMETERS[name].note and value != PARAMETERS[name].default
    ]
