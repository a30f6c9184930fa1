"""Which members may be read from: the rules in `cluster.merge`'s docstring, as code. Pure.

Each function yields objections, the most important first: none means yes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.cluster.patroni_keys import is_set
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.cluster.case import Case, WriteDecision
    from pgrouter.cluster.health import Probe, ServerReport
    from pgrouter.cluster.patroni_keys import DcsMember

LAGS_BYTES, LAGS_TIME = "lags more than reads.max_lag_bytes", "lags more than reads.max_lag"
NEAR_BYTES = 16 * 1024 * 1024  # a WAL segment: how far apart replicas may be that were never seen to follow a primary
LAGS_OTHERS = "is more than 16 MB of WAL behind the newest position that is known, and no primary has been seen yet"
ASSUMED = "assumed to be up to date: no primary seen yet, same timeline and nearly the same position as the others"


def follows(server: DcsMember, case: Case, decision: WriteDecision) -> bool | None:
    """Whether a member follows the primary, or did when there last was one; None: there never was one.

    While there is no primary, only one thing changes the answer: that it streams again, on no older timeline. The same
    is true from the moment at which the primary was last known to be alive: its death ends all streams, and may be
    noticed later than that.
    """
    probe = case.probe(server.name)
    report = probe.valid_report
    was = case.followed(server)
    if report is not None and (case.is_foreign(report) or report.role is Role.PRIMARY):
        return False
    if decision.primary is not None:
        if report is None:
            return False if probe.lost else was  # one failure is tolerated
        if probe.timeline != decision.timeline or probe.streams:
            return probe.timeline == decision.timeline
        return False if case.probe(decision.primary).alive_s >= probe.unstreamed_since_s else was
    streams = report is not None and report.streaming and probe.timeline >= max(1, case.proven_timeline)
    if case.proven_timeline:
        return streams or was is True
    return False if was is False and not streams else None  # no member was ever seen to lead, so none has followed


def objections(server: DcsMember, case: Case, decision: WriteDecision) -> Iterator[str]:
    """Yield the reasons why a member that is not the primary gets no reads, apart from its lag."""
    probe = case.probe(server.name)
    report = probe.valid_report
    if report is None:
        yield probe.unheard
        return
    if case.is_foreign(report):
        yield case.why_foreign(report)
    if report.role is not Role.REPLICA:
        yield "says it is primary but does not lead: gets nothing"
    if server.name in case.snapshot.detached:
        yield "detached by an operator (pcp_detach_node); pcp_attach_node brings it back"
    keys = case.keys_of(server)
    if any(is_set(key.tags, "noloadbalance") for key in (server, *keys)):
        yield "tagged noloadbalance"
    if keys and keys[0].name != server.name:
        yield f"is the same server as {keys[0].name}"
    if decision.primary is not None:
        yield from _objections_with_primary(probe, decision)
    elif follows(server, case, decision) is None:
        yield from _objections_to_unseen(server, report, probe, case)
    else:
        yield from _objections_without_primary(server, probe, case, decision)


def _objections_with_primary(probe: Probe, decision: WriteDecision) -> Iterator[str]:
    if probe.timeline != decision.timeline:
        yield f"is on timeline {probe.timeline}, the primary on {decision.timeline}"
    if not probe.streams:
        yield "does not stream"


def _objections_without_primary(server: DcsMember, probe: Probe, case: Case, decision: WriteDecision) -> Iterator[str]:
    if not follows(server, case, decision):
        yield "does not stream, and did not when there last was a primary"
    yield from _left_behind(probe, case)


def _objections_to_unseen(server: DcsMember, report: ServerReport, probe: Probe, case: Case) -> Iterator[str]:
    """Yield objections to a member that was never seen to follow a primary, because there was none.

    Without a receiver a server can only report its timeline at the last restartpoint: its Patroni knows more.
    """
    newest = max(1, case.snapshot.timeline, *(other.timeline for other in case.own_reports()))
    timeline = max(probe.timeline, server.timeline)
    if timeline < newest:
        yield f"is on timeline {timeline}, but {newest} is in use"
    if len({other.system_id for other in case.own_reports()}) > 1:
        yield "members have different system identifiers, and which of them is the cluster's is not known"
    if not report.streaming and report.received_lsn < report.lsn:
        yield "has not streamed since it was started: may be a former primary that has not been rewound"
    yield from _left_behind(probe, case)


def _left_behind(probe: Probe, case: Case) -> Iterator[str]:
    """Yield an objection to a member whose receiver has stopped while others continue."""
    report = probe.report
    if report is None or probe.streams:
        return
    if any(
        other.streaming and other.timeline >= probe.timeline and other.lsn > report.lsn for other in case.own_reports()
    ):
        yield "does not stream, while another replica does and is ahead"


# -- how far behind


def newest_position(case: Case, decision: WriteDecision) -> int:
    """Return the position that lag is measured from: the primary's, else the newest known one; 0: none is known.

    Without a primary, or while it refuses our login, that is its last reported position, or the most advanced
    replica's.
    """
    if decision.lsn is not None and decision.primary is not None and not case.probe(decision.primary).failures:
        return decision.lsn
    told = case.last_position if decision.lsn is None else decision.lsn
    reached = (
        report.lsn
        for report in case.own_reports()
        if report.role is Role.REPLICA and report.timeline >= decision.timeline
    )
    return max(told, *reached, 0)


def lag_s(name: str, report: ServerReport, lag_bytes: int, case: Case) -> float | None:
    """Return for how long a replica has not been fully caught up, in seconds; None: not known."""
    mark = case.lag.marks.get(name)
    if not lag_bytes:
        return 0.0
    return max(0.0, report.answered_s - mark.fresh_s) if mark is not None and mark.fresh_s else None


def lags(lag_bytes: int | None, lag: float | None, case: Case) -> Iterator[str]:
    """Yield an objection if a replica is too far behind for reads."""
    most = case.lag
    if lag_bytes is None:
        return
    if most.most_bytes and lag_bytes > most.most_bytes:
        yield LAGS_BYTES
    if most.most_s and most.marks and (lag is None or lag > most.most_s):
        yield LAGS_TIME


def lags_unseen(report: ServerReport | None, case: Case) -> Iterator[str]:
    """Yield an objection if a member that was never seen to follow is too far behind the newest known position."""
    if report is None:
        return
    told = (member.replay_lsn for member in case.snapshot.members)
    reached = (other.lsn for other in case.own_reports() if other.role is Role.REPLICA)
    behind = max(case.snapshot.optime, *told, *reached, 0) - report.lsn
    if behind > (case.lag.most_bytes or NEAR_BYTES):
        yield LAGS_BYTES if case.lag.most_bytes else LAGS_OTHERS
