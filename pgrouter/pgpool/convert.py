"""Pgpool-II's files as settings of ours: pgpool.conf decides, the other files are read where it says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgrouter.auth import pool_passwd
from pgrouter.auth.secret import Md5Secret, PlainSecret
from pgrouter.auth.users import UserStore
from pgrouter.config.converted import Converted
from pgrouter.errors import ConfigError
from pgrouter.pgpool import conf as pgpool_conf
from pgrouter.pgpool.redirects import redirected
from pgrouter.pgpool.report import refused_mode, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgrouter.pgpool.conf import Conf, Value

MOST_WEIGHT = 100
PROBE_S = 1.0  # cluster.monitor.interval
MOST_PROBE_S = 3.0  # the longest that a probe is waited for
PORT, PCP_PORT = 9999, 9898
NEVER_S = 1e9
OPENSSL_DEFAULT = "HIGH:MEDIUM:+3DES:!aNULL"  # Pgpool-II's default list of ciphers: OpenSSL's own is stricter

LEVELS = {
    **dict.fromkeys(("debug5", "debug4", "debug3", "debug2", "debug1"), "debug"),
    **dict.fromkeys(("info", "notice", "log", "warning"), "info"),  # a warning there is all that is usual
    **dict.fromkeys(("error", "fatal", "panic"), "error"),
}


@dataclass(frozen=True, slots=True)
class Files:
    """The other files; None: there is none."""

    hba: Path | None = None
    pool_passwd: Path | None = None
    key: Path | None = None
    pcp: Path | None = None
    pcp_version: str = ""  # of the pcp_* tools; "": the newest


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says; None: the usual places."""

    hba: Path | None = None
    pcp: Path | None = None
    key: Path | None = None


def convert(path: Path, environment: Mapping[str, str], given: Given | None = None) -> Converted:
    """Return a pgpool.conf as our settings.

    Raises:
        ConfigError: with every line that is wrong.

    """
    conf = pgpool_conf.read(path)
    files = find(conf, path.parent, environment, given or Given())
    users = pool_passwd.load(files.pool_passwd, files.key) if files.pool_passwd else UserStore.empty()
    return converted(conf, files, users)


def find(conf: Conf, directory: Path, environment: Mapping[str, str], given: Given) -> Files:
    """Return the other files: as given, else as the configuration says, else in the usual places if they exist."""
    name = conf.get("pool_passwd", "pool_passwd").text
    key = environment.get("PGPOOLKEYFILE") or Path(environment.get("HOME", "/"), ".pgpoolkey")
    return Files(
        hba=given.hba or directory / "pool_hba.conf",
        pool_passwd=_existing(directory / name) if name else None,
        key=given.key or _existing(Path(key)),
        pcp=given.pcp or _existing(directory / "pcp.conf"),
        pcp_version=environment.get("PGROUTER_PCP_VERSION", ""),
    )


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def converted(conf: Conf, files: Files, users: UserStore) -> Converted:
    """Return settings and report. Raises ConfigError. Pure."""
    mode = refused_mode(conf)
    if mode:
        raise ConfigError([f"{mode} is not supported: servers have to replicate by themselves (streaming replication)"])
    problems: list[str] = []
    tree: dict[str, object] = {}
    for key, build in _SECTIONS.items():
        tree[key] = build(_Reader(conf, problems), files, users)
    if problems:
        raise ConfigError(problems)
    return Converted({key: value for key, value in tree.items() if value}, report(conf))


# -- values, with their errors collected


class _Reader:
    """Reads values of a configuration, and notes those that are wrong."""

    def __init__(self, conf: Conf, problems: list[str]) -> None:
        self.conf = conf
        self.problems = problems

    def text(self, name: str, default: str = "") -> str:
        return self.conf.get(name, default).text

    def given(self, name: str) -> bool:
        return self.conf.given(name)

    def truth(self, name: str, default: str = "off") -> bool:
        return bool(self._read(name, default, lambda value: value.truth(), False))

    def number(self, name: str, default: str) -> int:
        return int(self._read(name, default, lambda value: value.number(), 0))

    def seconds(self, name: str, default: str, unit: str = "s") -> float:
        return float(self._read(name, default, lambda value: value.seconds(unit), 0.0))

    def size(self, name: str, default: str) -> int:
        return int(self._read(name, default, lambda value: value.size(), 0))

    def real(self, name: str, default: str) -> float:
        return float(self._read(name, default, lambda value: float(value.text), 0.0))

    def items(self, name: str, default: str = "") -> tuple[str, ...]:
        return self.conf.get(name, default).items()

    def wrong(self, name: str, what: str) -> None:
        place = self.conf.get(name).place
        self.problems.append(f"{place}: {name}: {what}" if place else f"{name}: {what}")

    def _read(self, name: str, default: str, convert: Callable[[Value], Any], otherwise: Any) -> Any:
        value = self.conf.get(name, default)
        try:
            return convert(value)
        except ValueError as error:
            self.wrong(name, str(error))
            return otherwise


