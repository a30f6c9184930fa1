"""The environment of the two widely used containers, bitnami/pgpool and pgpool/pgpool, as the files they write of it.

Passwords are in the environment in clear, so entries of pool_passwd are plain, too. Unlike there, no user gets `trust`
over the network.

Source: bitnami/pgpool's pgpool-env.sh and libpgpool.sh; pgpool/pgpool's entrypoint.sh.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError
from pgrouter.pgpool.conf import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NODES = "PGPOOL_BACKEND_NODES"
PARAMS = "PGPOOL_PARAMS_"
BITNAMI_SOCKETS = "/opt/bitnami/pgpool/tmp"
YES = ("yes", "true", "1", "on")


@dataclass(frozen=True, slots=True, repr=False)
class Written:
    """The text of each file; "" or None: there is none."""

    conf: str
    hba: str | None = None
    pool_passwd: str = ""
    pcp: str = ""
    needs_certificate: bool = False  # of our own making: ssl is on and there is none
    sockets: str = ""  # a directory that should exist


@dataclass(frozen=True, slots=True)
class Row:
    """A variable of bitnami/pgpool that becomes a parameter."""

    variable: str  # without PGPOOL_
    parameter: str
    default: str | None = None  # None: nothing is written
    in_file: bool = True  # NAME_FILE may name a file with the value
    truth: bool = False  # yes and no become on and off


ROWS = (
    Row("PORT_NUMBER", "port", "5432"),
    Row("NUM_INIT_CHILDREN", "num_init_children", in_file=False),
    Row("RESERVED_CONNECTIONS", "reserved_connections", in_file=False),
    Row("MAX_POOL", "max_pool", "15"),
    Row("CHILD_MAX_CONNECTIONS", "child_max_connections", in_file=False),
    Row("CHILD_LIFE_TIME", "child_life_time", in_file=False),
    Row("CONNECTION_LIFE_TIME", "connection_life_time", in_file=False),
    Row("CLIENT_IDLE_LIMIT", "client_idle_limit", in_file=False),
    Row("ENABLE_LOAD_BALANCING", "load_balance_mode", "yes", truth=True),
    Row("ENABLE_STATEMENT_LOAD_BALANCING", "statement_level_load_balance", "no", truth=True),
    Row("DISABLE_LOAD_BALANCE_ON_WRITE", "disable_load_balance_on_write", "transaction"),
    Row("SR_CHECK_USER", "sr_check_user"),
    Row("SR_CHECK_PASSWORD", "sr_check_password"),
    Row("SR_CHECK_PERIOD", "sr_check_period", "30"),
    Row("SR_CHECK_DATABASE", "sr_check_database", "postgres"),
    Row("HEALTH_CHECK_USER", "health_check_user"),
    Row("HEALTH_CHECK_PASSWORD", "health_check_password"),
    Row("HEALTH_CHECK_PERIOD", "health_check_period", "30"),
    Row("HEALTH_CHECK_TIMEOUT", "health_check_timeout", "10"),
    Row("HEALTH_CHECK_MAX_RETRIES", "health_check_max_retries", "5"),
    Row("HEALTH_CHECK_RETRY_DELAY", "health_check_retry_delay", "5"),
    Row("CONNECT_TIMEOUT", "connect_timeout", "10000"),
    Row("FAILOVER_ON_BACKEND_SHUTDOWN", "failover_on_backend_shutdown", "on"),
    Row("FAILOVER_ON_BACKEND_ERROR", "failover_on_backend_error", "off"),
    Row("AUTO_FAILBACK", "auto_failback", "no", truth=True),
    Row("ENABLE_POOL_HBA", "enable_pool_hba", "yes", truth=True),
    Row("ENABLE_TLS", "ssl", "no", truth=True),
    Row("TLS_CERT_FILE", "ssl_cert", in_file=False),  # a file already
    Row("TLS_KEY_FILE", "ssl_key", in_file=False),
    Row("TLS_CA_FILE", "ssl_ca_cert", in_file=False),
    Row("TLS_PREFER_SERVER_CIPHERS", "ssl_prefer_server_ciphers", "yes", truth=True),
    Row("ENABLE_LOG_CONNECTIONS", "log_connections", "no", truth=True),
    Row("ENABLE_LOG_HOSTNAME", "log_hostname", "no", truth=True),
    Row("ENABLE_LOG_PER_NODE_STATEMENT", "log_per_node_statement", "no", truth=True),
    Row("ENABLE_LOG_PCP_PROCESSES", "log_pcp_processes", "yes", truth=True),
    Row("LOG_LINE_PREFIX", "log_line_prefix", in_file=False),
    Row("CLIENT_MIN_MESSAGES", "client_min_messages", in_file=False),
)

FIXED = {
    "listen_addresses": "*",
    "pcp_listen_addresses": "*",
    "search_primary_node_timeout": "0",
    "authentication_timeout": "30",
    "write_function_list": "nextval,setval",
}

# What pgpool/pgpool sets unless a variable does
DEFAULTS = {
    "port": "9999",
    "listen_addresses": "*",
    "pcp_listen_addresses": "*",
    "backend_port0": "5432",
    "backend_weight0": "1",
    "backend_flag0": "ALLOW_TO_FAILOVER",
    "sr_check_period": "0",
    "health_check_period": "0",
    "failover_on_backend_error": "off",
    "enable_pool_hba": "on",
}


def written(environment: Mapping[str, str], read_text: Callable[[str], str]) -> Written | None:
    """Return the files that a container would write of its environment; None: it is not the environment of one.

    Raises:
        ConfigError: with every variable that is wrong.

    """
    if NODES in environment or f"{NODES}_FILE" in environment:
        return _Bitnami(environment, read_text).written()
    if any(name.startswith(PARAMS) for name in environment):
        return _pgpool(environment)
    return None


# -- bitnami/pgpool


@dataclass(slots=True)
class _Bitnami:
    environment: Mapping[str, str]
    read_text: Callable[[str], str]
    problems: list[str] = field(default_factory=list)

    def written(self) -> Written:
        conf = dict(FIXED)
        for row in ROWS:
            value = self.value(row.variable, row.default, in_file=row.in_file)
            if value is not None:
                conf[row.parameter] = _on_off(value) if row.truth else value
        conf |= self.nodes() | self.application_names()
        conf.setdefault("health_check_user", conf.get("sr_check_user", ""))
        conf.setdefault("health_check_password", conf.get("sr_check_password", ""))
        if conf["enable_pool_hba"] == "off":
            conf["allow_clear_text_frontend_auth"] = "on"
        sockets = self.environment.get("PGPOOL_TMP_DIR", BITNAMI_SOCKETS)
        conf |= {"unix_socket_directories": sockets, "pcp_socket_dir": sockets}
        passwords = "".join(self.passwords(conf)) if self.truth("ENABLE_POOL_PASSWD", "yes") else ""
        conf["pool_passwd"] = "pool_passwd" if passwords else ""
        text, hba = _text(conf) + self.user_file("USER_CONF_FILE"), self.hba(conf)
        pcp = _pcp(self.value("ADMIN_USERNAME", "admin"), self.value("ADMIN_PASSWORD"))
        if self.problems:
            raise ConfigError(self.problems)
        return Written(text, hba, passwords, pcp, sockets=sockets)

    def value(self, name: str, default: str | None = None, *, in_file: bool = True) -> str | None:
        """Return a variable's value, or that in the file that its twin names."""
        twin = self.environment.get(f"PGPOOL_{name}_FILE") if in_file else None
        return self.file(f"PGPOOL_{name}_FILE", twin) if twin else self.environment.get(f"PGPOOL_{name}") or default

    def truth(self, name: str, default: str) -> bool:
        return (self.value(name, default) or "").lower() in YES

    def file(self, variable: str, name: str) -> str:
        try:
            return self.read_text(name).rstrip("\n")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.problems.append(f"{variable}: {name} cannot be read: {why}")
            return ""

    def user_file(self, variable: str) -> str:
        name = self.value(variable)
        return self.file(f"PGPOOL_{variable}", name) + "\n" if name else ""

    def nodes(self) -> dict[str, str]:
        """Return the members: id:host[:port[:weight[:directory[:flag]]]], separated by commas or semicolons."""
        found: dict[str, str] = {}
        for entry in _items(self.value("BACKEND_NODES") or ""):
            number, *rest = entry.split(":")
            if not (number.isascii() and number.isdecimal()) or not rest or not rest[0]:
                self.problems.append(f'{NODES}: expected id:host[:port[:weight[:directory[:flag]]]], got "{entry}"')
                continue
            given = dict(zip(("hostname", "port", "weight", "data_directory", "flag"), rest, strict=False))
            values = {"port": "5432", "weight": "1", "flag": "ALLOW_TO_FAILOVER"}
            values |= {name: value for name, value in given.items() if value}
            found |= {f"backend_{name}{number}": value for name, value in values.items()}
        if not found and not self.problems:
            self.problems.append(f"{NODES}: required")
        return found

    def application_names(self) -> dict[str, str]:
        names = _items(self.value("BACKEND_APPLICATION_NAMES") or "")
        nodes = _items(self.value("BACKEND_NODES") or "")
        if names and len(names) != len(nodes):
            self.problems.append(
                f"PGPOOL_BACKEND_APPLICATION_NAMES: expected as many names as nodes ({len(nodes)}), got {len(names)}"
            )
            return {}
        pairs = zip(nodes, names, strict=True) if names else ()
        return {f"backend_application_name{node.partition(':')[0]}": name for node, name in pairs}

    def passwords(self, conf: Mapping[str, str]) -> Iterator[str]:
        users = _items(self.value("POSTGRES_CUSTOM_USERS") or "")
        secrets = _items(self.value("POSTGRES_CUSTOM_PASSWORDS") or "")
        if len(users) != len(secrets):
            self.problems.append(
                f"PGPOOL_POSTGRES_CUSTOM_PASSWORDS: expected as many as users ({len(users)}), got {len(secrets)}"
            )
            return
        known = (
            (conf.get("health_check_user"), conf.get("health_check_password")),
            (conf.get("sr_check_user"), conf.get("sr_check_password")),
            (self.value("POSTGRES_USERNAME", "postgres"), self.value("POSTGRES_PASSWORD")),
        )
        pairs = dict(zip(users, secrets, strict=True)) | {user: secret for user, secret in known if user and secret}
        for user, secret in pairs.items():
            yield _entry(user, secret)

    def hba(self, conf: Mapping[str, str]) -> str | None:
        if conf["enable_pool_hba"] == "off":
            return None
        own = self.user_file("USER_HBA_FILE")
        if own:
            return own
        method = self.value("AUTHENTICATION_METHOD", "scram-sha-256")
        lines = ["local all all trust"]
        if self.truth("ENABLE_LDAP", "no"):
            method = "pam"
        elif conf.get("ssl") == "on" and conf.get("ssl_ca_cert"):
            lines.append("hostssl all all all cert")
        return "\n".join((*lines, f"host all all all {method}", ""))


