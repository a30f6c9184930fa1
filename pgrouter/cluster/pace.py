"""How often a member is probed. Pure; `cluster.monitor` explains when which of these applies."""

from __future__ import annotations

AWAITED_S = 0.05  # between two probes of a leader whose own report is missing
STATIC_S = 0.5  # between two probes of static members at most: a promotion must be noticed within a second
ALERT_S = 0.1  # between two probes while something is going on
ALERT_FOR_S = 3.0  # after the last change


def pace_s(interval_s: float, *, failures: int, awaited: bool, alert: bool, silent: bool = False) -> float:
    """Return the pause before the next probe of a member."""
    if awaited:
        return min(AWAITED_S, interval_s)
    if silent:  # the timeout was pause enough: reads wait for this
        return 0.0
    if failures:
        return min(ALERT_S * 2.0 ** min(failures - 1, 16), interval_s)
    return min(ALERT_S, interval_s) if alert else interval_s
