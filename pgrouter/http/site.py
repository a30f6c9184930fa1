"""What is at which path, and who may see it. No IO: a request in, an answer out."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgrouter.admin.context import Context
from pgrouter.http import health
from pgrouter.http.cluster import cluster
from pgrouter.http.events import sent
from pgrouter.http.haproxy import csv
from pgrouter.http.message import Answer, Request, failure, json
from pgrouter.http.pools import pools
from pgrouter.metrics.exposition import chosen, writing
from pgrouter.metrics.others import OTHERS
from pgrouter.metrics.snapshot import taking
from pgrouter.metrics.table import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sized

    from pgrouter.admin.context import App
    from pgrouter.config.settings import Reads
    from pgrouter.http.events import History
    from pgrouter.http.health import Health
    from pgrouter.topology import ClusterView

METHODS = "GET, HEAD, OPTIONS"
READ_METHODS = ("GET", "HEAD")
ALLOW = ("Allow", METHODS)
CSV = "text/plain; charset=utf-8"  # as HAProxy has it
EVENTS = "text/event-stream"
MAX_FOLLOWERS = 16
FILES = {name: (files(__package__) / name).read_bytes() for name in ("page.html", "page.css", "page.js")}
UNAUTHORIZED = failure(401, "a token is needed: Authorization: Bearer ...", ("WWW-Authenticate", "Bearer"))

Check = Callable[["ClusterView", "Reads", "int | None"], "Health"]


class Path(NamedTuple):
    """What answers at a path."""

    answer: Callable[[Site, Request], Answer]
    open: bool = False  # also without the token
    health: bool = False  # OPTIONS is answered as GET is, without a body, as Patroni does


class Site:
    """All paths of one router."""

    def __init__(self, app: App, history: History, followers: Sized) -> None:
        self.app = app
        self._history = history
        self._followers = followers

    def answer(self, request: Request) -> Answer:
        """Answer a request."""
        path = PATHS.get(request.path)
        if path is None:
            return failure(404, "there is nothing at this path")
        if not path.open and not request.authorized:
            return UNAUTHORIZED
        if request.method == "OPTIONS":
            status = path.answer(self, request).status if path.health else 200
            return Answer(status, headers=(ALLOW,))
        if request.method not in READ_METHODS:
            return failure(405, f"only {METHODS}", ALLOW)
        return path.answer(self, request)

    def metrics(self, request: Request) -> Answer:
        """Return the metrics, in the format that is wanted, under the names that the settings want."""
        http = self.app.registry.settings.http
        names = http.names if http is not None else ()
        tables = [METRICS, *(OTHERS[name] for name in names)]
        format_ = chosen(request.accept)

        def body() -> Iterator[bytes | None]:
            snapshot = yield from taking(self.context(), averages="cnpg" in names)
            yield from writing(chain.from_iterable(tables), snapshot, format_.encode)

        return Answer(200, body(), format_.content_type)

    def haproxy(self, _request: Request) -> Answer:
        """Return the members as HAProxy's statistics."""

        def body() -> Iterator[bytes | None]:
            yield from csv((yield from taking(self.context())))

        return Answer(200, body(), CSV)

    def pools(self, _request: Request) -> Answer:
        """Return the busiest pools."""

        def body() -> Iterator[bytes | None]:
            yield msgspec.json.encode((yield from pools((yield from taking(self.context())))))

        return Answer(200, body())

    def events(self, _request: Request) -> Answer:
        """Return what has happened, and stay."""
        if len(self._followers) >= MAX_FOLLOWERS:
            return failure(503, f"{MAX_FOLLOWERS} clients follow the events already", ("Retry-After", "10"))
        return Answer(200, self._history.kept() + sent("cluster", self.cluster()), EVENTS, stays=True)

    def context(self) -> Context:
        """Return what the console's commands see."""
        return Context(self.app, None, self.app.poller.now, time.time())

    def cluster(self) -> Mapping[str, object]:
        """Return the cluster as GET /cluster shows it."""
        monitor, settings = self.app.monitor, self.app.registry.settings.cluster
        scope = settings.etcd.scope if settings.source == "etcd" and settings.etcd else ""
        return cluster(monitor.view, source=monitor.source_name, scope=scope, draining=self.app.pools.draining)


def _health(check: Check, *, drains: bool = True) -> Path:
    """Return what answers with 200 or 503; `drains`: 503 as soon as the router accepts no more clients."""

    def answer(site: Site, request: Request) -> Answer:
        most_lag = None
        if "lag" in request.query:
            most_lag = health.size(request.query["lag"])
            if most_lag is None:
                return failure(400, "lag is a number of bytes, or one with B, kB, MB, GB or TB")
        if drains and site.app.pools.draining:
            found = health.Health(ok=False, reason=health.DRAINING)
        else:
            found = check(site.app.monitor.view, site.app.registry.settings.reads, most_lag)
        told: dict[str, object] = {"status": "ok" if found.ok else "unavailable"}
        if found.reason and request.authorized:
            told["reason"] = found.reason
        return json(told, 200 if found.ok else 503)

    return Path(answer, open=True, health=True)


def _file(name: str, kind: str) -> Path:
    """Return what answers with a file, which says nothing of the router."""
    answer = Answer(200, FILES[name], kind)
    return Path(lambda _site, _request: answer, open=True)


_PRIMARY, _LIVE, _READY = _health(health.primary), _health(health.live, drains=False), _health(health.ready)

PATHS: dict[str, Path] = {
    "/live": _LIVE,
    "/liveness": _LIVE,
    "/ready": _READY,
    "/readiness": _READY,
    "/health": _READY,
    "/primary": _PRIMARY,
    "/read-write": _PRIMARY,
    "/leader": _PRIMARY,
    "/master": _PRIMARY,
    "/replica": _health(health.replica),
    "/read-only": _health(health.read_only),
    "/metrics": Path(Site.metrics),
    "/stats;csv": Path(Site.haproxy),
    "/;csv": Path(Site.haproxy),
    "/pools": Path(Site.pools),
    "/events": Path(Site.events),
    "/": _file("page.html", "text/html; charset=utf-8"),
    "/page.css": _file("page.css", "text/css; charset=utf-8"),
    "/page.js": _file("page.js", "text/javascript; charset=utf-8"),
    "/cluster": Path(lambda site, _request: json(site.cluster())),
}
