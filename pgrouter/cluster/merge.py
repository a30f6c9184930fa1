"""Who leads, decided: `merge(previous, snapshot, probes) -> ClusterView`. Pure: no clock, no IO, no hidden memory.

THE INVARIANT. At most one member of a view is writable. A member is writable only while both hold:

1. The DCS's word. The leader key names it. Two cases stand in for the key, and only for the member that it named last:
   the cluster is paused (Patroni then neither fails over nor takes a primary down when the key expires), or the DCS
   cannot be reached (what was last heard still counts, as with Patroni's failsafe mode).
2. The server's own word, while that still counts (`word.LOST_AFTER`): it is not in recovery, its system identifier is
   the cluster's, and its timeline is not older than one on which any member was ever writable.

To BECOME writable, that word must answer a question asked after this reign began: what a server said before it was
named proves nothing. To STAY writable, a single failed probe is forgiven.

Everything else follows:
- The leader key is deleted: nobody is writable, at once. Whoever cuts server connections looks at `leader`, which is
  then None and not another name; so a key that is deleted and written again (0.1 s in failsafe mode, and when etcd
  returns) costs nobody a session.
- The leader key is gone and the old leader does not say that it is primary: it is `fenced`, and transactions that
  are open there end. It is frozen or gone, and would go on as a primary if it woke up after the election.
- A switchover is announced (`cluster.handover`): nobody is writable although the key stays, until the leader changes,
  the announcement goes, or its time is over.
- Another name: the old leader is out in the very view in which the new one is named, and the new one gets writes by its
  own word only, since it answers 25006 for the first 0.1-0.3 s of its reign.
- A second server that says primary gets nothing. If its timeline is newer than the leader's, somebody has promoted it,
  and the DCS must name the leader again before that is believed: this catches a DCS out of reach, or a watch that
  hangs, while another leader was elected, and a promotion by hand in a paused cluster.

Reads go to replicas that stream, by their own word, on the primary's timeline. A former primary that comes back as a
replica shows rows that never were until it is rewound (0.3-1.1 s, measured), and does not stream until then. While
there is no primary to stream from, replicas that have streamed on its timeline go on.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from pgrouter.cluster.describe import difference
from pgrouter.cluster.patroni_keys import DcsMember, is_set
from pgrouter.cluster.word import Probe, Word
from pgrouter.topology import ClusterView, Mark, Member, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgrouter.cluster.patroni_keys import Snapshot

KEY_GONE = "key gone"
LAGS_BYTES, LAGS_TIME = "lags more than reads.max_lag_bytes", "lags more than reads.max_lag"
SILENT = Probe()  # of a member that nobody has asked yet


class Lag(Struct, frozen=True, kw_only=True, gc=False):
    """How far replicas are behind in time, and how far they may be (0: any) to get reads."""

    most_bytes: int = 0
    most_s: float = 0.0
    marks: Mapping[str, Mark] = field(default_factory=dict)


class _Case(Struct, frozen=True, kw_only=True, gc=False):
    """What is the same for every member of one decision."""

    previous: ClusterView
    snapshot: Snapshot
    probes: Mapping[str, Probe]
    lag: Lag
    candidate: str | None  # the one member that the DCS's word covers
    system_id: str  # expected of every member; empty: not known yet
    proven_timeline: int  # the newest on which a member of this system was ever writable

    def probe(self, name: str) -> Probe:
        return self.probes.get(name, SILENT)

    def is_stranger(self, word: Word) -> bool:
        return bool(self.system_id) and word.system_id != self.system_id


class _Reign(Struct, frozen=True, kw_only=True, gc=False):
    """The decision about writes, on which those about reads depend."""

    primary: str | None
    objection: str  # why there is no primary
    timeline: int  # the primary's; without one the newest proven
    system_id: str
    lsn: int | None  # that the primary has written; None: unknown


def merge(
    previous: ClusterView, snapshot: Snapshot, probes: Mapping[str, Probe], lag: Lag | None = None
) -> ClusterView:
    """Give the view that follows from what the DCS and the servers say; `previous` itself when nothing differs.

    The same inputs merged into the result give the result again. When only WAL positions differ, the view is new but
    keeps its number and reason.
    """
    case = _case(previous, snapshot, probes, lag or Lag())
    servers = _servers(case)
    reign = _reign(case, servers)
    if reign.system_id != case.system_id:  # a first primary tells who is a stranger
        case = replace(case, system_id=reign.system_id)
        servers = _servers(case)
    members = tuple(_member(server, case, reign) for server in servers)
    view = ClusterView(
        members=members,
        leader=snapshot.leader,
        primary=reign.primary,
        readers=tuple(member.name for member in members if member.readable),
        paused=snapshot.config.paused,
        standby=snapshot.config.standby_cluster,
        last_leader=snapshot.leader or previous.last_leader,
        timeline=reign.timeline,
        system_id=reign.system_id,
        dcs_reachable=snapshot.reachable,
        fenced=_fenced(case),
        silent=tuple(member.name for member in members if case.probe(member.name).silent),
        no_primary=reign.objection,
    )
    return _numbered(previous, view)


def _case(previous: ClusterView, snapshot: Snapshot, probes: Mapping[str, Probe], lag: Lag) -> _Case:
    candidate = snapshot.leader
    if candidate is None and snapshot.config.paused:
        candidate = previous.last_leader
    system_id = snapshot.system_id or previous.system_id
    same_system = previous.system_id in ("", system_id)
    return _Case(
        previous=previous,
        snapshot=snapshot,
        probes=probes,
        lag=lag,
        candidate=candidate,
        system_id=system_id,
        proven_timeline=previous.timeline if same_system else 0,
    )


def _servers(case: _Case) -> tuple[DcsMember, ...]:
    """Give the members that the DCS lists, then those whose key is gone but who are not.

    Member keys are leased: they expire with their Patroni, while PostgreSQL lives on. The last leader stays because a
    pause may make it the primary without any key, others while they answer as part of this cluster. Members that are
    not leased leave by being left out: somebody has said so.
    """
    listed = [_addressed(member, case.previous) for member in case.snapshot.members]
    names = {member.name for member in listed}
    unlisted = [
        DcsMember(name=member.name, host=member.host, port=member.port, state=KEY_GONE, tags=member.tags)
        for member in (case.previous.members if case.snapshot.leased else ())
        if member.name not in names and _stays(member.name, case)
    ]
    return tuple(member for member in (*listed, *unlisted) if member.host)


def _addressed(member: DcsMember, previous: ClusterView) -> DcsMember:
    """Complete a key that lacks a usable address with the last one known."""
    known = None if member.host else previous.member(member.name)
    return replace(member, host=known.host, port=known.port) if known else member


def _stays(name: str, case: _Case) -> bool:
    word = case.probe(name).said
    answers = word is not None and not case.is_stranger(word)
    return answers or name == (case.snapshot.leader or case.previous.last_leader)


def _reign(case: _Case, servers: tuple[DcsMember, ...]) -> _Reign:
    name = case.candidate
    if name is None or all(server.name != name for server in servers):
        word, objection = None, _nobody(case)
    else:
        objection = next(_objections_to_writes(name, case.probe(name), case), "")
        word = None if objection else case.probe(name).said
    if word is None:
        return _Reign(
            primary=None,
            objection=objection,
            timeline=case.proven_timeline,
            system_id=case.system_id,
            lsn=None,
        )
    return _Reign(
        primary=name,
        objection="",
        timeline=word.timeline,
        system_id=word.system_id,
        lsn=word.lsn,
    )


def _fenced(case: _Case) -> str | None:
    """Name the member that led last, if nobody leads and it does not say that it is primary.

    Silence counts where a DCS has taken the key away; where words are all there is, it may be no more than a slow host.
    """
    name = case.previous.last_leader
    if case.candidate is not None or name is None:
        return None
    word = case.probe(name).said
    silent = word is None and case.snapshot.leased
    return name if silent or (word is not None and word.role is not Role.PRIMARY) else None


def _nobody(case: _Case) -> str:
    if case.candidate is not None:
        return f"{case.candidate} is named as leader but has no address"
    return case.snapshot.trouble or "nobody holds the leader key"


def _objections_to_writes(name: str, probe: Probe, case: _Case) -> Iterator[str]:
    """Say why the member that the DCS's word covers may not be written to. The invariant is kept here."""
    word = probe.said
    if word is None:
        yield _unheard(probe)
        return
    if case.is_stranger(word):
        yield _stranger(word, case)
    if word.role is not Role.PRIMARY:
        standby = case.snapshot.config.standby_cluster
        yield "leads a standby cluster" if standby else "leads but is still in recovery"
    oldest = max(1, case.proven_timeline, case.snapshot.timeline)
    if word.timeline < oldest:
        yield f"is on timeline {word.timeline}, but {oldest} is in use"
    rival = _rival(name, word, case)
    if rival:
        yield f"{rival} says it is primary on a newer timeline, and the DCS has not spoken since"
    if case.previous.primary != name and (probe.failures or word.asked_s < case.snapshot.leader_since_s):
        yield "leads, its own word is awaited"
    if case.snapshot.handover:
        yield case.snapshot.handover


