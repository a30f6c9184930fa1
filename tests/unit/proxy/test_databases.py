"""Which databases' catalogs are followed, and when a session may begin."""

from __future__ import annotations

from pgrouter.config.settings import Routing
from pgrouter.proxy.databases import FIRST_READING_S, UNWATCHED_S, Databases
from pgrouter.routing.catalog import always, configured, pending


class Catalogs:
    """The control plane's catalogs, as a list of what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def use(self, database: str) -> None:
        self.asked.append(("use", database))

    def changed(self, database: str, *, redefined: bool) -> None:
        self.asked.append(("changed", database, redefined))

    def suspect(self, database: str) -> None:
        self.asked.append(("suspect", database))

    def close_unused_databases(self) -> None:
        self.asked.append(("close",))


def test_a_database_is_followed_from_its_first_client_on() -> None:
    catalogs = Catalogs()
    databases = Databases(Routing(), catalogs)
    assert databases.get("app") is databases.get("app")
    assert [each.name for each in databases] == ["app"]
    assert catalogs.asked == [("use", "app")]


def test_what_is_reported_upwards() -> None:
    catalogs = Catalogs()
    databases = Databases(Routing(), catalogs)
    databases.changed("app", redefined=True)
    databases.suspected("app")
    databases.watched("app", 100.0, sign=False)
    databases.entered("app", 100.0 + 2 * UNWATCHED_S)
    assert catalogs.asked == [("use", "app"), ("changed", "app", True), ("suspect", "app"), ("use", "app")]
    assert databases.get("app").watched_at == 100.0 + 2 * UNWATCHED_S


def test_a_session_waits_for_the_catalog_but_not_long() -> None:
    databases = Databases(Routing(), Catalogs())
    begun: list[str] = []
    assert not databases.may_begin("app", 10.0, lambda: begun.append("first"))
    databases.tick(10.0)
    assert not begun
    databases.get("app").adopt(always(configured(Routing())))  # it cannot be read
    databases.tick(10.1)
    assert begun == ["first"]
    assert databases.may_begin("app", 10.2, lambda: None)

    databases.get("other").adopt(always(pending(configured(Routing()))))
    assert not databases.may_begin("other", 20.0, lambda: begun.append("second"))
    databases.tick(20.0 + FIRST_READING_S / 2)
    assert begun == ["first"]
    databases.tick(20.1 + FIRST_READING_S)
    assert begun == ["first", "second"]


def test_without_catalogs_nobody_waits() -> None:
    databases = Databases(Routing())
    assert databases.may_begin("app", 10.0, lambda: None)
    databases.changed("app", redefined=False)
    databases.suspected("app")
    databases.entered("app", 10.0)
