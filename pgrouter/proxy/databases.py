"""What the clients of one database share: its classified statements, and those that they have prepared."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from pgrouter.routing.cache import StatementCache
from pgrouter.routing.catalog import always, pending
from pgrouter.routing.classify import classify
from pgrouter.session.prepared import SharedStatements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgrouter.config.settings import Routing
    from pgrouter.routing.catalog import ByRole, Catalog


# So long after the last look at a database what was prepared in it before is not shared with who comes
UNWATCHED_S = 1.5


class Database:
    """One database, as its clients' statements see it; roles with the same search_path share a cache."""

    def __init__(self, name: str, routing: Routing, catalog: ByRole) -> None:
        self.name = name
        self.shared = SharedStatements()
        self.watched_at = -UNWATCHED_S  # up to then DDL that came another way has been noticed
        self._routing = routing
        self._catalog = catalog
        self._learned: dict[bytes, bool] = {}  # what replicas have refused holds for every catalog
        self._caches: dict[int, tuple[Catalog, StatementCache]] = {}  # by the identity of the catalog, kept alive here
        self._retired: Counter[str] = Counter()

    def adopt(self, catalog: ByRole) -> None:
        """Judge by this from now on: caches that were given out before are no longer the ones to use."""
        self._retired = self.counters()
        self._catalog = catalog
        self._caches = {}
        self.shared.renew()

    def statements(self, role: str | None) -> StatementCache:
        """Give the classified statements as a role sees them; None: a session with a search_path of its own."""
        catalog = self._catalog(role)
        kept = self._caches.get(id(catalog))
        if kept is None:
            judge = partial(classify, catalog=catalog)
            cache = StatementCache(judge, self._routing.cache_bytes, self._routing.max_parsed_bytes, self._learned)
            kept = self._caches[id(catalog)] = catalog, cache
        return kept[1]

    def counters(self) -> Counter[str]:
        """Give statements and bytes held now; hits, misses and evictions since the start."""
        counted = Counter({name: self._retired[name] for name in ("hits", "misses", "evictions")})
        for _, cache in self._caches.values():
            counted.update(
                statements=cache.size, used_bytes=cache.used_bytes,
                hits=cache.hits, misses=cache.misses, evictions=cache.evictions,
            )  # fmt: skip
        return counted


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
        self.on_suspicion: Callable[[str], None] | None = None  # code that may do anything has run
        self.on_change = on_change  # a statement has changed its catalog, maybe redefined what was known
        self.make_way: Callable[[], None] | None = None  # a database must have no sessions, for it is to be dropped
        self._databases: dict[str, Database] = {}

    def __iter__(self) -> Iterator[Database]:
        return iter(self._databases.values())

    def changed(self, name: str, redefined: bool) -> None:  # noqa: FBT001  (a callback's)
        """See to it that texts are parsed anew and the catalog is read; `redefined`: what a known name does, maybe.

        Not only when the catalog has been read: there may be a new table of an old name, and old plans do not fit it.
        """
        self.get(name).shared.renew()
        self.on_change(name, redefined)

    def suspected(self, name: str) -> None:
        """See to it that texts are parsed anew, and that somebody looks what code that nobody has read has done."""
        self.get(name).shared.renew()
        if self.on_suspicion is not None:
            self.on_suspicion(name)

    def watched(self, name: str, now: float, sign: bool) -> None:  # noqa: FBT001  (a callback's)
        """Somebody has looked at the catalog of a database; `sign`: there was DDL, maybe."""
        database = self.get(name)
        database.watched_at = now
        if sign:
            database.shared.renew()

    def entered(self, name: str, now: float) -> None:
        """A client comes to a database at which nobody has looked lately: what it parses means what it does now."""
        database = self.get(name)
        database.shared.renew()
        database.watched_at = now
        self.on_use(name)

    def get(self, name: str) -> Database:
        """Give a database; until its catalog is adopted, all that is the user's in it is unknown."""
        database = self._databases.get(name)
        if database is None:
            database = self._databases[name] = Database(name, self.routing, always(pending(self.configured)))
            self.on_use(name)
        return database
