"""What follows when the router's own process was stopped: SIGSTOP, a frozen container, a machine without CPU. Pure.

Another leader may have been elected meanwhile, and the last leader may still take writes: its Patroni is gone, or was
stopped as well. So after a stall writes are held until the source has been asked afresh, and the leader's report must
answer a query sent after the stall, as at the beginning of a reign.

If the source does not answer, the servers do, as always while the DCS is out of reach: once all of them have been asked
again, none of them promoted past the leader. The same is enough after MOST_S, so that no hold lasts for ever: with
source `patroni` most of the Patronis may be gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.cluster.health import Probe
    from pgrouter.cluster.patroni_keys import Snapshot

MOST_S = 5.0


class Stall(Struct, frozen=True, gc=False):
    """The process stood still for so many seconds, until this time of the router's clock."""

    lasted_s: float
    ended_s: float

    @property
    def reason(self) -> str:
        """Return why writes are held, as a predicate of the leader."""
        return f"the router itself stood still for {self.lasted_s:.1f} s and has not heard since who leads"

    def is_over(self, snapshot: Snapshot, probes: Iterable[Probe], now_s: float) -> bool:
        """Whether what is known is from after the stall; `probes`: of all members."""
        if snapshot.read_s >= self.ended_s:
            return True
        source_is_late = not snapshot.reachable or now_s >= self.ended_s + MOST_S
        return source_is_late and all(probe.asked_s >= self.ended_s for probe in probes)
