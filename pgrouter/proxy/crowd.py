"""How many clients each database, user and pool has, and how many it may have."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pgrouter.errors import TooManyClients

if TYPE_CHECKING:
    from pgrouter.config.settings import PoolSettings
    from pgrouter.pool.pool import Pool


class Crowd:
    """Counts the clients that are logged in, or about to be: they have proved who they are."""

    def __init__(self) -> None:
        self.of_database: Counter[str] = Counter()
        self.of_user: Counter[str] = Counter()

    def enter(self, pool: Pool, user: str, settings: PoolSettings) -> None:
        """Count another client of a pool.

        Raises:
            TooManyClients: 53300, in PostgreSQL's words for the limits of databases and roles.

        """
        database = pool.name
        most = settings.of(database, "").max_db_clients
        if 0 < most <= self.of_database[database]:
            raise TooManyClients(f'too many connections for database "{database}"', detail=_detail("db", most))
        most = settings.of("", user).max_user_clients
        if 0 < most <= self.of_user[user]:
            raise TooManyClients(f'too many connections for role "{user}"', detail=_detail("user", most))
        pool.enter()
        self.of_database[database] += 1
        self.of_user[user] += 1

    def leave(self, pool: Pool, user: str) -> None:
        """Count a client of a pool no more."""
        pool.leave()
        for counted, name in ((self.of_database, pool.name), (self.of_user, user)):
            counted[name] -= 1
            if not counted[name]:
                del counted[name]


def _detail(kind: str, most: int) -> str:
    return f"pool.max_{kind}_clients is {most}."
