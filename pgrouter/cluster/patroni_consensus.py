"""The answers of several Patronis -> one `Snapshot`: which one counts if they do not agree. Pure.

Each Patroni reads the DCS by itself, and one that is cut off from it may keep showing what it saw last: with etcd it
answers from a watch, whose silence it does not notice for a while. Nothing in an answer shows how old it is, so answers
are ranked by their content:

1. A Patroni that names a leader on an older timeline than some leader has been seen on is behind, and is ignored.
2. Of the others, the one that changed its answer last is believed. A Patroni that names another leader (or nobody) than
   before has heard from the DCS since; one that keeps repeating the same answer proves nothing.
3. Unless more than half of all Patronis, asked after that change was seen, agree on something else: then the one that
   changed has itself fallen behind, halfway through a change. But what it says about itself stands: a Patroni knows at
   first hand whether it leads.

Without any change (the router has just started) the majority decides; without a majority, the previous leader stays;
else nobody leads. A Patroni that no longer answers counts for as long as a leader key may last (`ttl`), so that a stale
answer is not believed because the others are gone. When none answers, the last known state stays.

All of this only decides who is named. Writes also need the server's own report, and the newest timeline that any answer
or server has shown (`cluster.merge`): what no ranking of answers can prove is caught there.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from pgrouter.cluster.health import LOST_AFTER
from pgrouter.cluster.patroni_keys import Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.cluster.patroni_rest import Answer

UNREACHABLE = "Patroni's REST API cannot be reached"


class PatroniReport(Struct, frozen=True, kw_only=True, gc=False):
    """What one Patroni has reported so far; times are the router's monotonic seconds."""

    snapshot: Snapshot | None = None  # its last answer; None: it has never answered
    member: str = ""  # the member that it belongs to; empty: not known
    urls: tuple[str, ...] = ()  # where the Patronis of the members in its answer can be reached
    asked_s: float = 0.0  # when that answer was asked for
    changed_s: float = 0.0  # when the first answer with this leader was asked for; 0: it has never named another one
    change_heard_s: float = 0.0  # when that answer arrived
    timeline: int = 0  # the newest timeline of a leader in its answers, or in its history
    failures: int = 0  # consecutive, since the last answer
    error: str = ""  # of the last failure, one line

    @property
    def leader(self) -> str | None:
        """Return the leader that it names."""
        return self.snapshot.leader if self.snapshot else None

    @property
    def leader_timeline(self) -> int:
        """Return the timeline of the leader that it names, by that answer; 0: not known, or nobody is named."""
        return _leader_timeline(self.snapshot) if self.snapshot else 0

    def answered(self, url: str, answer: Answer, asked_s: float, heard_s: float) -> PatroniReport:
        """Add an answer, which came from `url`."""
        snapshot = answer.snapshot
        before = self.snapshot
        changes = before is not None and before.leader != snapshot.leader
        known = self.timeline if before is not None and before.system_id in ("", snapshot.system_id) else 0
        return PatroniReport(
            snapshot=snapshot,
            member=next((name for name, its in answer.urls.items() if its == url), ""),
            urls=tuple(answer.urls.values()),
            asked_s=asked_s,
            changed_s=asked_s if changes else self.changed_s,
            change_heard_s=heard_s if changes else self.change_heard_s,
            timeline=max(known, snapshot.timeline, _leader_timeline(snapshot)),
        )

    def failed(self, error: str) -> PatroniReport:
        """Add a failure."""
        return replace(self, failures=self.failures + 1, error=error)


def _leader_timeline(snapshot: Snapshot) -> int:
    return next((member.timeline for member in snapshot.members if member.name == snapshot.leader), 0)


class Agreement(Struct, frozen=True, kw_only=True, gc=False):
    """What follows from all reports."""

    snapshot: Snapshot
    urls: frozenset[str] = frozenset()  # where the members' Patronis can be reached, by the believed reports
    doubtful: bool = False  # nobody is named, or some of those that answer name another one