def _on_off(value: str) -> str:
    return "on" if value.lower() in YES else "off"


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.replace(";", ",").split(",") if item.strip()]


# -- pgpool/pgpool


def _pgpool(environment: Mapping[str, str]) -> Written:
    conf = dict(DEFAULTS)
    for name, value in environment.items():
        if name.startswith(PARAMS):
            conf[name.removeprefix(PARAMS).lower()] = value
    skips = environment.get("PGPOOL_SKIP_PASSWORD_ENCRYPTION", "false").lower() in YES
    checks = environment.get("PGPOOL_ENABLE_POOL_PASSWD", "true").lower() in YES
    if "backend_hostname0" not in conf:
        raise ConfigError([f"{PARAMS}BACKEND_HOSTNAME0: required"])
    if checks:
        line = f"host all all all {_method(environment)}"
    else:  # passwords are asked for in clear, so only with TLS
        conf["ssl"] = "on"
        line = "hostssl all all all password"
    passwords = "".join(
        _entry(user, secret, as_is=skips)
        for name, user in environment.items()
        if name.endswith("_USERNAME") and (secret := environment.get(name.removesuffix("_USERNAME") + "_PASSWORD"))
    )
    conf.setdefault("pool_passwd", "pool_passwd" if passwords and checks else "")
    ssl = conf.get("ssl", "off").lower() in YES
    return Written(
        _text(conf),
        f"local all all trust\n{line}\n" if conf["enable_pool_hba"].lower() in YES else None,
        passwords if checks else "",
        _pcp(environment.get("PGPOOL_PCP_USER"), environment.get("PGPOOL_PCP_PASSWORD")),
        needs_certificate=ssl and not conf.get("ssl_cert"),
    )


def _method(environment: Mapping[str, str]) -> str:
    return {"md5": "md5"}.get(environment.get("PGPOOL_PASSWORD_ENCRYPTION_METHOD", "").lower(), "scram-sha-256")


# -- files


def _text(conf: Mapping[str, str]) -> str:
    return "".join(f"{name} = {quoted(value)}\n" for name, value in conf.items())


def _entry(user: str, secret: str, *, as_is: bool = False) -> str:
    text = secret if as_is else f"TEXT{secret}"
    return f"{_escaped(user)}:{_escaped(text)}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("\n", "")


def _pcp(user: str | None, password: str | None) -> str:
    if not user or not password:
        return ""
    digest = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
    return f"{user}:{digest}\n"
