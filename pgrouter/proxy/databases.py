"""What the clients of one database share: its classified statements, and their prepared statements."""

from __future__ import annotations

from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pgrouter.routing.cache import StatementCache
from pgrouter.routing.catalog import always, configured, no_timeout, pending
from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Effect, Reason
from pgrouter.routing.usage import Usages
from pgrouter.session.prepared import SharedStatements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    from pgrouter.config.settings import Routing
    from pgrouter.planes import CatalogService
    from pgrouter.proxy.reader import Reader
    from pgrouter.routing.catalog import ByRole, Catalog
    from pgrouter.routing.statement import Statement

_OF_RELATIONS = (Reason.WRITE, Reason.COPY, Reason.DDL, Reason.UNKNOWN_RELATION, Reason.WRITING_CTE, Reason.ROW_LOCK)
MAX_CUSTOM = 1000  # names of custom settings that are learned from clients
FIRST_READING_S = 1.0  # a login waits this long at most for its database's catalog
UNWATCHED_S = 1.5  # if a catalog was not checked for this long, new clients do not share what was prepared before


class Database:
    """One database, as seen by its clients' statements; roles with the same search_path share a cache."""

    def __init__(
        self,
        name: str,
        routing: Routing,
        catalog: ByRole,
        late: Callable[[], bool] | None = None,
        *,
        has_reader: bool = False,
    ) -> None:
        self.name = name
        self._late = late
        self._has_reader = has_reader
        self.shared = SharedStatements()
        self.watched_at = -UNWATCHED_S  # DDL outside the router has been noticed up to then
        self._routing = routing
        self._catalog = catalog
        self.usages = Usages()
        self._learned: dict[bytes, bool] = {}  # texts that replicas have refused, whatever the catalog
        self._caches: dict[int, tuple[Catalog, StatementCache]] = {}  # by the identity of the catalog, kept alive here
        self._retired: Counter[str] = Counter()
        self.custom: set[str] = set(catalog(None).settings)  # names of custom settings in its code and its clients' SQL
        self.idle_timeout: Callable[[str], str] = no_timeout  # a role's default
        self.settled = False  # the catalog has been read, or cannot be read
        self.lasting = False  # code was created that may leave what no query finds, and was not read since

    def adopt(self, catalog: ByRole) -> None:
        """Classify by this catalog from now on; caches handed out before are out of date."""
        self._retired = self.counters()
        self._catalog = catalog
        plain = catalog(None)
        if plain.known or not plain.complete:
            self.settled, self.lasting = True, False
        self._caches = {}
        self.custom |= plain.settings
        self.shared.renew()

    def statements(self, role: str | None) -> StatementCache:
        """Return the classified statements as a role sees them; None: a session with its own search_path."""
        catalog = self._catalog(role)
        kept = self._caches.get(id(catalog))
        if kept is None:
            judge = partial(self._judge, catalog=catalog)
            routing = self._routing
            cache = StatementCache(
                judge, routing.cache_bytes, routing.max_parsed_bytes, self._learned, self._late, self.usages
            )
            cache.has_reader = self._has_reader
            cache.on_learned = self._note
            kept = self._caches[id(catalog)] = catalog, cache
        return kept[1]

    def _judge(self, text: bytes, catalog: Catalog) -> Statement:
        statement = classify(text, catalog)
        self._note(statement)
        if not catalog.known and statement.reason in _OF_RELATIONS:  # it has not been read (yet)
            code = int(Effect.CODE)
            if statement.effects & code:  # a precaution, as every table might have a trigger
                return replace(statement, effects=statement.effects & ~code | int(Effect.MAYBE_CODE))
        if self.lasting and statement.effects & Effect.CODE:
            return replace(statement, effects=statement.effects | int(Effect.OTHER_STATE))
        return statement

    def _note(self, statement: Statement) -> None:
        """Record the custom settings that a text names; it may have been classified in another process."""
        self.custom.update(statement.custom[: max(0, MAX_CUSTOM - len(self.custom))])

    def counters(self) -> Counter[str]:
        """Return the current statements and bytes; hits, misses and evictions since the start."""
        counted = Counter({name: self._retired[name] for name in ("hits", "misses", "evictions")})
        for _, cache in self._caches.values():
            counted.update(
                statements=cache.size, used_bytes=cache.used_bytes,
                hits=cache.hits, misses=cache.misses, evictions=cache.evictions,
            )  # fmt: skip
        return counted


