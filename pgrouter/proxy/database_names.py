"""What the names stand for that clients connect to: `databases` in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.auth.secret import PlainSecret
from pgrouter.errors import RouterError
from pgrouter.session.settings import from_startup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.auth.client import ClientIdentity
    from pgrouter.auth.secret import Credential
    from pgrouter.auth.users import UserStore
    from pgrouter.config.settings import DatabaseName


class DatabaseNames:
    """All of them; a reload makes another."""

    def __init__(self, entries: Iterable[DatabaseName]) -> None:
        self._entries = {entry.name: entry for entry in entries}
        # str: what is compiled takes no subclass of it, as Secret is
        self._secrets = {
            entry.name: PlainSecret(str(entry.password)) for entry in self._entries.values() if entry.password
        }
        self._settings = {
            entry.name: {name.lower(): value for name, value in entry.settings.items()}
            for entry in self._entries.values()
        }

    @property
    def listed(self) -> set[str]:
        """Return the names that are listed."""
        return self._entries.keys() - {"*"}

    def get(self, name: str) -> DatabaseName | None:
        """Return the entry that a name means; None: there is none."""
        return self._entries.get(name) or self._entries.get("*")

    def of(self, name: str) -> DatabaseName:
        """Return the entry that a name means.

        Raises:
            RouterError: 3D000, there is none.

        """
        entry = self.get(name)
        if entry is None:
            raise RouterError(f'database "{name}" does not exist', sqlstate="3D000", severity="FATAL")
        return entry

    def credential(self, name: str, user: str, identity: ClientIdentity, users: UserStore) -> Credential | None:
        """Return with what the router logs in to servers for a client that has proved to be `user`."""
        entry = self.of(name)
        if entry.name in self._secrets:
            return self._secrets[entry.name]
        return users.credential(entry.user or user, identity if entry.user in ("", user) else None)

    def settings(self, name: str, parameters: tuple[tuple[str, str], ...]) -> dict[str, str]:
        """Return the settings of a startup packet, and those of its database that it does not have."""
        entry = self.get(name)
        below = self._settings[entry.name] if entry is not None else {}
        return below | from_startup(parameters)