# -- one function per section


def _listen(read: _Reader, _files: Files, _users: UserStore) -> list[dict[str, object]]:
    port = read.number("port", str(PORT))
    common: dict[str, object] = {"port": port}
    if not read.truth("load_balance_mode", "on") or read.text("backend_clustering_mode") == "raw":
        common["mode"] = "primary"
    found: list[dict[str, object]] = []
    addresses = ",".join(read.items("listen_addresses", "localhost"))
    if addresses:
        tls = _listen_tls(read)
        found.append({"host": addresses, **common, **({"tls": tls} if tls else {})})
    mode = read.text("unix_socket_permissions", "0777")
    directories = read.items("unix_socket_directories", "/tmp")  # noqa: S108  (its default)
    return found + [{"unix": directory, "unix_mode": mode, **common} for directory in directories]


def _listen_tls(read: _Reader) -> dict[str, object]:
    if not read.truth("ssl"):
        return {}
    names = {"cert": "ssl_cert", "key": "ssl_key", "ca": "ssl_ca_cert", "crl": "ssl_crl_file"}
    tls: dict[str, object] = {key: read.text(name) for key, name in names.items() if read.text(name)}
    if "cert" not in tls:
        read.wrong("ssl_cert", "required with ssl = on")
    ciphers = read.text("ssl_ciphers", OPENSSL_DEFAULT)
    if ciphers != OPENSSL_DEFAULT:
        tls["ciphers"] = ciphers
    return tls


def _cluster(read: _Reader, _files: Files, users: UserStore) -> dict[str, object]:
    members = []
    for number in read.conf.numbered("backend_hostname"):
        host = read.text(f"backend_hostname{number}")
        if host:
            port = read.number(f"backend_port{number}", "5432") or 5432
            members.append({"name": name_of(number), "host": host, "port": port})
    if not members:
        read.wrong("backend_hostname0", "required")
    return {"source": "static", "members": members, "monitor": _monitor(read, users)}


def name_of(number: int) -> str:
    """Return the name of the member that is node `number` there."""
    return f"backend{number}"


def _monitor(read: _Reader, users: UserStore) -> dict[str, object]:
    check = "sr_check" if read.text("sr_check_user") else "health_check"
    monitor: dict[str, object] = {}
    user = read.text(f"{check}_user")
    if user:
        monitor["user"] = user
        password = _password(read, f"{check}_password", user, users)
        if password:
            monitor["password"] = password
    database = read.text(f"{check}_database")
    if database:
        monitor["database"] = database
    if read.given("health_check_timeout"):
        timeout_s = read.seconds("health_check_timeout", "20")
        monitor["timeout"] = min(timeout_s or MOST_PROBE_S, MOST_PROBE_S)
    return monitor


def _password(read: _Reader, name: str, user: str, users: UserStore) -> str:
    """Return a password as given; TEXT and its like are understood, and an empty one is looked up in pool_passwd."""
    text = read.text(name)
    if not text:
        known = users.get(user)
        return known.password if isinstance(known, PlainSecret) else ""
    if text.startswith("TEXT"):
        return text.removeprefix("TEXT")
    if text.startswith("AES"):
        read.wrong(name, "an encrypted password has to be in pool_passwd: leave this one empty")
    return text


def _auth(read: _Reader, files: Files, users: UserStore) -> dict[str, object]:
    auth: dict[str, object] = {}
    if read.truth("enable_pool_hba"):
        auth |= {"type": "hba", "hba_file": str(files.hba)}
    else:
        old = any(isinstance(secret, Md5Secret) for secret in users.secrets.values())
        auth["type"] = "md5" if old else "scram-sha-256"
    if files.pool_passwd:
        auth["pool_passwd_file"] = str(files.pool_passwd)
    if files.key and files.pool_passwd:
        auth["pool_key_file"] = str(files.key)
    monitor = _monitor(_Reader(read.conf, []), users)
    if "user" in monitor:  # users that pool_passwd does not have: from pg_authid
        auth["query_user"] = monitor["user"]
        auth |= {f"query_{key}": monitor[key] for key in ("password", "database") if key in monitor}
    elif auth["type"] != "hba" and not files.pool_passwd:
        read.wrong(
            "pool_passwd",
            "there are no passwords: it needs this file, or sr_check_user that may read pg_authid, or enable_pool_hba",
        )
    return auth


