"""What an operator may do to databases: pause, resume, kill, disable. For the console, and whoever else asks.

A name is what clients connect to; each has pools of its own. None is every database.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgrouter.errors import RouterError, ShuttingDown

if TYPE_CHECKING:
    from pgrouter.proxy.registry import Registry

log = logging.getLogger("pgrouter.operator")


class Operator:
    """The operator's part of a registry of clients and of its pools."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pools = registry.pools

    def pause(self, name: str | None) -> None:
        """Hold clients that need a server, and close server connections as they become free.

        Raises:
            RouterError: 3D000, there is no such database; 55000, everything is paused already.

        """
        self._pools.pause(self._database(name, "pause"))
        log.info("%s paused: %d server connections are open", _shown(name), self.busy(name))

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
        log.info("%s resumed", _shown(name))

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
            if client.session.pool is not None and database in (None, client.session.pool.name)
        ]
        log.info("%s killed: %d clients are disconnected", _shown(name), len(clients))
        for client in clients:
            client.violation(ShuttingDown("terminating connection due to administrator command"))
        self._pools.kill(database)

    def reconnect(self, name: str | None) -> None:
        """Close each server connection when it is released.

        Raises:
            RouterError: 3D000, there is no such database.

        """
        self._pools.reconnect(self._database(name, "reconnect"))
        log.info("%s reconnects: %d server connections are in use", _shown(name), self.closing(name))

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
        log.info("%s disabled", _shown(name))

    def enable(self, name: str) -> None:
        """Accept them again.

        Raises:
            RouterError: 3D000, there is no such database.

        """
        self._database(name, "enable")
        self._pools.pauses.disabled.discard(name)
        log.info("%s enabled", _shown(name))

    def _database(self, name: str | None, verb: str) -> str | None:
        """Return the name of a database that there is."""
        if name is None:
            return None
        if self._registry.is_console(name):
            raise RouterError(f"cannot {verb} admin db: {name}", sqlstate="42501")
        if self._registry.names.get(name) is not None or any(
            group.name == name for group in self._pools.groups.values()
        ):
            return name
        raise RouterError(f"no such database: {name}", sqlstate="3D000")


def _shown(name: str | None) -> str:
    return "all databases are" if name is None else f'database "{name}" is'
