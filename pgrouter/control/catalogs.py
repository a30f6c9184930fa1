"""Keeps the databases' catalogs up to date: read from the primary, and again when something may have changed.

A catalog is read when a client first uses the database, after a statement that changes it has passed through the
router, and when its digest has changed, for changes made elsewhere. The digest is queried every second if that is
cheap, else every `routing.catalog_interval`, and when there is a sign of changes, which is checked twice a second
(catalog_sign.sql). While all of this works the database is watched, which is reported (`watched`), as is each sign.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from pgrouter.control import catalog_reader, trial
from pgrouter.errors import RouterError
from pgrouter.libpq.connection import protection
from pgrouter.routing.catalog import always, configured, pending
from pgrouter.routing.catalog_build import Judged
from pgrouter.routing.catalog_facts import read_facts

if TYPE_CHECKING:
    from pgrouter.config.settings import Settings
    from pgrouter.planes import CatalogSubscriber, ClusterService
    from pgrouter.routing.catalog import Catalog

log = logging.getLogger("pgrouter.catalog")

LEAST_PAUSE_S = 0.2  # between two readings: a thousand DDL statements do not cause a thousand readings
SIGN_PAUSE_S = 0.5  # between two checks for a sign of changes
DIGEST_PAUSE_S = 1.0  # between two digests, at least
PAUSE_PER_SIGN = 10  # temporary tables also cause signs, and functions that cannot be read cause suspicion
PAUSE_PER_READING = 50  # a digest of 100,000 objects takes most of a second of the primary's time
RETRY_S = 1.0  # after a failure, doubled each time
LAST_RETRY_S = 30.0


class Catalogs:
    """Reads the catalogs of the databases in use; the subscriber gets each new one, in the event loop.

    A database without clients is left alone until it has one again.
    """

    def __init__(self, settings: Settings, cluster: ClusterService) -> None:
        self._settings, self._interval_s = settings.cluster.monitor, settings.routing.catalog_interval_s
        self._protection = protection(settings.servers)
        self._cluster = cluster
        self._configured = configured(settings.routing)
        self._subscriber: CatalogSubscriber
        self._woken: dict[str, asyncio.Event] = {}
        self._changed: set[str] = set()  # databases to be read again whatever their digest is
        self._suspected: set[str] = set()  # databases whose digest is to be queried soon
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()  # of databases that were forgotten
        self._redefinitions: Counter[str] = Counter()  # a reading during which one arrives must be discarded
        self._left: set[str] = set()  # databases that must have no sessions for a moment
        self._tried: set[int] = set()  # bodies of functions that do not crash the parser
        self._known: set[str] = set()  # databases whose published catalog is still valid

    def start(self, subscriber: CatalogSubscriber) -> None:
        """Report to this subscriber from now on; nothing is read before a database is in use."""
        self._subscriber = subscriber

    def use(self, database: str) -> None:
        """Start to follow the catalog of a database, or continue: it is in use."""
        if database in self._tasks:
            self.suspect(database)
        else:
            self._woken[database] = asyncio.Event()
            self._tasks[database] = asyncio.get_running_loop().create_task(
                self._follow(database), name=f"catalog of {database}"
            )

    def changed(self, database: str, *, redefined: bool) -> None:
        """Read it again, now; `redefined`: the known catalog may be wrong, so it counts as unknown until then."""
        if database in self._woken:
            if redefined:
                self._redefinitions[database] += 1
                self._known.discard(database)
                self._subscriber.adopt(database, always(pending(self._configured)), None)
            self._changed.add(database)
            self._woken[database].set()

    def suspect(self, database: str) -> None:
        """Query its digest soon: something may have changed it."""
        if database in self._woken:
            self._suspected.add(database)
            self._woken[database].set()

    def forget(self, database: str) -> None:
        """Stop following a database, and close the connection to it."""
        task = self._tasks.pop(database, None)
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        self._woken.pop(database, None)
        self._redefinitions.pop(database, None)
        for names in (self._changed, self._suspected, self._left, self._known):
            names.discard(database)

    def close_unused_databases(self) -> None:
        """Close connections to databases without clients, for a moment."""
        for database, woken in self._woken.items():
            if not self._subscriber.in_use(database):
                self._left.add(database)
                woken.set()

    async def stop(self) -> None:
        """Stop reading."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._ending, return_exceptions=True)

    async def _follow(self, database: str) -> None:
        loop = asyncio.get_running_loop()
        reader = catalog_reader.CatalogReader()
        digest = sign = ""
        failures = 0
        try:
            while True:
                known = "" if database in self._changed else digest
                self._changed.discard(database)
                self._suspected.discard(database)
                began_s = loop.time()
                try:
                    digest, sign = await self._read(database, reader, known)
                    failures = 0
                    self._subscriber.watched(database, sign=False)
                except RouterError as error:
                    failures += 1
                    self._unreadable(database, error)
                except Exception:
                    failures += 1
                    log.exception("bug while reading the catalog of %s", database)
                took_s = loop.time() - began_s
                await asyncio.sleep(LEAST_PAUSE_S)
                await self._watch(database, reader, sign, failures, took_s)
                while database in self._left or not (self._is_due(database) or self._subscriber.in_use(database)):
                    self._left.discard(database)
                    reader.close()  # or the database could not be dropped
                    await self._sleep(database, DIGEST_PAUSE_S)
        finally:
            reader.close()

    def _is_due(self, database: str) -> bool:
        return database in self._changed or database in self._suspected

    async def _read(self, database: str, reader: catalog_reader.CatalogReader, known: str) -> tuple[str, str]:
        """Read and publish the catalog unless its digest is known; return the digest, and the sign from before."""
        view = self._cluster.view
        source = view.primary or (view.leader if view.standby else None)  # a standby cluster's leader has a copy
        member = view.member(source) if source else None
        if member is None:
            raise RouterError("the catalog could not be read", detail="there is no primary")
        redefinitions = self._redefinitions[database]
        address = catalog_reader.conninfo(
            [(member.host, member.port)], database, self._settings, self._protection, writable=not view.standby
        )
        reading = await reader.read(address, known)
        if reading.document is not None:
            judged = await asyncio.to_thread(_judge, reading.document, self._configured, self._tried)
            if self._redefinitions[database] != redefinitions:
                return "", ""  # it is already out of date
            self._known.add(database)
            self._subscriber.adopt(database, judged.catalog, judged.idle_timeout)
            log.info("catalog of %s: %s", database, judged.size)
        return reading.digest, reading.sign

    def _unreadable(self, database: str, error: RouterError) -> None:
        """Keep what was known; without that, relations count as plain tables and functions as writes."""
        if database not in self._known:
            self._known.add(database)
            log.warning("catalog of %s: %s: %s", database, error.message, error.detail)
            self._subscriber.adopt(database, always(self._configured), None)

    async def _watch(
        self, database: str, reader: catalog_reader.CatalogReader, sign: str, failures: int, took_s: float
    ) -> None:
        """Wait until the next reading is due: after the interval, later after failures, or when there is a sign."""
        loop = asyncio.get_running_loop()
        soon_s = loop.time() + took_s * PAUSE_PER_SIGN
        due_s = loop.time() + self._pause_s(failures, took_s)
        while database not in self._changed and database not in self._left and self._subscriber.in_use(database):
            if database in self._suspected:
                due_s = min(due_s, soon_s)
            left_s = due_s - loop.time()
            if left_s <= 0:
                return
            await self._sleep(database, left_s if failures else min(left_s, SIGN_PAUSE_S))
            if failures:
                continue
            try:
                seen = await reader.sign()
            except RouterError:
                return  # a reading will fail, too
            if seen != sign:  # the digest shows whether it matters
                sign = seen
                due_s = min(due_s, soon_s)
                self._subscriber.watched(database, sign=True)
            else:
                self._subscriber.watched(database, sign=False)

    def _pause_s(self, failures: int, took_s: float) -> float:
        if failures:
            return min(LAST_RETRY_S, RETRY_S * 2.0 ** min(failures - 1, 16))
        least_s = took_s * PAUSE_PER_READING
        return max(least_s, min(self._interval_s, max(DIGEST_PAUSE_S, least_s * len(self._tasks))))

    async def _sleep(self, database: str, pause_s: float) -> None:
        """Wait this long, or until something has happened to the database."""
        woken = self._woken[database]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await woken.wait()
        woken.clear()


def _judge(document: str, configured: Catalog, tried: set[int]) -> Judged:
    """Decode and judge a catalog, in a thread, with the garbage collector off: it would stop all threads."""
    gc.disable()
    try:
        return Judged(trial.harmless(read_facts(document), tried), configured)
    except msgspec.DecodeError as error:
        raise RouterError("the catalog could not be read", detail=f"the answer makes no sense: {error}") from None
    finally:
        gc.enable()
