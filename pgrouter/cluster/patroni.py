"""Source `patroni`: GET /cluster of every member's Patroni, each polled by a task of its own.

One that hangs does not delay the others. Members named in the answers are polled as well, so that one URL is enough to
start with; URLs that belong to no member (a load balancer, another name of the same host) are asked only while none of
the members' answers, or one Patroni would count twice. `cluster.patroni_consensus` decides between different answers.

How often: every `interval` while all is well; every 0.1 s while nobody leads, while answers differ, and while the
leader's own Patroni is silent but its key may still last, since it is then about to expire. A member that reports to be
primary without being named makes all Patronis be asked at once (`refresh`).

When Patroni cannot reach its DCS, it closes the connection without an answer, after about `retry_timeout`: that is a
failure like any other, and when none answers the DCS counts as out of reach.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from pgrouter.clock import monotonic
from pgrouter.cluster.health import LOST_AFTER
from pgrouter.cluster.http import HttpError, get
from pgrouter.cluster.patroni_consensus import Agreement, PatroniReport, agree
from pgrouter.cluster.patroni_rest import NotPatroniError, base_url, read_answer
from pgrouter.cluster.tls import tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from pgrouter.clock import Clock
    from pgrouter.cluster.health import Probe
    from pgrouter.cluster.patroni_keys import Snapshot
    from pgrouter.config.settings import Patroni
    from pgrouter.topology import ClusterView

log = logging.getLogger("pgrouter.cluster")

ALERT_S = 0.1  # between two requests while something is going on
LEAST_PAUSE_S = 0.02  # however often `refresh` is called
FACTS_S = 10.0  # between two requests for what hardly ever changes
FACTS = ("/config", "/history", "/patroni")


class PatroniSource:
    """Polls one cluster's Patronis and combines their answers."""

    def __init__(self, settings: Patroni, clock: Clock = monotonic) -> None:
        self.settings = settings
        self.clock = clock
        scheme = "https" if settings.tls else "http"
        self._seeds = frozenset(filter(None, (base_url(url, scheme) for url in settings.urls)))
        self._pollers: dict[str, _Poller] = {}
        self._retired: set[asyncio.Task[None]] = set()  # canceled, still ending
        self._reports: dict[str, PatroniReport] = {}
        self._agreed: Agreement | None = None
        self._context: ssl.SSLContext | None = None
        self._on_change: Callable[[], None] = lambda: None

    def start(self, on_change: Callable[[], None]) -> None:
        """Start polling."""
        self._on_change = on_change
        self._follow(self._seeds)

    async def stop(self) -> None:
        """Stop polling; requests under way are abandoned."""
        self._on_change = lambda: None
        self._follow(frozenset())
        if self._retired:
            await asyncio.wait(list(self._retired))

    def refresh(self) -> None:
        """Ask all Patronis now."""
        self._hurry_all()

    def current(self, previous: ClusterView, probes: Mapping[str, Probe]) -> Snapshot | None:  # noqa: ARG002 - Source
        """Return the newest snapshot; with `reachable` False it is the last known state."""
        return self._agreed.snapshot if self._agreed else None

    # Called by pollers.

    def heard(self, url: str, report: PatroniReport) -> None:
        """Called with a Patroni's report after each answer or failure."""
        if url not in self._reports:
            return  # it is no longer polled
        self._log_change(url, self._reports[url], report)
        self._reports[url] = report
        agreed = agree(self._agreed.snapshot if self._agreed else None, self._reports, self.clock())
        if agreed is None:
            return
        was, self._agreed = self._agreed, agreed
        if was is not None and was.snapshot.reachable != agreed.snapshot.reachable:
            _report_reach(reachable=agreed.snapshot.reachable)
        self._follow(self._wanted(agreed))
        if was is None or agreed.doubtful > was.doubtful or was.snapshot.leader != agreed.snapshot.leader:
            self._hurry_all(but=url)
        elif report.failures == 1 and report.member == agreed.snapshot.leader:
            self._hurry_all()
        self._on_change()

    def pace_s(self, report: PatroniReport) -> float:
        """Return the pause before the next request to a Patroni."""
        interval_s = self.settings.interval_s
        if report.failures:
            return min(ALERT_S * 2.0 ** min(report.failures - 1, 16), interval_s)
        return min(ALERT_S, interval_s) if self._alert() else interval_s

    def context(self) -> ssl.SSLContext:
        """Return the TLS context; rebuilt after a failure, since files may have been replaced. Raises OSError."""
        if self._context is None:
            self._context = tls_context(self.settings.tls)
        return self._context

    def headers(self, url: str) -> dict[str, str]:
        """Return the password's header, for intended recipients only: never in clear text if https is configured."""
        settings = self.settings
        secure = all(seed.startswith("https:") for seed in self._seeds)
        if not settings.username or (secure and not url.startswith("https:")):
            return {}
        who = base64.b64encode(f"{settings.username}:{settings.password}".encode()).decode()
        return {"Authorization": f"Basic {who}"}

    # Internal.

    def _alert(self) -> bool:
        if self._agreed is None or self._agreed.doubtful:
            return True
        leader = self._agreed.snapshot.leader
        lasts_s = self._agreed.snapshot.config.ttl_s + FACTS_S
        return any(
            report.failures and report.member == leader and self.clock() - report.asked_s < lasts_s
            for report in self._reports.values()
        )

    def _wanted(self, agreed: Agreement) -> frozenset[str]:
        reports = (self._reports.get(url) for url in agreed.urls)
        found = any(report is not None and report.snapshot and report.failures < LOST_AFTER for report in reports)
        return agreed.urls if found else agreed.urls | self._seeds

    def _follow(self, urls: frozenset[str]) -> None:
        """Poll exactly these URLs."""
        for url in self._pollers.keys() - urls:
            del self._reports[url]
            task = self._pollers.pop(url).stop()
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
        for url in sorted(urls - self._pollers.keys()):
            self._reports[url] = PatroniReport()
            self._pollers[url] = _Poller(url, self)

    def _hurry_all(self, but: str = "") -> None:
        for url, poller in self._pollers.items():
            if url != but:
                poller.wanted.set()

    def _log_change(self, url: str, before: PatroniReport, report: PatroniReport) -> None:
        if report.failures:
            self._context = None
            if report.error != before.error:
                log.warning("Patroni at %s: %s", url, report.error)
        elif before.failures:
            log.info("Patroni at %s answers again", url)


