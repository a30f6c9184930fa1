"""The router's settings under the names of Pgpool-II's parameters: SHOW POOL_STATUS, PGPOOL SHOW, pcp_pool_status."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgrouter.config.settings import Settings
    from pgrouter.pcp.nodes import Node

GROUPS = {"backend": ("backend_",), "health_check": ("health_check_",), "watchdog": ("use_watchdog",), "heartbeat": ()}


class Parameter(NamedTuple):
    """One parameter; `value` as PGPOOL SHOW has it."""

    name: str
    value: str
    about: str

    @property
    def number(self) -> str:
        """Return the value as SHOW POOL_STATUS has it: 0 and 1 for off and on."""
        return {"on": "1", "off": "0"}.get(self.value, self.value)


def parameters(settings: Settings, found: Sequence[Node]) -> list[Parameter]:
    """Return all that there are."""
    return [Parameter(*row) for row in (*_listening(settings), *_running(settings), *_backends(settings, found))]


def _on(value: object) -> str:
    return "on" if value else "off"


def _listening(settings: Settings) -> Iterator[tuple[str, str, str]]:
    hosts = [entry.host for entry in settings.listen if entry.unix is None]
    sockets = [str(entry.unix) for entry in settings.listen if entry.unix is not None]
    yield "backend_clustering_mode", "streaming_replication", "clustering mode"
    yield "listen_addresses", ",".join(hosts), "host name(s) or IP address(es) to listen on"
    yield "port", str(settings.listen[0].port), "port number"
    yield "unix_socket_directories", ",".join(sockets), "socket directories"
    yield "unix_socket_permissions", settings.listen[-1].unix_mode, "access permissions of the Unix sockets"
    yield "ssl", _on(any(entry.tls.cert for entry in settings.listen)), "SSL support"
    yield "enable_pool_hba", _on(settings.auth.type == "hba"), "if true, use pool_hba.conf for client authentication"
    yield "authentication_timeout", str(round(settings.pool.login_timeout_s)), "maximum time in seconds to log in"


def _running(settings: Settings) -> Iterator[tuple[str, str, str]]:
    pool, reads, routing, monitor = settings.pool, settings.reads, settings.routing, settings.cluster.monitor
    yield "num_init_children", str(pool.max_clients), "maximum number of client connections"
    yield "max_pool", "1", "server connections are shared by all clients"
    yield "connection_life_time", str(round(pool.idle_timeout_s)), "if idle for this seconds, connection closes"
    yield "client_idle_limit", str(round(pool.client_idle_timeout_s)), "if idle for this seconds, client is closed"
    yield "connection_cache", "on", "if true, cache connection pool"
    yield "connect_timeout", str(round(pool.connect_timeout_s * 1000)), "connection timeout in milliseconds"
    yield "load_balance_mode", _on(any(entry.mode == "split" for entry in settings.listen)), "load balancing"
    yield "statement_level_load_balance", "on", "each read is balanced by itself"
    yield "allow_sql_comments", "on", "comments do not prevent load balancing"
    yield "disable_load_balance_on_write", "transaction", "a session sees its own writes on replicas, too"
    yield "read_only_function_list", ",".join(routing.read_only_functions), "functions that do not write"
    yield "write_function_list", ",".join(routing.write_functions), "functions that write"
    yield "delay_threshold", str(reads.max_lag_bytes), "standby delay threshold in bytes"
    yield "delay_threshold_by_time", str(round(reads.max_lag_s * 1000)), "standby delay threshold in milliseconds"
    yield "sr_check_period", str(round(monitor.interval_s) or 1), "streaming replication check period in seconds"
    yield "sr_check_user", monitor.user, "user of the check"
    yield "sr_check_database", monitor.database, "database of the check"
    yield "health_check_period", str(round(monitor.interval_s) or 1), "health check period in seconds"
    yield "health_check_timeout", str(round(monitor.timeout_s) or 1), "health check timeout in seconds"
    yield "health_check_user", monitor.user, "user of the health check"
    yield "auto_failback", "on", "a node that answers again is used again"
    yield "memory_cache_enabled", "off", "query cache"
    yield "use_watchdog", "off", "watchdog"
    yield "log_connections", _on(settings.log.connections), "if true, log connections"


def _backends(settings: Settings, found: Sequence[Node]) -> Iterator[tuple[str, str, str]]:
    for node in found:
        yield f"backend_hostname{node.number}", node.host, f"backend #{node.number} hostname"
        yield f"backend_port{node.number}", str(node.port), f"backend #{node.number} port number"
        yield f"backend_weight{node.number}", f"{node.share:f}", f"weight of backend #{node.number}"
        yield f"backend_application_name{node.number}", node.name, f"application_name for backend #{node.number}"
        yield f"backend_flag{node.number}", "ALLOW_TO_FAILOVER", f"backend #{node.number} flag"
        if not settings.reads.max_lag_s:
            yield f"standby_delay{node.number}", str(node.lag_bytes), f"standby delay of backend #{node.number}"