def agree(previous: Snapshot | None, reports: Mapping[str, PatroniReport], now_s: float) -> Agreement | None:
    """Return what follows from all reports; None: none has answered yet, and not all have failed."""
    answered = [report for report in reports.values() if report.snapshot is not None]
    reachable = any(report.failures < LOST_AFTER for report in (answered or reports.values()))
    if not answered:
        return None if reachable else Agreement(snapshot=_unreachable(previous or Snapshot()), doubtful=True)
    peers = _peers(answered)
    leader, trouble = _believed(peers, previous.leader if previous else None)
    believed = [report for report in peers if report.leader == leader] or peers
    urls = frozenset(url for report in believed for url in report.urls)
    unheard = sorted(url for url in urls | reports.keys() if url not in reports or reports[url] == PatroniReport())
    if unheard and not (previous and previous.leader_since_s):  # the first decision must not go to the quickest
        leader, trouble = None, f"{', '.join(unheard)} not heard yet"
    latest = max(believed, key=lambda report: report.asked_s)
    snapshot = replace(
        latest.snapshot or Snapshot(),
        leader=leader,
        timeline=max(_known_timeline(previous, latest), *(report.timeline for report in peers)),
        trouble=trouble,
        **_moments(previous, leader, believed, len(reports), now_s),
    )
    return Agreement(
        snapshot=snapshot if reachable else _unreachable(snapshot),
        urls=urls,
        doubtful=leader is None or any(report.leader != leader and not report.failures for report in answered),
    )


def _peers(answered: list[PatroniReport]) -> list[PatroniReport]:
    """Return the reports that count and are not behind."""
    newest_s = max(report.asked_s for report in answered)
    counted = [
        report for report in answered if report.snapshot and report.asked_s >= newest_s - report.snapshot.config.ttl_s
    ]
    newest = max(report.timeline for report in counted)
    return [report for report in counted if report.leader_timeline in (0, newest)] or counted


def _believed(peers: list[PatroniReport], before: str | None) -> tuple[str | None, str]:
    """Return who leads according to these reports, or why nobody does."""
    changed_s = max(report.changed_s for report in peers)
    names = {report.leader for report in peers if report.changed_s == changed_s}
    if len(names) == 1:
        return _unless_overruled(names.pop(), peers), ""
    name, votes = Counter(report.leader for report in peers).most_common(1)[0]
    if 2 * votes > len(peers):
        return name, ""
    if before in names:
        return before, ""
    return None, f"Patronis disagree who leads: {', '.join(sorted(name or 'nobody' for name in names))}"


def _unless_overruled(name: str | None, peers: list[PatroniReport]) -> str | None:
    sayers = [report for report in peers if report.leader == name]
    heard_s = max(report.change_heard_s for report in sayers)
    against = (report for report in peers if report.leader != name and report.asked_s > heard_s and not report.failures)
    for other, votes in Counter(report.leader for report in against).items():
        at_first_hand = any(report.member in (name, other) for report in sayers if not report.failures)
        if 2 * votes > len(peers) and not at_first_hand:
            return other
    return name


def _known_timeline(previous: Snapshot | None, latest: PatroniReport) -> int:
    same_system = previous and latest.snapshot and previous.system_id in ("", latest.snapshot.system_id)
    return previous.timeline if previous and same_system else 0


def _moments(
    previous: Snapshot | None, leader: str | None, believed: list[PatroniReport], reports: int, now_s: float
) -> dict[str, float]:
    """Return `heard_s`, when more than half of all last confirmed the leader, and `leader_since_s`."""
    asked_s = sorted((report.asked_s for report in believed if report.leader == leader), reverse=True)
    enough = reports // 2
    heard_s = asked_s[enough] if len(asked_s) > enough else 0.0
    same = previous is not None and previous.leader == leader
    if previous is None:
        return {"heard_s": heard_s, "read_s": heard_s, "leader_since_s": now_s if leader else 0.0}
    return {
        "heard_s": max(heard_s, previous.heard_s) if same else heard_s,
        "read_s": heard_s,
        "leader_since_s": previous.leader_since_s if same or leader is None else now_s,
    }


def _unreachable(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, reachable=False, trouble=UNREACHABLE)
