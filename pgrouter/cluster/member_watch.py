"""One member as the monitor watches it: its prober, and what the router's own connections show when that fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from pgrouter.cluster.health import Probe
from pgrouter.cluster.names import is_name
from pgrouter.cluster.probe import Prober
from pgrouter.cluster.refusal import Refusal
from pgrouter.libpq.connection import NO_PROTECTION

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pgrouter.clock import Clock
    from pgrouter.cluster.health import ServerReport
    from pgrouter.config.settings import MonitorSettings
    from pgrouter.libpq.connection import Protection
    from pgrouter.planes import ClusterSubscriber

log = logging.getLogger("pgrouter.cluster")


class Owner(Protocol):
    """Who watches all members: `cluster.monitor`."""

    @property
    def subscriber(self) -> ClusterSubscriber:
        """Return whom it tells."""

    def heard(self, name: str, before: Probe, probe: Probe) -> None:
        """Called with what is known about a member after each outcome, and before it."""

    def pace_s(self, name: str) -> float:
        """Return the pause before the next probe of a member."""


class MemberWatch:
    """Watches one member at one address until it is stopped."""

    def __init__(  # noqa: PLR0913, PLR0917  (what a probe needs)
        self,
        name: str,
        address: tuple[str, int],
        settings: MonitorSettings,
        owner: Owner,
        clock: Clock,
        protection: Protection = NO_PROTECTION,
    ) -> None:
        self.name = name
        self.prober = Prober(address, settings, self, clock, protection)
        self._settings, self._owner, self._clock = settings, owner, clock
        self._probe = Probe()
        self._received: int | None = None  # by open connections at its last failure
        self._stopped = False

    def stop(self) -> Coroutine[Any, Any, None]:
        """Report nothing any more; return what closes the connection."""
        self._stopped = True
        return self.prober.stop()

    # What the prober reports and asks.

    def on_probe(self, probe: Probe) -> None:
        """Pass the outcome on."""
        if self._stopped:
            return
        before, self._probe = self._probe, probe
        if not probe.failures:
            self._received = None
        if probe.failures == 1 or (probe.error and probe.error != before.error):
            log.warning("cluster: probe of %s failed: %s", self.name, probe.error)
        elif before.lost and not probe.failures:
            log.info("cluster: %s answers again", self.name)
        if probe.report is not None:
            self._compare(before.report, probe.report)
        self._owner.heard(self.name, before, probe)

    def on_address(self, address: str) -> None:
        """Report where a host name was reached: clients' connections must go to the server that the monitor watches."""
        host, port = self.prober.address
        if is_name(host):
            self._owner.subscriber.found(host, port, address)

    def pace_s(self) -> float:
        """Return the pause before the next probe."""
        return self._owner.pace_s(self.name)

    def vouch(self, refusal: Refusal, *, silent: bool) -> float:
        """Return when open connections last proved that the server did not restart, although a probe failed; 0: never.

        A connection older than the server's last report proves it: if PostgreSQL answers there, a restart would have
        ended the connection; if nobody answers, what it has received since the previous failure proves it. If the
        server is out of connections, an idle one of the router's own makes room.
        """
        role = self._settings
        if refusal in (Refusal.FULL, Refusal.LIMIT):
            self._owner.subscriber.make_room(self.name, role.user, role.database, same=refusal is Refusal.LIMIT)
        report = self._probe.report
        received = self._owner.subscriber.received(self.name, report.asked_s) if report is not None else None
        if received is None or not (silent or refusal is not Refusal.NONE):
            return 0.0
        before = received if self._received is None else self._received
        self._received = received
        return self._clock() if refusal is not Refusal.NONE or received > before else 0.0

    def _compare(self, before: ServerReport | None, now: ServerReport) -> None:
        """Report changed session defaults there and, once, what the router's role may not see."""
        if before is not None and "" != before.defaults != now.defaults:
            log.info(
                "cluster: %s has loaded its configuration, or ALTER ROLE or DATABASE ... SET was run: "
                "older server connections are replaced when they are free",
                self.name,
            )
            self._owner.subscriber.defaults_changed(self.name)
        if now.unseen and (before is None or not before.unseen):
            log.warning("cluster: %s does not show %s to %s", self.name, now.unseen, self._settings.user)
