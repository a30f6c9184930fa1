"""The entries of [databases], [users] and [peers]: their keys, with types.

Source: PgBouncer 1.26, src/loader.c, parse_database(), parse_user(), parse_peer().
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgrouter.bouncer.ini import pairs
from pgrouter.bouncer.parameters import POOL_MODES, Value
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pgrouter.bouncer.ini import Line

RESERVED = "pgbouncer"


def _number(text: str) -> int:
    """As atoi: what is no number is 0."""
    match = re.match(r"\s*[+-]?\d+", text)
    return int(match[0]) if match else 0


def _port(text: str) -> int:
    port = _number(text)
    if not 0 < port < 1 << 16:
        raise ValueError(f"invalid port: {text}")
    return port


def _mode(text: str) -> str:
    if text.lower() not in POOL_MODES:
        raise ValueError(f"invalid pool mode: {text}")
    return text.lower()


def _balance(text: str) -> str:
    if text.lower() not in ("disable", "round-robin"):
        raise ValueError(f"invalid load_balance_hosts: {text}")
    return text.lower()


DATABASE_KEYS: Mapping[str, Callable[[str], Value]] = {
    "dbname": str,
    "host": str,
    "port": _port,
    "user": str,
    "password": str,
    "auth_user": str,
    "auth_dbname": str,
    "auth_query": str,
    "client_encoding": str,
    "datestyle": str,
    "timezone": str,
    "application_name": str,
    "connect_query": str,
    "pool_size": _number,
    "min_pool_size": _number,
    "reserve_pool": _number,
    "reserve_pool_size": _number,
    "query_wait_timeout": _number,
    "max_db_connections": _number,
    "max_db_client_connections": _number,
    "server_lifetime": _number,
    "load_balance_hosts": _balance,
    "pool_mode": _mode,
}
USER_KEYS: Mapping[str, Callable[[str], Value]] = {
    "pool_mode": _mode,
    "pool_size": _number,
    "reserve_pool_size": _number,
    "max_user_connections": _number,
    "max_user_client_connections": _number,
    "transaction_timeout": _number,
    "idle_transaction_timeout": _number,
    "query_timeout": _number,
    "query_wait_timeout": _number,
    "client_idle_timeout": _number,
}
PEER_KEYS: Mapping[str, Callable[[str], Value]] = {"host": str, "port": _port, "pool_size": _number}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its name and its values by their keys."""

    name: str
    values: Mapping[str, Value]

    def text(self, key: str) -> str:
        """Return a value that is a text; "" if there is none."""
        return str(self.values.get(key, ""))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts; empty: the directory of Unix sockets."""
        return tuple(filter(None, (host.strip() for host in self.text("host").split(","))))

    @property
    def port(self) -> int:
        """Return the port."""
        return int(self.values.get("port", 5432))

    @property
    def dbname(self) -> str:
        """Return the servers' name of the database."""
        return self.text("dbname") or self.name


@dataclass(slots=True)
class Entries:
    """All of them, by section and name."""

    databases: dict[str, Entry] = field(default_factory=dict)
    users: dict[str, Entry] = field(default_factory=dict)
    peers: dict[str, Entry] = field(default_factory=dict)


def entries_of(lines: Iterable[Line]) -> Entries:
    """Return the entries of a file; of two with the same name, the last counts.

    Raises:
        ConfigError: in PgBouncer's words.

    """
    found = Entries()
    sections = {
        "databases": (found.databases, DATABASE_KEYS, "connection"),
        "users": (found.users, USER_KEYS, "user"),
        "peers": (found.peers, PEER_KEYS, "connection"),
    }
    problems = []
    for line in lines:
        if line.section not in sections or line.key is None:
            continue
        entries, keys, what = sections[line.section]
        try:
            _check_name(line.section, line.key)
            entries[line.key] = Entry(line.key, _values(line.value, keys, what))
            if line.section == "peers" and "host" not in entries[line.key].values:
                raise ValueError(f"host was not provided for peer {line.key}")  # noqa: TRY301  (one place adds the line)
        except ValueError as error:
            problems.append(f"{line.section}/{line.key}: {error} ({line.place})")
    if problems:
        raise ConfigError(problems)
    return found


def _check_name(section: str, name: str) -> None:
    if section == "databases" and name == RESERVED:
        raise ValueError(f'database name "{name}" is reserved')
    if section == "peers" and not 0 < _number(name) < 1 << 16:
        raise ValueError("ids of peers must be a number larger than 0 and at most 65536")


def _values(text: str, keys: Mapping[str, Callable[[str], Value]], what: str) -> dict[str, Value]:
    values = {}
    for key, value in pairs(text):
        if key not in keys:
            raise ValueError(f"unrecognized {what} parameter: {key}")
        values[key] = keys[key](value)
    if "reserve_pool" in values:  # its older name
        values.setdefault("reserve_pool_size", values.pop("reserve_pool"))
    return values
