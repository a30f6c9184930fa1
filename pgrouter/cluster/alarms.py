"""Which servers report that they are primary although another one leads. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.cluster.health import Probe
    from pgrouter.topology import ClusterView


def second_primaries(probes: Mapping[str, Probe], leader: str | None, since_s: float) -> list[str]:
    """Return the servers that reported to be primary after another one had been named leader."""
    reports = ((name, probe.valid_report) for name, probe in probes.items() if leader not in (None, name))
    return [name for name, report in reports if report and report.role is Role.PRIMARY and report.asked_s > since_s]


def same_server(view: ClusterView, probes: Mapping[str, Probe], name: str | None) -> frozenset[str]:
    """Return the members that are the same server as this one under another name."""
    known = view.member(name) if name is not None else None
    if known is None:
        return frozenset()
    started = _started(probes.get(known.name))
    return frozenset(
        member.name
        for member in view.members
        if (member.host, member.port) == (known.host, known.port)
        or (started is not None and _started(probes.get(member.name)) == started)
    )


def _started(probe: Probe | None) -> tuple[str, str] | None:
    report = probe.report if probe else None
    return (report.system_id, report.started) if report and report.started else None
