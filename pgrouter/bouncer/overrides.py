"""The limits of [databases] and [users] as `pool.overrides`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.bouncer.parameters import NEVER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.bouncer.entries import Entries, Entry

OF_DATABASE = {
    "pool_mode": "mode",
    "pool_size": "size",
    "min_pool_size": "min_size",
    "reserve_pool_size": "reserve_size",
    "max_db_connections": "max_db_connections",
    "max_db_client_connections": "max_db_clients",
    "query_wait_timeout": "wait_timeout",
    "server_lifetime": "lifetime",
}
OF_USER = {
    "pool_mode": "mode",
    "pool_size": "size",
    "reserve_pool_size": "reserve_size",
    "max_user_connections": "max_user_connections",
    "max_user_client_connections": "max_user_clients",
    "query_wait_timeout": "wait_timeout",
    "transaction_timeout": "transaction_timeout",
    "idle_transaction_timeout": "idle_transaction_timeout",
    "query_timeout": "query_timeout",
    "client_idle_timeout": "client_idle_timeout",
}
ZERO_IS_UNSET = (
    "transaction_timeout",
    "idle_transaction_timeout",
    "query_timeout",
    "client_idle_timeout",
    "server_lifetime",
)


def overrides(entries: Entries, general: Mapping[str, object]) -> list[dict[str, object]]:
    """Return the list, in which a user's limits go before a database's, as there, and those of `*` come first.

    What `*` sets is not about the databases that are listed: they keep the general settings.
    """
    rest = entries.databases.get("*")
    others = _limits(rest, OF_DATABASE, general) if rest else {}
    found: list[dict[str, object]] = [{"database": "*"} | others] if others else []
    for entry in entries.databases.values():
        own = {key: general[key] for key in others} | _limits(entry, OF_DATABASE, general)
        if entry.name != "*" and own:
            found.append({"database": entry.name} | own)
    found += [
        {"user": entry.name} | own for entry in entries.users.values() if (own := _limits(entry, OF_USER, general))
    ]
    return found


def _limits(entry: Entry, keys: Mapping[str, str], general: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for theirs, ours in keys.items():
        value = entry.values.get(theirs)
        if value is None or (isinstance(value, int) and value < 0) or (theirs in ZERO_IS_UNSET and not value):
            continue
        found[ours] = NEVER_S if theirs == "query_wait_timeout" and not value else value
    if "min_size" in found:
        found["min_size"] = min(int(str(found["min_size"])), int(str(found.get("size", general["size"]))))
    elif int(str(found.get("size", general["size"]))) < int(str(general["min_size"])):
        found["min_size"] = found["size"]
    return found
