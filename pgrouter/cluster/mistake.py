"""Why no member can be found at all, if the likely cause is the configuration and not the members.

Only before any server has ever answered: after that, the configuration has been right once. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgrouter.cluster.refusal import LOGIN, ONE_ROLE
from pgrouter.topology import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.cluster.health import Probe
    from pgrouter.cluster.patroni_keys import Snapshot

_SERVERS = re.compile(r": [^\s:]+: (.*)")  # what follows the address and the severity, see `refusal.plain`


def mistake(snapshot: Snapshot, probes: Iterable[Probe]) -> Mistake | None:
    """Return what keeps all members from being found, with a hint; None: no such mistake."""
    probes = list(probes)
    if any(probe.report is not None for probe in probes):
        return None
    if not snapshot.members:
        if not snapshot.reachable:
            return Mistake(snapshot.trouble, "Check where the configuration says it is; the log has every answer.")
        return Mistake(snapshot.trouble, "") if snapshot.trouble else None
    refused = [probe for probe in probes if probe.refused and _is_for_good(probe.error)]
    if not refused or len(refused) < len(snapshot.members):
        return None
    said = _SERVERS.search(refused[0].error)
    return Mistake(
        f"every server refuses the router's own login: {said[1] if said else refused[0].error}",
        "Check cluster.monitor.user, cluster.monitor.password and cluster.monitor.database, and pg_hba.conf.",
    )


def _is_for_good(error: str) -> bool:
    return LOGIN.search(error) is not None and ONE_ROLE.search(error) is None