class Databases:
    """All databases that clients have used; without `catalogs` none of their names is ever known."""

    def __init__(
        self,
        routing: Routing,
        catalogs: CatalogService | None = None,
        *,
        close_unused_databases: Callable[[], None] | None = None,
        late: Callable[[], bool] | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.routing = routing
        self.configured = configured(routing)
        self.close_unused_databases = close_unused_databases  # for DROP DATABASE and the like
        self.reader = reader  # classifies what would take too long here
        self._catalogs = catalogs
        self._late = late  # whether this round of events has used up its time
        self._databases: dict[str, Database] = {}
        self._logins: deque[tuple[float, Database, Callable[[], object]]] = deque()

    def __iter__(self) -> Iterator[Database]:
        return iter(self._databases.values())

    def may_begin(self, name: str, now: float, then: Callable[[], object]) -> bool:
        """Whether sessions of a database may begin; if not, `then` is called once its catalog has been read, or soon.

        Code that has not been read could leave state that is not asked for.
        """
        database = self.get(name)
        if database.settled or self._catalogs is None:
            return True
        self._logins.append((now, database, then))
        return False

    def tick(self, now: float) -> None:
        """Start the sessions whose catalog has been read, or that have waited for too long."""
        for _ in range(len(self._logins)):
            since, database, then = self._logins.popleft()
            if now - since > FIRST_READING_S:
                database.settled = True  # reading takes too long, for whatever reason
            if database.settled:
                then()
            else:
                self._logins.append((since, database, then))

    def changed(self, name: str, redefined: bool, *, lasting: bool = False) -> None:  # noqa: FBT001
        """Stop sharing parsed texts and request the catalog; `redefined`: the meaning of a known name may have changed.

        `lasting`: there is code that may leave what no query finds. Sharing stops at once, not after the catalog has
        been read: there may be a new table with an old name, and old plans do not fit it.
        """
        database = self.get(name)
        database.lasting = database.lasting or lasting
        database.shared.renew()
        if self._catalogs is not None:
            self._catalogs.changed(name, redefined=redefined)

    def suspected(self, name: str) -> None:
        """Stop sharing parsed texts and have the catalog checked: code that has not been read has run."""
        self.get(name).shared.renew()
        if self._catalogs is not None:
            self._catalogs.suspect(name)

    def watched(self, name: str, now: float, *, sign: bool) -> None:
        """Called when the catalog of a database has been checked; `sign`: there may have been DDL."""
        database = self.get(name)
        database.watched_at = now
        if sign:
            database.shared.renew()

    def entered(self, name: str, now: float) -> None:
        """Called when a client enters a database not checked lately: it must not share texts parsed before."""
        database = self.get(name)
        database.shared.renew()
        database.watched_at = now
        self._use(name)

    def get(self, name: str) -> Database:
        """Return a database; until its catalog is adopted, all user-defined objects in it are unknown."""
        database = self._databases.get(name)
        if database is None:
            catalog = always(pending(self.configured))
            database = Database(name, self.routing, catalog, self._late, has_reader=self.reader is not None)
            self._databases[name] = database
            self._use(name)
        return database

    def keep(self, names: AbstractSet[str]) -> None:
        """Forget all other databases, and what is known of them."""
        for name in [name for name in self._databases if name not in names]:
            del self._databases[name]
            if self._catalogs is not None:
                self._catalogs.forget(name)

    def _use(self, name: str) -> None:
        if self._catalogs is not None:
            self._catalogs.use(name)