def _rival(name: str, word: Word, case: _Case) -> str:
    """Name a member that was promoted past the candidate, unless the DCS has named the candidate since."""
    spoken_s = case.snapshot.heard_s if case.snapshot.leader == name else 0.0
    for other, probe in case.probes.items():
        theirs = probe.word  # also when it is lost: that it was promoted stays true
        if (
            other != name
            and theirs is not None
            and theirs.role is Role.PRIMARY
            and theirs.system_id == word.system_id
            and theirs.timeline > word.timeline
            and probe.primary_since_s > spoken_s
        ):
            return other
    return ""


def _member(server: DcsMember, case: _Case, reign: _Reign) -> Member:
    probe = case.probe(server.name)
    word = probe.said
    writable = server.name == reign.primary
    lag_bytes = lag_s = None
    if reign.lsn is not None and word is not None and not writable and not case.is_stranger(word):
        lag_bytes = max(0, reign.lsn - word.lsn)
        lag_s = _lag_s(server.name, word, lag_bytes, case)
    objection = ""
    if not writable:
        objections = chain(_objections_to_reads(server, probe, case, reign), _lags(server.name, lag_bytes, lag_s, case))
        objection = next(objections, "")
    return Member(
        name=server.name,
        host=server.host,
        port=server.port,
        role=word.role if word else Role.UNKNOWN,
        leader=server.name == case.snapshot.leader,
        writable=writable,
        readable=not writable and not objection,
        timeline=probe.timeline,
        lag_bytes=lag_bytes,
        lag_s=lag_s,
        state=server.state,
        reason=_reason(server.name, case, reign, objection),
        tags=server.tags,
    )


