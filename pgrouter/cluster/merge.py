"""Decides who leads: `merge(previous, snapshot, probes) -> ClusterView`. Pure: no clock, no IO, no hidden state.

THE INVARIANT. At most one member of a view is writable. A member is writable only while both hold:

1. The DCS. The leader key names it. Two cases stand in for the key, and only for the member that it named last:
   the cluster is paused (Patroni then neither fails over nor demotes a primary when the key expires), or the DCS
   cannot be reached (the last known state still counts, as in Patroni's failsafe mode).
2. The server's own report, while that still counts (`health.LOST_AFTER`): it is not in recovery, its system identifier
   is the cluster's, and its timeline is not older than one on which any member was ever writable.

To BECOME writable, that report must answer a query sent after this reign began: what a server reported before it was
named proves nothing. To STAY writable, a single failed probe is tolerated; and any number of them while the server is
known not to have restarted since its last report (`Probe.stands`): for example, it refuses the login because all
connections are taken, or the router's open connections still work. What these show after the reign began counts for
both.

Everything else follows:
- The leader key is deleted: nobody is writable, at once. Server connections are cut by `leader`, which is then None and
  not another name; so a key that is deleted and written again (0.1 s in failsafe mode, and when etcd returns) costs no
  session.
- The leader key is gone and the old leader does not report to be primary: it is `fenced`, and transactions that are
  open there end. It is frozen or gone, and would continue as a primary if it woke up after the election.
- A switchover is announced (`cluster.switchover`): nobody is writable although the key stays, until the leader changes,
  the announcement disappears, or its time is over.
- Another name: the old leader is out in the very view that names the new one, and the new one gets writes only by its
  own report, since it answers 25006 for the first 0.1-0.3 s of its reign.
- A second server that reports to be primary gets nothing. If its timeline is newer than the leader's, it has been
  promoted, and the DCS must name the leader again before the leader is believed: this catches a DCS out of reach, or a
  watch that hangs, while another leader was elected, and a manual promotion in a paused cluster.

WHO MAY BE READ FROM. A member that is not the primary is read from only while all of this is known about it:

1. It is a replica of this cluster: its own report still counts (`Probe.valid_report`), says that it is in recovery, and
   has the cluster's system identifier.
2. It has not been excluded: no `noloadbalance` tag, also not on another key of the same server.
3. It follows. With a primary: it streams on the primary's timeline, ignoring short breaks (`health.UNSTREAMED_AFTER`).
   Without one, receivers have nothing to stream from, so what was seen when the last primary was last known to be alive
   remains valid (`Member.follows`): a replica that followed still counts, even after its stream has ended; one that did
   not, for reasons of its own, stays out, however long it takes, until it is seen to stream again on no older timeline.
   A server that has reported to be primary does not follow, nor does one at a new address, before it is seen to. A
   replica that does not stream is out while another one streams and is ahead of it.
4. If no primary has been seen yet (the router was started when there was none; a standby cluster never has one), this
   stands in for 3, and the reason says that it is assumed: by its own report or its Patroni's it is on the newest
   timeline that any member or the DCS's history shows; all members have the same system identifier; it streams, or has
   streamed since it was started, all that it has replayed (a former primary that was not rewound has not); and it is no
   further behind the newest known position, that in the DCS's `status` included, than reads.max_lag_bytes, else 16 MB.
5. It is close enough: reads.max_lag_bytes and reads.max_lag, measured from the primary's position, and without a
   primary from the last position it reported or the most advanced replica. A session's own writes are considered per
   read (`cluster.freshness`), with a primary or without.

A former primary that comes back as a replica shows rows that never existed until it is rewound (0.3-1.1 s, measured),
and does not stream until then: 3 keeps it out.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pgrouter.cluster import readable
from pgrouter.cluster.case import Case, Lag, WriteDecision
from pgrouter.cluster.mistake import mistake
from pgrouter.cluster.patroni_keys import DcsMember
from pgrouter.cluster.view_diff import difference
from pgrouter.topology import ClusterView, Member, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgrouter.cluster.health import Probe, ServerReport
    from pgrouter.cluster.patroni_keys import Snapshot

KEY_GONE = "key gone"


def merge(
    previous: ClusterView, snapshot: Snapshot, probes: Mapping[str, Probe], lag: Lag | None = None
) -> ClusterView:
    """Return the view that follows from what the DCS and the servers say; `previous` itself if nothing differs.

    Merging the same inputs into the result returns the result. If only WAL positions differ, the view is new but keeps
    its number and reason.
    """
    case = _case(previous, snapshot, probes, lag or Lag())
    servers = _servers(case)
    decision = _decide_writes(case, servers)
    if decision.system_id != case.system_id:  # with the first primary it is known which servers are strangers
        case = replace(case, system_id=decision.system_id)
        servers = _servers(case)
    members = tuple(_member(server, case, decision) for server in servers)
    view = ClusterView(
        members=members,
        leader=snapshot.leader,
        primary=decision.primary,
        readers=tuple(member.name for member in members if member.readable),
        paused=snapshot.config.paused,
        standby=snapshot.config.standby_cluster,
        last_leader=snapshot.leader or case.last_leader,
        timeline=decision.timeline,
        lsn=case.last_position if decision.lsn is None else decision.lsn,
        system_id=decision.system_id,
        dcs_reachable=snapshot.reachable,
        fenced=_fenced(case),
        silent=tuple(member.name for member in members if case.probe(member.name).silent),
        no_primary=decision.no_primary,
        mistake=mistake(snapshot, probes.values()),
    )
    return _numbered(previous, view)


def _case(previous: ClusterView, snapshot: Snapshot, probes: Mapping[str, Probe], lag: Lag) -> Case:
    last_leader = _called_now(previous.last_leader, previous, snapshot)
    candidate = snapshot.leader
    if candidate is None and snapshot.config.paused:
        candidate = last_leader
    system_id = snapshot.system_id or previous.system_id
    same_system = previous.system_id in ("", system_id)
    return Case(
        previous=previous,
        snapshot=snapshot,
        probes=probes,
        lag=lag,
        candidate=candidate,
        last_leader=last_leader,
        system_id=system_id,
        proven_timeline=previous.timeline if same_system else 0,
    )


def _called_now(name: str | None, previous: ClusterView, snapshot: Snapshot) -> str | None:
    """Return the current name of the server once called `name`: a key at its address replaces one that is gone."""
    known = previous.member(name) if name is not None else None
    if known is None or any(member.name == name for member in snapshot.members):
        return name
    at_address = (each.name for each in snapshot.members if (each.host, each.port) == (known.host, known.port))
    return next(at_address, name)


def _servers(case: Case) -> tuple[DcsMember, ...]:
    """Return the members that the DCS lists, then those that outlive their key.

    Member keys are leased: they expire with their Patroni, while PostgreSQL keeps running. The last leader stays
    because in a pause it may be the primary without any key, others stay while they answer as part of this cluster.
    Members without leases (static ones) leave by being removed from the list.
    """
    listed = [_addressed(member, case.previous) for member in case.snapshot.members]
    names = {member.name for member in listed}
    unlisted = [
        DcsMember(name=member.name, host=member.host, port=member.port, state=KEY_GONE, tags=member.tags)
        for member in (case.previous.members if case.snapshot.leased else ())
        if member.name not in names and _stays(member.name, case)
    ]
    gone = [member for member in unlisted if not any(case.is_same(member, other) for other in listed)]
    return tuple(member for member in (*listed, *gone) if member.host)


def _addressed(member: DcsMember, previous: ClusterView) -> DcsMember:
    """Complete a key without a usable address with the last known one."""
    known = None if member.host else previous.member(member.name)
    return replace(member, host=known.host, port=known.port) if known else member


def _stays(name: str, case: Case) -> bool:
    report = case.probe(name).valid_report
    answers = report is not None and not case.is_foreign(report)
    return answers or name == (case.snapshot.leader or case.last_leader)


def _decide_writes(case: Case, servers: tuple[DcsMember, ...]) -> WriteDecision:
    name = case.candidate
    if name is None or all(server.name != name for server in servers):
        report, objection, no_primary = None, "", _nobody(case)
    else:
        objection = next(_objections_to_writes(name, case.probe(name), case), "")
        no_primary = f"{name} {objection}" if objection else ""
        report = None if objection else case.probe(name).valid_report
    if report is None:
        return WriteDecision(
            primary=None,
            objection=objection,
            no_primary=no_primary,
            timeline=case.proven_timeline,
            system_id=case.system_id,
            lsn=None,
        )
    return WriteDecision(
        primary=name,
        objection="",
        no_primary="",
        timeline=report.timeline,
        system_id=report.system_id,
        lsn=report.lsn,
    )


def _fenced(case: Case) -> str | None:
    """Return the member that led last, if nobody leads and it does not report to be primary.

    Silence counts if a DCS has taken the key away; without a DCS it may be no more than a slow host.
    """
    name = case.last_leader
    if case.candidate is not None or name is None:
        return None
    report = case.probe(name).valid_report
    silent = report is None and case.snapshot.leased
    return name if silent or (report is not None and report.role is not Role.PRIMARY) else None


def _nobody(case: Case) -> str:
    if case.candidate is not None:
        return f"{case.candidate} is named as leader but has no address"
    paused = case.snapshot.config.paused and case.last_leader is None
    nobody = "nobody holds the leader key" + (", and nobody has since the router started" if paused else "")
    return case.snapshot.trouble or nobody


def _objections_to_writes(name: str, probe: Probe, case: Case) -> Iterator[str]:
    """Yield the reasons why the candidate may not be written to. The invariant is enforced here."""
    report = probe.valid_report
    if report is None:
        yield probe.unheard
        return
    if case.is_foreign(report):
        yield case.why_foreign(report)
    if report.role is not Role.PRIMARY:
        standby = case.snapshot.config.standby_cluster
        yield "leads a standby cluster" if standby else "leads but is still in recovery"
    oldest = max(1, case.proven_timeline, case.snapshot.timeline)
    if report.timeline < oldest:
        yield f"is on timeline {report.timeline}, but {oldest} is in use"
    rival = _rival(name, report, case)
    if rival:
        yield f"leads, but {rival} says it is primary on a newer timeline, and the DCS has not spoken since"
    if case.previous.primary != name and not _has_spoken_since(case.snapshot.leader_since_s, probe, report):
        yield "is named as leader, but has not said yet that it is primary"
    if case.snapshot.hold:
        yield f"leads, but {case.snapshot.hold}"


def _has_spoken_since(moment_s: float, probe: Probe, report: ServerReport) -> bool:
    if probe.failures:
        return probe.stands and probe.vouched_s > moment_s
    return report.asked_s >= moment_s


def _rival(name: str, report: ServerReport, case: Case) -> str:
    """Return a member that was promoted past the candidate, unless the DCS has named the candidate since."""
    spoken_s = case.snapshot.heard_s if case.snapshot.leader == name else 0.0
    for other, probe in case.probes.items():
        theirs = probe.report  # even if it is lost: it was promoted all the same
        if (
            other != name
            and theirs is not None
            and theirs.role is Role.PRIMARY
            and theirs.system_id == report.system_id
            and theirs.timeline > report.timeline
            and probe.primary_since_s > spoken_s
        ):
            return other
    return ""


def _member(server: DcsMember, case: Case, decision: WriteDecision) -> Member:
    probe = case.probe(server.name)
    report = probe.valid_report
    writable = server.name == decision.primary
    newest = readable.newest_position(case, decision)
    lag_bytes = lag_s = None
    if newest and report is not None and report.role is Role.REPLICA and not writable and not case.is_foreign(report):
        lag_bytes = max(0, newest - report.lsn)
        lag_s = readable.lag_s(server.name, report, lag_bytes, case)
    follows = False if writable else readable.follows(server, case, decision)
    objection = ""
    if not writable:
        unseen = decision.primary is None and follows is None
        lags = readable.lags_unseen(report, case) if unseen else readable.lags(lag_bytes, lag_s, case)
        objection = next(chain(readable.objections(server, case, decision), lags), "")
    return Member(
        name=server.name,
        host=server.host,
        port=server.port,
        role=report.role if report else Role.UNKNOWN,
        leader=server.name == case.snapshot.leader,
        writable=writable,
        readable=not writable and not objection,
        follows=follows,
        timeline=probe.timeline,
        lag_bytes=lag_bytes,
        lag_s=lag_s,
        state=server.state,
        reason=_reason(server.name, case, decision, objection, unseen=follows is None),
        tags=server.tags,
    )


def _reason(name: str, case: Case, decision: WriteDecision, objection: str, *, unseen: bool) -> str:
    if objection or (name == case.candidate and decision.objection):
        return decision.objection if name == case.candidate and decision.objection else objection
    if name != decision.primary:
        alone = readable.ASSUMED if unseen else "goes on without a primary"
        return "streams" if decision.primary else alone
    if case.probe(name).lost:
        return f"{case.probe(name).unheard}; its last word stands, as it has not been restarted since"
    if not case.snapshot.reachable:
        return "led when the DCS was last heard, still says it is primary"
    return "leads" if case.snapshot.leader else "led when the cluster was paused, still says it is primary"


def _numbered(previous: ClusterView, view: ClusterView) -> ClusterView:
    same = replace(view, number=previous.number, reason=previous.reason)
    if same == previous:
        return previous
    if _without_positions(same) == _without_positions(previous):
        return same
    return replace(view, number=previous.number + 1, reason=difference(previous, view))


def _without_positions(view: ClusterView) -> ClusterView:
    members = tuple(replace(member, lag_bytes=None, lag_s=None, follows=None) for member in view.members)
    return replace(view, members=members, lsn=0)
