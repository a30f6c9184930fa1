"""SHOW CONFIG: every setting with its value and default, by its path in the file; secrets are never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgrouter.admin.result import columns
from pgrouter.config.diff import needs_restart
from pgrouter.config.types import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row

CONFIG = columns("key value default changeable")

HIDDEN = "********"

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


class Setting(NamedTuple):
    """One row of the view."""

    key: str
    value: str
    default: str | None


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


def walk(section: msgspec.Struct, prefix: str) -> Iterator[Setting]:
    """Yield the settings of a section and of its subsections."""
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        key = prefix + field.encode_name
        if isinstance(value, msgspec.Struct):
            yield from walk(value, key + ".")
        elif field.type is Secret:
            yield Setting(key, HIDDEN if value else "", "")
        else:
            yield Setting(key, show(value), _default(field))


def _default(field: msgspec.structs.FieldInfo) -> str | None:
    if field.default is not msgspec.NODEFAULT:
        return show(field.default)
    return show(field.default_factory()) if field.default_factory is not msgspec.NODEFAULT else None


def show(value: object) -> str:
    """Format a value for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(show, value))
    if isinstance(value, msgspec.Struct):
        return " ".join(f"{setting.key}={setting.value}" for setting in walk(value, ""))
    return f"{value:g}" if isinstance(value, float) else str(value)