def _report_reach(*, reachable: bool) -> None:
    if reachable:
        log.warning("Patroni's REST API is reachable again")
    else:
        log.error("no Patroni answers; going on from what was last known")


class _Poller:
    """Polls one Patroni until it is stopped."""

    def __init__(self, url: str, source: PatroniSource) -> None:
        self.wanted = asyncio.Event()
        self._url, self._source = url, source
        self._own_report = PatroniReport()
        self._facts: dict[str, bytes] = {}
        self._facts_s = float("-inf")
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"patroni {url}")

    def stop(self) -> asyncio.Task[None]:
        """Abandon the request under way; return the task, which then ends."""
        self._task.cancel()
        return self._task

    async def _run(self) -> None:
        while True:
            self.wanted.clear()
            try:
                await self._ask()
            except (HttpError, NotPatroniError, OSError, UnicodeError) as error:  # TimeoutError and SSL's are OSError
                self._failed(" ".join(str(error).split()) or f"no answer in time ({type(error).__name__})")
            except Exception as error:  # without its pollers the router would be blind, and nobody would notice
                log.exception("Patroni at %s: unexpected answer", self._url)
                self._failed(repr(error))
            await asyncio.sleep(LEAST_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._source.pace_s(self._own_report)):
                    await self.wanted.wait()

    async def _ask(self) -> None:
        asked_s = self._source.clock()  # the answer describes this moment; it may take long to arrive
        cluster = await self._get("/cluster")
        leader = self._own_report.leader
        self._heard(cluster, asked_s)
        if self._own_report.leader != leader or asked_s - self._facts_s >= FACTS_S:
            self._facts_s = asked_s
            if await self._learn():
                self._heard(cluster, asked_s)

    def _heard(self, cluster: bytes, asked_s: float) -> None:
        answer = read_answer(cluster, *(self._facts.get(path, b"") for path in FACTS))
        self._own_report = self._own_report.answered(self._url, answer, asked_s, self._source.clock())
        self._source.heard(self._url, self._own_report)

    def _failed(self, error: str) -> None:
        self._facts.pop("/patroni", None)  # it may come back as a member of another cluster
        self._own_report = self._own_report.failed(error)
        self._source.heard(self._url, self._own_report)

    async def _learn(self) -> bool:
        """Fetch what rarely changes; return whether it has. The system identifier is fetched once: it costs a query."""
        before = dict(self._facts)
        for path in FACTS:
            if path == "/patroni" and path in self._facts:
                continue
            with suppress(HttpError, OSError):
                self._facts[path] = await self._get(path)
        return self._facts != before

    async def _get(self, path: str) -> bytes:
        settings = self._source.settings
        context = self._source.context() if self._url.startswith("https:") else None
        async with asyncio.timeout(settings.connect_timeout_s + settings.request_timeout_s):
            return await get(
                self._url,
                path,
                context=context,
                headers=self._source.headers(self._url),
                connect_timeout_s=settings.connect_timeout_s,
            )
