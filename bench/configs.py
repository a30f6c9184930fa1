"""How each rival is configured: as somebody would who knows it well and has read what pgrouter does.

The same number of server connections per server (a pool of 20, where there is a pool), nothing logged per connection,
one process or thread where that is the default. Two logins: `trust` between clients, proxy and servers (the role
bench), and SCRAM (the role postgres) for what measures logins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.cases import Case

TRUSTED, PROVEN = "bench", "postgres"  # roles: of the cases with login trust, and with login scram
POOL = 20
MAX_CLIENTS = 6000
SERVER_CONNECTIONS = 1200  # that a server takes: the most clients of what gives each one of its own
PGPOOL_CHILDREN = 128  # a client each, with a connection to every server


def pgbouncer(ports: Sequence[int], listen: int, users: Path, login: str, *, prepared: bool) -> str:
    """Reads go to the first standby by the name of a database, writes to the primary by another."""
    return f"""\
[databases]
postgres = host=127.0.0.1 port={ports[1]} dbname=postgres
primary = host=127.0.0.1 port={ports[0]} dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
listen_backlog = 4096
unix_socket_dir =
auth_type = {"scram-sha-256" if login == "scram" else "trust"}
auth_file = {users}
pool_mode = transaction
default_pool_size = {POOL}
max_client_conn = {MAX_CLIENTS}
log_connections = 0
log_disconnections = 0
{"max_prepared_statements = 200" if prepared else ""}
"""


def static(ports: Sequence[int]) -> dict[str, object]:
    """Give pgrouter's setting `cluster` for members that are listed."""
    members = [{"name": f"pg{i}", "host": "127.0.0.1", "port": port} for i, port in enumerate(ports)]
    return {"source": "static", "members": members}


def pgrouter(cluster: Mapping[str, object], users: Path, login: str) -> str:
    """Defaults: parsing, routing and balancing on."""
    settings = {
        "listen": [{"host": "127.0.0.1", "port": 0}],
        "cluster": {**cluster, "monitor": {"user": PROVEN, "password": PROVEN}},
        "auth": {"type": "scram-sha-256" if login == "scram" else "trust", "users_file": str(users)},
        "pool": {"size": POOL, "max_clients": MAX_CLIENTS},
        "log": {"level": "warning"},
    }
    return yaml.safe_dump(settings)


def haproxy(ports: Sequence[int], read: int, write: int, threads: int | None) -> str:
    """One port for reads on the standbys, one for the primary, with checks, as in front of Patroni."""
    return f"""\
global
    maxconn {SERVER_CONNECTIONS}
    {f"nbthread {threads}" if threads else ""}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option pgsql-check user {TRUSTED}
listen standbys
    bind 127.0.0.1:{read}
    balance roundrobin
    server pg1 127.0.0.1:{ports[1]} check
    server pg2 127.0.0.1:{ports[2]} check
listen primary
    bind 127.0.0.1:{write}
    server pg0 127.0.0.1:{ports[0]} check
"""


def pgpool(ports: Sequence[int], listen: int, control: int, directory: Path, login: str) -> str:
    """Statements are balanced one by one over the standbys, as pgrouter does."""
    settings: dict[str, object] = {
        "backend_clustering_mode": "streaming_replication", "listen_addresses": "127.0.0.1", "port": listen,
        "pcp_listen_addresses": "127.0.0.1", "pcp_port": control,
        "socket_dir": directory, "unix_socket_directories": directory, "pcp_socket_dir": directory,
        "wd_ipc_socket_dir": directory, "pid_file_name": directory / "pgpool.pid", "logdir": directory,
        "enable_pool_hba": "on" if login == "scram" else "off", "pool_passwd": "pool_passwd",
        "num_init_children": PGPOOL_CHILDREN, "max_pool": 1, "connection_cache": "on", "listen_backlog_multiplier": 8,
        "load_balance_mode": "on", "statement_level_load_balance": "on",
        "disable_load_balance_on_write": "transaction",
        "sr_check_period": 10, "sr_check_user": PROVEN, "sr_check_password": PROVEN, "sr_check_database": "postgres",
        "health_check_period": 5, "health_check_user": PROVEN, "health_check_password": PROVEN,
        "health_check_database": "postgres", "failover_on_backend_error": "off", "log_min_messages": "warning",
    }  # fmt: skip
    for i, port in enumerate(ports):
        settings |= {
            f"backend_hostname{i}": "127.0.0.1", f"backend_port{i}": port, f"backend_weight{i}": 1 if i else 0,
            f"backend_application_name{i}": f"pg{i}", f"backend_flag{i}": "DISALLOW_TO_FAILOVER",
        }  # fmt: skip
    return pgpool_lines(settings)


def pgpool_lines(settings: Mapping[str, object]) -> str:
    """Write settings as pgpool.conf has them; of two lines for one setting the later holds."""
    return "".join(f"{name} = '{value}'\n" for name, value in settings.items())


def unable_pgbouncer(case: Case, release: tuple[int, ...]) -> str:
    """Before 1.21 it has no prepared statements in transaction mode."""
    return "no prepared statements in transaction mode before 1.21" if case.prepared and release < (1, 21) else ""


def unable_one_to_one(case: Case, _release: tuple[int, ...]) -> str:
    """What gives each client a server connection of its own cannot have thousands."""
    return "a server connection per client" if case.load == "idle" else ""


def unable_pgpool(case: Case, _release: tuple[int, ...]) -> str:
    """It has a process for each client, with three server connections."""
    many = case.clients > PGPOOL_CHILDREN
    return f"a process and three server connections per client, and {PGPOOL_CHILDREN} processes here" if many else ""