def _objections_to_reads(server: DcsMember, probe: Probe, case: _Case, reign: _Reign) -> Iterator[str]:
    """Say why a member that is not the primary gets no reads."""
    word = probe.said
    if word is None:
        yield _unheard(probe)
        return
    if case.is_stranger(word):
        yield _stranger(word, case)
    if word.role is not Role.REPLICA:
        yield "says it is primary but does not lead: gets nothing"
    if is_set(server.tags, "noloadbalance"):
        yield "tagged noloadbalance"
    if reign.primary is None:
        if probe.streamed_timeline < max(1, reign.timeline):
            yield f"has not been seen to stream on timeline {reign.timeline}" if reign.timeline else "does not stream"
    else:
        if probe.timeline != reign.timeline:
            yield f"is on timeline {probe.timeline}, the primary on {reign.timeline}"
        if not probe.streams:
            yield "does not stream"


def _lag_s(name: str, word: Word, lag_bytes: int, case: _Case) -> float | None:
    mark = case.lag.marks.get(name)
    if not lag_bytes:
        return 0.0
    return max(0.0, word.answered_s - mark.fresh_s) if mark is not None and mark.fresh_s else None


def _lags(name: str, lag_bytes: int | None, lag_s: float | None, case: _Case) -> Iterator[str]:
    """Say that a replica is too far behind for reads; while nobody writes, it stays what it was."""
    lag, before = case.lag, case.previous.member(name)
    if lag_bytes is None:
        if before is not None and before.reason in (LAGS_BYTES, LAGS_TIME):
            yield before.reason
        return
    if lag.most_bytes and lag_bytes > lag.most_bytes:
        yield LAGS_BYTES
    if lag.most_s and lag.marks and (lag_s is None or lag_s > lag.most_s):
        yield LAGS_TIME


def _reason(name: str, case: _Case, reign: _Reign, objection: str) -> str:
    if name == case.candidate and reign.objection:
        return reign.objection
    if objection:
        return objection
    if name != reign.primary:
        return "streams" if reign.primary else "goes on without a primary"
    if not case.snapshot.reachable:
        return "led when the DCS was last heard, still says it is primary"
    return "leads" if case.snapshot.leader else "led when the cluster was paused, still says it is primary"


def _unheard(probe: Probe) -> str:
    return f"does not answer: {probe.error}" if probe.lost else "has not answered yet"


def _stranger(word: Word, case: _Case) -> str:
    return f"belongs to another cluster: its system identifier is {word.system_id}, not {case.system_id}"


def _numbered(previous: ClusterView, view: ClusterView) -> ClusterView:
    same = replace(view, number=previous.number, reason=previous.reason)
    if same == previous:
        return previous
    if _without_positions(same) == _without_positions(previous):
        return same
    return replace(view, number=previous.number + 1, reason=difference(previous, view))


def _without_positions(view: ClusterView) -> ClusterView:
    return replace(view, members=tuple(replace(member, lag_bytes=None, lag_s=None) for member in view.members))
