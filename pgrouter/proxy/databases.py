"""What the clients of one database share: its classified statements, and those that they have prepared."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pgrouter.routing.cache import StatementCache
from pgrouter.routing.catalog import pending
from pgrouter.routing.classify import classify
from pgrouter.session.prepared import SharedStatements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgrouter.config.settings import Routing
    from pgrouter.routing.catalog import Catalog


class Database:
    """One database, as its clients' statements see it."""

    def __init__(self, name: str, routing: Routing, catalog: Catalog) -> None:
        self.name = name
        self.statements = StatementCache(
            partial(classify, catalog=catalog), routing.cache_bytes, routing.max_parsed_bytes
        )
        self.shared = SharedStatements()

    def adopt(self, catalog: Catalog) -> None:
        """Judge by this catalog from now on, also what is prepared already."""
        self.statements.adopt(partial(classify, catalog=catalog))
        for shared in self.shared:
            shared.statement = self.statements.lookup(shared.body, 0, shared.body.index(0))


class Databases:
    """All databases that clients have used."""

    def __init__(
        self,
        routing: Routing,
        configured: Catalog,
        on_use: Callable[[str], None] = lambda _name: None,
        on_change: Callable[[str, bool], None] = lambda _name, _redefined: None,
    ) -> None:
        self.routing = routing
        self.configured = configured
        self.on_use = on_use  # a database has its first client: its catalog is wanted
        self.on_change = on_change  # a statement has changed its catalog, maybe redefined what was known
        self._databases: dict[str, Database] = {}

    def __iter__(self) -> Iterator[Database]:
        return iter(self._databases.values())

    def get(self, name: str) -> Database:
        """Give a database; until its catalog is adopted, all that is the user's in it is unknown."""
        database = self._databases.get(name)
        if database is None:
            database = self._databases[name] = Database(name, self.routing, pending(self.configured))
            self.on_use(name)
        return database
