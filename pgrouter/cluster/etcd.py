"""Source `etcd`: Patroni's keys in etcd v3, followed in one daemon thread.

etcd3gw provides the requests, their errors and the TLS session. Its own watch is not used: it dies silently when etcd
goes away, compacts or cancels, has no timeout and knows one endpoint only. So POST /v3/watch is read here.

One rule makes resume logic unnecessary: each session is a linearizable read of the prefix at revision R, then a watch
from R + 1, then, on silence or anything unexpected, a new session. Nothing is missed, nothing is stale for longer than
`idle` plus the timeouts of one request, and compaction is no special case.

Source: etcd docs, "gRPC gateway" and "API guarantees".
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import etcd3gw
import requests
import urllib3
from msgspec.structs import replace

from pgrouter.clock import monotonic
from pgrouter.cluster.etcd_keys import KeySpace, WatchLostError
from pgrouter.cluster.http import cause_of
from pgrouter.cluster.patroni_keys import Snapshot
from pgrouter.cluster.tls import TlsAdapter, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrouter.clock import Clock
    from pgrouter.cluster.health import Probe
    from pgrouter.config.settings import Etcd
    from pgrouter.topology import ClusterView

log = logging.getLogger("pgrouter.cluster")

FIRST_BACKOFF_S = 0.05
MOST_BACKOFF_S = 2.0
STOP_MARGIN_S = 1.0
LIVED_S = 1.0  # a watch that ends sooner counts as a failure of its endpoint, to avoid spinning
UNREACHABLE = "etcd cannot be reached"
NO_AUTHENTICATION = "authentication is not enabled"


class EtcdSource:
    """Follows one Patroni cluster's keys and delivers the newest snapshot to the loop that started it."""

    def __init__(self, settings: Etcd, clock: Clock = monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._watcher: _Watcher | None = None
        self._ended: asyncio.Future[None] | None = None

    def start(self, on_change: Callable[[], None]) -> None:
        """Start the thread."""
        loop = asyncio.get_running_loop()
        ended = self._ended = loop.create_future()

        def take(snapshot: Snapshot) -> None:
            if not ended.done() and self._watcher is not None:
                self._snapshot = snapshot
                on_change()

        self._watcher = _Watcher(
            self._settings,
            self._clock,
            deliver=lambda snapshot: _call(loop, take, snapshot),
            ended=lambda: _call(loop, _resolve, ended),
        )
        self._watcher.start()

    async def stop(self) -> None:
        """End the thread, even if it is blocked in a read; a request under way may take until its timeout."""
        watcher, self._watcher = self._watcher, None
        if watcher is None or self._ended is None:
            return
        watcher.halt()
        longest_s = self._settings.connect_timeout_s + self._settings.request_timeout_s + STOP_MARGIN_S
        try:
            async with asyncio.timeout(longest_s):
                await self._ended
        except TimeoutError:  # say, a resolver that hangs: a daemon thread does not delay the process's exit
            log.warning("etcd: the watcher did not end within %.1f s and is left behind", longest_s)
        else:
            watcher.join()

    def refresh(self) -> None:
        """Read everything again now, from the next endpoint."""
        if self._watcher is not None:
            self._watcher.again()

    def current(self, previous: ClusterView, probes: Mapping[str, Probe]) -> Snapshot | None:  # noqa: ARG002 - Source
        """Return the newest snapshot; with `reachable` False it is the last known state."""
        return self._snapshot


class _Watcher(threading.Thread):
    """The thread: runs sessions with one endpoint after another until halted."""

    def __init__(
        self,
        settings: Etcd,
        clock: Clock,
        *,
        deliver: Callable[[Snapshot], object],
        ended: Callable[[], object],
    ) -> None:
        super().__init__(name="pgrouter-etcd", daemon=True)
        self._settings, self._clock, self._deliver, self._ended = settings, clock, deliver, ended
        self._keys = KeySpace(prefix_of(settings))
        self._clients = [_client(endpoint, settings) for endpoint in settings.endpoints]
        self._turn = random.randrange(len(self._clients))  # noqa: S311 - spreads routers over the endpoints
        self._unread = 0  # consecutive attempts that read nothing
        self._lost = 0  # consecutive attempts whose watch did not last
        self._last = Snapshot()
        self._read_s = 0.0  # when the keys were last asked for
        self._reign = 0  # revision of the leader key of self._last
        self._announced = 0  # the same for the failover key
        self._open = False  # etcd has reported that authentication is off
        self._secured: set[etcd3gw.Etcd3Client] = set()  # clients that have a TLS context
        self._logged: dict[str, str] = {}  # each endpoint's trouble that has already been logged
        self._lock = threading.Lock()  # guards _response
        self._response: requests.Response | None = None
        self._halted, self._hurried = threading.Event(), threading.Event()

    # Called from the event loop.

    def halt(self) -> None:
        """Ask the thread to end."""
        self._halted.set()
        self._wake()

    def again(self) -> None:
        """Ask the thread for a new session."""
        self._hurried.set()
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._response is not None:
                try:
                    self._response.raw.shutdown()  # wakes a read that blocks in the other thread
                except (OSError, ValueError, RuntimeError):  # it has already ended
                    log.debug("etcd: the watch was over before it was shut down", exc_info=True)

    # The thread.

    def run(self) -> None:
        """Run sessions until halted."""
        try:
            while not self._halted.is_set():
                self._attempt(self._clients[self._turn])
        finally:
            for client in self._clients:
                client.session.close()
            self._ended()

    def _attempt(self, client: etcd3gw.Etcd3Client) -> None:
        started_s = self._clock()
        self._hurried.clear()
        self._unread += 1
        try:
            self._session(client)
        except etcd3gw.exceptions.Etcd3Exception as error:
            trouble = cause_of(getattr(error, "detail_text", None) or str(error)) or type(error).__name__
        except (WatchLostError, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            trouble = cause_of(str(error)) or type(error).__name__
        except Exception as error:  # without its watcher the router would be blind, and nobody would notice
            log.exception("etcd %s: unexpected answer", client.base_url)
            trouble = repr(error)
        else:
            self._lost = 0
            return
        if self._halted.is_set():
            return
        client.session.headers.pop("Authorization", None)  # the token may have expired, or died with its etcd
        self._secured.discard(client)
        self._turn = (self._turn + 1) % len(self._clients)
        if self._hurried.is_set():
            return
        self._lost = 0 if self._clock() - started_s >= LIVED_S and self._unread == 0 else self._lost + 1
        self._report(client.base_url, trouble)
        self._halted.wait(backoff_s(self._lost, len(self._clients)))

    def _report(self, endpoint: str, trouble: str) -> None:
        if self._logged.get(endpoint) != trouble:
            self._logged[endpoint] = trouble
            log.warning("etcd %s: %s", endpoint, trouble)
        if self._last.reachable and self._unread >= max(2, len(self._clients)):
            silent_s = self._clock() - self._last.heard_s if self._last.heard_s else 0.0
            log.error("etcd cannot be reached, silent for %.1f s; going on from what was last known", silent_s)
            self._last = replace(self._last, reachable=False, trouble=UNREACHABLE)
            self._deliver(self._last)

    def _session(self, client: etcd3gw.Etcd3Client) -> None:
        """Read everything, then watch; return on silence, raise if the watch is lost."""
        self._secure(client)
        self._authenticate(client)
        asked_s = self._clock()  # the answer describes this moment; it may take long to arrive
        self._keys.read(client.post(client.get_url("/kv/range"), json=self._keys.range))
        if not self._last.reachable:
            log.warning("etcd %s: reachable again", client.base_url)
        self._unread = 0
        self._logged.clear()
        self._read_s = asked_s
        self._deliver_keys(asked_s)
        create: dict[str, Any] = {"create_request": {**self._keys.range, "start_revision": self._keys.revision + 1}}
        with client.session.post(
            client.get_url("/watch"),
            json=create,
            stream=True,
            timeout=(self._settings.connect_timeout_s, self._settings.idle_s),
            # Without it an etcd member that is cut off from its quorum keeps the watch open and silent.
            headers={"Grpc-Metadata-hasleader": "true"},
        ) as response:
            self._expose(response)
            try:
                self._follow(response)
            finally:
                self._expose(None)

    def _secure(self, client: etcd3gw.Etcd3Client) -> None:
        """Use our context for https; rebuilt after a failure, since files may have been replaced. Raises OSError."""
        if client not in self._secured and client.base_url.startswith("https:"):
            client.session.mount("https://", TlsAdapter(tls_context(self._settings.tls)))
            self._secured.add(client)

    def _authenticate(self, client: etcd3gw.Etcd3Client) -> None:
        """Get a token, unless etcd's authentication is off: then continue without one, as Patroni does.

        Each session asks again, so there is a token within `idle` of authentication being turned on.
        """
        if not self._settings.username or "Authorization" in client.session.headers:
            return
        who = {"name": self._settings.username, "password": self._settings.password}
        try:
            answer = client.post(client.get_url("/auth/authenticate"), json=who)
        except etcd3gw.exceptions.Etcd3Exception as error:
            if NO_AUTHENTICATION not in (getattr(error, "detail_text", None) or str(error)):
                raise
            if not self._open:
                log.warning("etcd %s: authentication is not enabled there: going on without a token", client.base_url)
            self._open = True
        else:
            client.session.headers["Authorization"] = answer["token"]
            if self._open:
                log.info("etcd %s: authentication is enabled now", client.base_url)
            self._open = False

    def _expose(self, response: requests.Response | None) -> None:
        with self._lock:
            self._response = response

    def _follow(self, response: requests.Response) -> None:
        if response.status_code != requests.codes.ok:
            raise WatchLostError(f"HTTP {response.status_code} {response.text[:200]}")
        try:
            if self._interrupted():
                return
            for line in response.iter_lines():
                if self._interrupted():
                    return
                if line and self._keys.change(json.loads(line)):
                    self._deliver_keys(self._clock())
        except requests.ConnectionError as error:
            if error.args and isinstance(error.args[0], urllib3.exceptions.ReadTimeoutError):
                return  # silence: the next read shows whether etcd is alive
            raise
        raise WatchLostError("etcd ended the watch")

    def _interrupted(self) -> bool:
        return self._halted.is_set() or self._hurried.is_set()

    def _deliver_keys(self, heard_s: float) -> None:
        """Deliver the state of the keys at `heard_s`."""
        snapshot, reign = self._keys.snapshot()
        goes_on = (snapshot.leader, reign) == (self._last.leader, self._reign)
        announced = self._keys.written("failover")
        known = announced == self._announced
        self._reign, self._announced = reign, announced
        self._last = replace(
            snapshot,
            heard_s=heard_s,
            read_s=self._read_s,
            leader_since_s=self._last.leader_since_s if goes_on or snapshot.leader is None else self._clock(),
            switchover_since_s=self._last.switchover_since_s if known else self._clock(),
        )
        self._deliver(self._last)


def backoff_s(lost: int, endpoints: int) -> float:
    """Return the pause after this many consecutive failures: none in the first round over all endpoints."""
    if lost < endpoints:
        return 0.0
    longest_s = min(MOST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(lost - endpoints, 16))
    return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def prefix_of(settings: Etcd) -> str:
    """Return the prefix of all keys of the cluster: `/<namespace>/<scope>/`, with single slashes."""
    parts = (*settings.namespace.split("/"), *settings.scope.split("/"))
    return "/" + "".join(f"{part}/" for part in parts if part)


def _client(endpoint: str, settings: Etcd) -> etcd3gw.Etcd3Client:
    url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    tls = settings.tls
    session = requests.Session()
    session.trust_env = False  # or REQUESTS_CA_BUNDLE overrides `ca`, and *_PROXY redirects us
    return etcd3gw.Etcd3Client(
        host=url.hostname or "127.0.0.1",
        port=url.port or 2379,
        protocol=url.scheme or ("https" if tls else "http"),
        timeout=(settings.connect_timeout_s, settings.request_timeout_s),  # type: ignore[arg-type] # goes to requests
        api_path="/v3/",  # served since etcd 3.4; avoids a GET /version for discovery
        session=session,
    )


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:  # the loop is closed: nobody to notify
        log.debug("etcd: the event loop ended before the watcher", exc_info=True)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