def _pool(read: _Reader, _files: Files, _users: UserStore) -> dict[str, object]:
    children = max(1, read.number("num_init_children", "32"))
    reserved = read.number("reserved_connections", "0")
    backlog = read.number("listen_backlog_multiplier", "2")
    clients = children - reserved if reserved else children * (1 + backlog)
    pool: dict[str, object] = {
        "size": children,
        "max_member_connections": children * max(1, read.number("max_pool", "4")),
        "max_clients": max(1, clients),
        "connect_timeout": read.seconds("connect_timeout", "10s", "ms") or NEVER_S,
        "login_timeout": read.seconds("authentication_timeout", "1min") or NEVER_S,
    }
    optional = {
        "client_idle_timeout": read.seconds("client_idle_limit", "0"),
        "idle_timeout": read.seconds("connection_life_time", "0"),
        "no_leader_timeout": read.seconds("search_primary_node_timeout", "0"),
    }
    pool |= {name: value for name, value in optional.items() if value > 0}
    overrides = list(redirected(read.conf))
    return pool | ({"overrides": overrides} if overrides else {})


CONSISTENCY = {"off": "eventual", "dml_adaptive_global": "strict"}
WRITE_MODES = ("off", "transaction", "trans_transaction", "always", "dml_adaptive", "dml_adaptive_global")
FUNCTION_LISTS = {"read_only_functions": "read_only_function_list", "write_functions": "write_function_list"}
_PLAIN_NAME = set("abcdefghijklmnopqrstuvwxyz0123456789_$.")


def _routing(read: _Reader, _files: Files, _users: UserStore) -> dict[str, object]:
    routing: dict[str, object] = {}
    mode = read.text("disable_load_balance_on_write", "transaction").lower()
    if mode not in WRITE_MODES:
        read.wrong("disable_load_balance_on_write", f"expected one of {', '.join(WRITE_MODES)}")
    if mode in CONSISTENCY:
        routing["read_consistency"] = CONSISTENCY[mode]
    for ours, theirs in (
        ("read_only_functions", "read_only_function_list"),
        ("write_functions", "write_function_list"),
    ):
        names = [name.lower() for name in read.items(theirs)]
        patterns = [name for name in names if not set(name) <= _PLAIN_NAME]
        for pattern in patterns if ours == "write_functions" else ():  # else it is judged by the catalog: no harm
            read.wrong(theirs, f'"{pattern}" is a pattern: list the functions by their names')
        listed = [name for name in names if name not in patterns]
        if listed:
            routing[ours] = listed
    return routing


def _reads(read: _Reader, _files: Files, _users: UserStore) -> dict[str, object]:
    numbers = [n for n in read.conf.numbered("backend_hostname") if read.text(f"backend_hostname{n}")]
    given = [read.real(f"backend_weight{number}", "1") for number in numbers]
    for number, value in zip(numbers, given, strict=True):
        if value < 0 or not math.isfinite(value):
            read.wrong(f"backend_weight{number}", "expected a number that is not negative")
            return {}
    members = [
        {"name": name_of(number), "weight": value} for number, value in zip(numbers, weights(given), strict=True)
    ]
    reads: dict[str, object] = {"balance": "weighted", "primary": "always", "members": members}
    lag_s = read.seconds("delay_threshold_by_time", "0", "ms")
    if lag_s > 0:
        reads["max_lag"] = max(lag_s, 2 * PROBE_S)
    elif read.size("delay_threshold", "0"):
        reads["max_lag_bytes"] = read.size("delay_threshold", "0")
    return reads


def weights(given: list[float]) -> Iterator[int]:
    """Return weights as whole numbers up to MOST_WEIGHT in nearly the same proportions; only 0 is 0."""
    exact = all(value == int(value) for value in given) and max(given, default=0) <= MOST_WEIGHT
    factor = 1.0 if exact else MOST_WEIGHT / max(given)
    return (max(1, round(value * factor)) if value else 0 for value in given)


def _pcp(read: _Reader, files: Files, _users: UserStore) -> dict[str, object]:
    if files.pcp is None:
        return {}
    return {
        "host": ",".join(read.items("pcp_listen_addresses", "localhost")),
        "port": read.number("pcp_port", str(PCP_PORT)),
        "sockets": list(read.items("pcp_socket_dir", "/tmp")),  # noqa: S108  (its default)
        "users_file": str(files.pcp),
        **({"version": files.pcp_version} if files.pcp_version else {}),
    }


def _log(read: _Reader, _files: Files, _users: UserStore) -> dict[str, object]:
    log: dict[str, object] = {"connections": read.truth("log_connections") or read.truth("log_disconnections")}
    level = read.text("log_min_messages", "warning").lower()
    if level not in LEVELS:
        read.wrong("log_min_messages", f"expected one of {', '.join(LEVELS)}")
    return log | {"level": LEVELS.get(level, "info")}


_SECTIONS: dict[str, Callable[[_Reader, Files, UserStore], object]] = {
    "listen": _listen,
    "cluster": _cluster,
    "auth": _auth,
    "pool": _pool,
    "routing": _routing,
    "reads": _reads,
    "pcp": _pcp,
    "log": _log,
}
