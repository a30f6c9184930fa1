"""SHOW CONFIG: every setting with its value and default, by its path in the file; secrets are never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.admin.result import columns
from pgrouter.config.diff import needs_restart
from pgrouter.config.shown import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row

CONFIG = columns("key value default changeable")

# PgBouncer's names for settings that the router has too, for PgBouncer's tools
ALIASES = {
    "max_client_conn": "pool.max_clients",
    "default_pool_size": "pool.size",
    "min_pool_size": "pool.min_size",
    "reserve_pool_size": "pool.reserve_size",
    "reserve_pool_timeout": "pool.reserve_timeout",
    "max_db_connections": "pool.max_db_connections",
    "max_user_connections": "pool.max_user_connections",
    "max_db_client_connections": "pool.max_db_clients",
    "max_user_client_connections": "pool.max_user_clients",
    "pool_mode": "pool.mode",
    "query_wait_timeout": "pool.wait_timeout",
    "server_idle_timeout": "pool.idle_timeout",
    "pool_idle_timeout": "pool.unused_timeout",
    "server_lifetime": "pool.lifetime",
    "server_connect_timeout": "pool.connect_timeout",
    "client_login_timeout": "pool.login_timeout",
    "query_timeout": "pool.query_timeout",
    "idle_transaction_timeout": "pool.idle_transaction_timeout",
    "transaction_timeout": "pool.transaction_timeout",
    "client_idle_timeout": "pool.client_idle_timeout",
    "max_prepared_statements": "pool.prepared_statements",
    "auth_type": "auth.type",
    "auth_file": "auth.users_file",
    "admin_users": "admin.admin_users",
    "stats_users": "admin.stats_users",
    "log_connections": "log.connections",
}


def config(context: Context) -> Iterator[Row]:
    """Yield a row per setting in the order of the file, then those with PgBouncer's names."""
    settings = {}
    for setting in walk(context.app.registry.settings, ""):
        settings[setting.key] = setting
        yield *setting, _changeable(setting.key)
    for name, key in ALIASES.items():
        yield name, settings[key].value, settings[key].default, _changeable(key)


def _changeable(key: str) -> str:
    return "no" if needs_restart(key) else "yes"
