"""PgBouncer's file, and what the environment adds to it, as settings of ours; what differs is reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pgrouter.auth.secret import PlainSecret
from pgrouter.auth.users import UserStore
from pgrouter.bouncer.entries import Entries, entries_of
from pgrouter.bouncer.ini import read_ini, read_text
from pgrouter.bouncer.members import addresses_of, cluster
from pgrouter.bouncer.overrides import overrides
from pgrouter.bouncer.parameters import NEVER_S, PARAMETERS, Value, notes, values_of
from pgrouter.bouncer.startup import startup_settings
from pgrouter.config.converted import Converted
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Tree = dict[str, object]

CONFIG = "PGROUTER_CONFIG"
MONITOR = {key: f"PGROUTER_MONITOR_{key.upper()}" for key in ("user", "password", "database")}
TYPES = {"any": "trust", "plain": "password"}
UNKNOWN_TYPES = ("ldap", "pam")
# Numbers that are settings of ours by another name; where 0 means no limit there but not here, it is the largest
SAME_IN_POOL = {
    "default_pool_size": "size",
    "min_pool_size": "min_size",
    "reserve_pool_size": "reserve_size",
    "reserve_pool_timeout": "reserve_timeout",
    "max_client_conn": "max_clients",
    "max_db_connections": "max_db_connections",
    "max_db_client_connections": "max_db_clients",
    "max_user_connections": "max_user_connections",
    "max_user_client_connections": "max_user_clients",
    "query_wait_timeout": "wait_timeout",
    "server_idle_timeout": "idle_timeout",
    "server_lifetime": "lifetime",
    "pool_idle_timeout": "unused_timeout",
    "server_connect_timeout": "connect_timeout",
    "client_login_timeout": "login_timeout",
    "query_timeout": "query_timeout",
    "idle_transaction_timeout": "idle_transaction_timeout",
    "transaction_timeout": "transaction_timeout",
    "client_idle_timeout": "client_idle_timeout",
    "max_prepared_statements": "prepared_statements",
    "pool_mode": "mode",
}
ZERO_IS_NEVER = (
    "query_wait_timeout", "server_idle_timeout", "pool_idle_timeout", "server_connect_timeout", "client_login_timeout",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ini:
    """A file that was read: the values of [pgbouncer], and the entries of the other sections."""

    values: Mapping[str, Value]  # those that the file sets
    entries: Entries

    def __getitem__(self, name: str) -> Value:
        return self.values.get(name, PARAMETERS[name].default)

    def text(self, name: str) -> str:
        """Return a value that is a text."""
        return str(self[name])

    def names(self, name: str) -> list[str]:
        """Return a value that is a list of names."""
        return [part.strip() for part in self.text(name).split(",") if part.strip()]


def load(path: Path, read: Callable[[Path], str] = read_text) -> Ini:
    """Read a file and all that it includes.

    Raises:
        ConfigError: in PgBouncer's words.

    """
    lines = read_ini(path, read)
    problems = []
    values: Mapping[str, Value] = {}
    entries = Entries()
    try:
        values = values_of(lines)
    except ConfigError as error:
        problems += error.problems
    try:
        entries = entries_of(lines)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return Ini(values, entries)


def convert(path: Path, environment: Mapping[str, str]) -> Converted:
    """Return a file as settings of ours.

    Raises:
        ConfigError: in PgBouncer's words, or what is not possible here.

    """
    return converted(load(path), environment)


def converted(
    ini: Ini,
    environment: Mapping[str, str],
    *,
    read: Callable[[Path], str] = read_text,
    resolve: Callable[[str], list[str]] = addresses_of,
) -> Converted:
    """Return what was read from a file as settings of ours; relative paths are relative to the working directory."""
    impossible(ini)
    users = _users(ini)
    members, told = cluster(ini.entries.databases.values(), environment, ini.text("unix_socket_dir"), resolve)
    monitor, who = _monitor(ini, users, environment)
    tree: Tree = {
        "listen": _listen(ini),
        "cluster": members | {"monitor": monitor},
        "servers": {"tls": _tls(ini, "server_tls") or {"mode": "disable"}},
        "tcp": _tcp(ini),
        "auth": _auth(ini, users),
        "databases": _databases(ini.entries),
        "pool": _pool(ini),
        "admin": {"admin_users": ini.names("admin_users"), "stats_users": ini.names("stats_users")},
        "log": {
            "level": "debug" if ini.values.get("verbose") else "info",
            "connections": bool(ini["log_connections"] or ini["log_disconnections"]),
        },
    }
    if overlay := environment.get(CONFIG):
        tree = _merged(tree, _overlay(Path(overlay), read))
    return Converted(tree, (*notes(dict(ini.values)), *told, *_told(ini), *who))


def impossible(ini: Ini) -> None:
    """Refuse what the router cannot do and a reader of the report might rely on.

    Raises:
        ConfigError: with what to do instead.

    """
    problems = []
    if ini["auth_type"] in UNKNOWN_TYPES:
        problems.append(f"auth_type = {ini['auth_type']}: there is none: use auth_query, hba, cert, or a file of users")
    if ini["disable_pqexec"]:
        problems.append("disable_pqexec = 1: simple queries cannot be refused here: remove it if that is not needed")
    asked = {entry.text("auth_user") for entry in ini.entries.databases.values() if entry.text("auth_user")}
    queries = {entry.text("auth_query") for entry in ini.entries.databases.values() if entry.text("auth_query")}
    for key, found in (("auth_user", asked), ("auth_query", queries)):
        if len(found | {ini.text(key)} - {""}) > 1:
            problems.append(
                f"databases: {key} is {', '.join(sorted(found | {ini.text(key)} - {''}))}: there can be one"
            )
    if problems:
        raise ConfigError(problems)


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().absolute())


# -- sections


def _listen(ini: Ini) -> list[Tree]:
    found: list[Tree] = []
    port = ini["listen_port"]
    tls = _tls(ini, "client_tls")
    if ini["listen_addr"]:
        found.append({"host": ini["listen_addr"], "port": port} | ({"tls": tls} if tls else {}))
    directory = ini.text("unix_socket_dir")
    if directory and not directory.startswith("@"):
        found.append({"unix": directory, "unix_mode": f"{ini['unix_socket_mode']:04o}", "port": port})
    if not found:
        raise ConfigError(["listen_addr, unix_socket_dir: nowhere to listen"])
    return found


def _tls(ini: Ini, prefix: str) -> Tree:
    """Return a section `tls`; empty: without TLS."""
    mode = ini[f"{prefix}_sslmode"]
    if mode == "disable":
        return {}
    files = {key: ini.text(f"{prefix}_{key}_file") for key in ("ca", "cert", "key")}
    found: Tree = {"mode": mode}
    found.update({key: _absolute(name) for key, name in files.items() if name})
    protocols = {part.strip().lower() for part in ini.text(f"{prefix}_protocols").split(",")}
    if protocols == {"tlsv1.3"}:
        found["min_version"] = "TLSv1.3"
    ciphers = ini.text(f"{prefix}_ciphers")
    if ciphers.lower() not in ("", "default", "secure", "fast", "normal", "all"):
        found["ciphers"] = ciphers
    return found


def _tcp(ini: Ini) -> Tree:
    found: Tree = {"keepalive": bool(ini["tcp_keepalive"]), "user_timeout": int(ini["tcp_user_timeout"]) / 1000}
    found.update({key: ini[f"tcp_{key}"] for key in ("keepidle", "keepintvl", "keepcnt") if ini[f"tcp_{key}"]})
    return found


def _users(ini: Ini) -> UserStore:
    name = ini.text("auth_file")
    return UserStore.load(Path(_absolute(name))) if name else UserStore.empty()


def _password(users: UserStore, user: str) -> str:
    secret = users.get(user)
    return secret.password if isinstance(secret, PlainSecret) else ""


def _asker(ini: Ini) -> str:
    """Return who asks for secrets; "": nobody."""
    entries = ini.entries.databases.values()
    return ini.text("auth_user") or next((name for entry in entries if (name := entry.text("auth_user"))), "")


def _auth(ini: Ini, users: UserStore) -> Tree:
    kind = ini.text("auth_type")
    found: Tree = {"type": TYPES.get(kind, kind)}
    for key in ("file", "hba_file", "ident_file"):
        if name := ini.text(f"auth_{key}"):
            found["users_file" if key == "file" else key] = _absolute(name)
    if asker := _asker(ini):
        entries = ini.entries.databases
        query = ini.text("auth_query") or next((q for each in entries.values() if (q := each.text("auth_query"))), "")
        found |= {"query": query, "query_user": asker, "query_password": _password(users, asker)}
        found["query_database"] = _asked_database(ini)
    return found


def _asked_database(ini: Ini) -> str:
    """Return the servers' name of the database where secrets are asked for: there, by default, the client's own."""
    entries = ini.entries.databases
    name = ini.text("auth_dbname") or next((n for each in entries.values() if (n := each.text("auth_dbname"))), "")
    if not name:
        listed = [each.dbname for each in entries.values() if each.name != "*"]
        return listed[0] if listed else "postgres"
    return entries[name].dbname if name in entries else name


def _monitor(ini: Ini, users: UserStore, environment: Mapping[str, str]) -> tuple[Tree, list[str]]:
    """Return how the router itself logs in: by the environment, or as somebody whom the file knows."""
    database = environment.get(MONITOR["database"]) or (_asked_database(ini) if _asker(ini) else "postgres")
    if user := environment.get(MONITOR["user"]):
        return {"user": user, "password": environment.get(MONITOR["password"], ""), "database": database}, []
    entries = ini.entries.databases.values()
    forced = [(each.text("user"), each.text("password") or _password(users, each.text("user"))) for each in entries]
    known = [(user, _password(users, user)) for user in users.secrets]
    asking = [(asker, _password(users, asker))] if (asker := _asker(ini)) else []
    found = asking + [pair for pair in (*forced, *known) if all(pair)]
    user, password = found[0] if found else ("postgres", "")
    told = (
        f"the router asks servers who leads, and reads their catalogs, as {user}: {MONITOR['user']} sets another role"
    )
    return {"user": user, "password": password, "database": database}, [told]


def _databases(entries: Entries) -> list[Tree]:
    found: list[Tree] = []
    for entry in entries.databases.values():
        tree: Tree = {"name": entry.name}
        if "dbname" in entry.values and entry.dbname != entry.name:
            tree["database"] = entry.dbname
        tree.update({key: entry.text(key) for key in ("user", "password") if entry.text(key)})
        if settings := startup_settings(entry):
            tree["settings"] = settings
        found.append(tree)
    return found


def _pool(ini: Ini) -> Tree:
    found: Tree = {}
    for theirs, ours in SAME_IN_POOL.items():
        value = ini[theirs]
        found[ours] = NEVER_S if theirs in ZERO_IS_NEVER and not value else value
    found["no_leader_timeout"] = found["wait_timeout"]
    found["min_size"] = min(int(ini["min_pool_size"]), int(ini["default_pool_size"]))
    if listed := overrides(ini.entries, found):
        found["overrides"] = listed
    return found


def _told(ini: Ini) -> list[str]:
    told = []
    if ini["auth_type"] in ("trust", "any"):
        told.append(f"auth_type = {ini['auth_type']}: users need not be in auth_file: the servers decide who exists")
    if ini.entries.peers:
        told.append(f"peers: {', '.join(ini.entries.peers)}: not used: {PARAMETERS['peer_id'].note}")
    if ini.text("unix_socket_dir").startswith("@"):
        told.append("unix_socket_dir: not used: there are no sockets in the abstract namespace")
    if _asker(ini) and not ini["auth_dbname"]:
        told.append(
            f"auth_user: asks in the database {_asked_database(ini)}, whatever the client's is: set auth_dbname"
        )
    for prefix in ("client_tls", "server_tls"):
        protocols = ini.text(f"{prefix}_protocols").lower()
        if any(word in protocols for word in ("all", "legacy", "tlsv1.0", "tlsv1.1")):
            told.append(f"{prefix}_protocols = {protocols}: TLS before 1.2 is not spoken")
    told += [
        f"databases/{each.name}: load_balance_hosts: not used: the primary is found by asking, replicas share reads"
        for each in ini.entries.databases.values()
        if "load_balance_hosts" in each.values
    ]
    return told


# -- what goes before the file


def _overlay(path: Path, read: Callable[[Path], str]) -> Tree:
    try:
        tree = yaml.safe_load(read(path))
    except OSError as error:
        raise ConfigError([f"{CONFIG}: {path} cannot be read: {error.strerror or error}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{CONFIG}: {path}: not valid YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(tree, dict):
        raise ConfigError([f"{CONFIG}: {path}: expected a mapping, as in pgrouter's own file"])
    return tree


def _merged(below: Tree, above: Tree) -> Tree:
    """Return both together; where they disagree, what is above holds; lists are not merged."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
