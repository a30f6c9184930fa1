"""What an operator may do to databases: pause, resume, kill, disable. For the console, and whoever else asks.

A name is what clients connect to, or a database of the servers. All names that stand for one database of the servers
are paused together: they share its server connections. None is every database.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgrouter.errors import RouterError, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.proxy.registry import Registry

log = logging.getLogger("pgrouter.operator")


class Operator:
    """The operator's part of a registry of clients and of its pools."""

    def __init__(self, registry: Registry, note: Callable[[str, str], None]) -> None:
        self._registry = registry
        self._note = note  # called with the kind of what was done, and a text
        self._pools = registry.pools

    def pause(self, name: str | None) -> None:
        """Hold clients that need a server, and close server connections as they become free.

        Raises:
            RouterError: 3D000, there is no such database; 55000, everything is paused already.

        """
        self._pools.pause(self._database(name, "pause"))
        self._done("pause", f"{_shown(name)} paused: {self.busy(name)} server connections are open")

    def busy(self, name: str | None) -> int:
        """Return how many server connections of a paused database are still open.

        Raises:
            RouterError: 55000, it has been resumed meanwhile.

        """
        if not self.is_paused(name):
            raise RouterError("the pause has been ended by RESUME", sqlstate="55000")
        return self._pools.open_servers(self._database(name, "pause"))

    def is_paused(self, name: str | None) -> bool:
        """Whether a database is paused by its name, or everything (None) is."""
        pauses = self._pools.pauses
        return pauses.everything if name is None else self._database(name, "pause") in pauses.databases

    def resume(self, name: str | None) -> None:
        """Let those who were held go on.

        Raises:
            RouterError: 3D000, there is no such database; 55000, it is not paused.

        """
        self._pools.resume(self._database(name, "resume"))
        self._done("resume", f"{_shown(name)} resumed")

    def kill(self, name: str | None) -> None:
        """Pause, and end all clients (57P01) and server connections now.

        Raises:
            RouterError: 3D000, there is no such database; 55000, everything is paused already.

        """
        database = self._database(name, "kill")
        self._pools.pauses.check()
        clients = [
            client
            for client in list(self._registry.clients.values())
            if client.session.pool is not None and database in (None, client.session.pool.database)
        ]
        self._done("kill", f"{_shown(name)} killed: {len(clients)} clients are disconnected")
        for client in clients:
            client.violation(ShuttingDown("terminating connection due to administrator command"))
        self._pools.kill(database)

    def reconnect(self, name: str | None) -> None:
        """Close each server connection when it is released.

        Raises:
            RouterError: 3D000, there is no such database.

        """
        self._pools.reconnect(self._database(name, "reconnect"))
        self._done("reconnect", f"{_shown(name)} reconnects: {self.closing(name)} server connections are in use")

    def closing(self, name: str | None) -> int:
        """Return how many server connections are closed when they are released."""
        return self._pools.closing_servers(self._database(name, "wait in"))

    def disable(self, name: str) -> None:
        """Refuse new clients of a name.

        Raises:
            RouterError: 3D000, there is no such database.

        """
        self._database(name, "disable")
        self._pools.pauses.disabled.add(name)
        self._done("disable", f"{_shown(name)} disabled")

    def enable(self, name: str) -> None:
        """Accept them again.

        Raises:
            RouterError: 3D000, there is no such database.

        """
        self._database(name, "enable")
        self._pools.pauses.disabled.discard(name)
        self._done("enable", f"{_shown(name)} enabled")

    def _done(self, kind: str, text: str) -> None:
        log.info("%s", text)
        self._note(kind, text)

    def _database(self, name: str | None, verb: str) -> str | None:
        """Return the servers' name of a database."""
        if name is None:
            return None
        if self._registry.is_console(name):
            raise RouterError(f"cannot {verb} admin db: {name}", sqlstate="42501")
        names = {entry.name: entry for entry in self._registry.settings.databases}
        entry = names.get(name) or names.get("*")
        if entry is not None:
            return entry.database or name
        if any(group.database == name for group in self._pools.groups.values()):
            return name
        raise RouterError(f"no such database: {name}", sqlstate="3D000")


def _shown(name: str | None) -> str:
    return "all databases are" if name is None else f'database "{name}" is'
