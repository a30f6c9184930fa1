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


class Voice(Struct, frozen=True, kw_only=True, gc=False):
    """What one Patroni has reported so far; times are the router's monotonic seconds."""

    said: Snapshot | None = None  # its last answer; None: it has never answered
    speaks_for: str = ""  # the member that it belongs to; empty: not known
    urls: tuple[str, ...] = ()  # where the Patronis of the members in its answer can be reached
    asked_s: float = 0.0  # when that answer was asked for
    turned_s: float = 0.0  # when the first answer with this leader was asked for; 0: it has never named another one
    turn_heard_s: float = 0.0  # when that answer arrived
    timeline: int = 0  # the newest timeline of a leader in its answers, or in its history
    failures: int = 0  # consecutive, since the last answer
    error: str = ""  # of the last failure, one line

    @property
    def leader(self) -> str | None:
        """Return the leader that it names."""
        return self.said.leader if self.said else None

    @property
    def leads_on(self) -> int:
        """Return the timeline of the leader that it names, by that answer; 0: not known, or nobody is named."""
        return _leads_on(self.said) if self.said else 0

    def answered(self, url: str, answer: Answer, asked_s: float, heard_s: float) -> Voice:
        """Add an answer, which came from `url`."""
        said = answer.snapshot
        before = self.said
        turns = before is not None and before.leader != said.leader
        known = self.timeline if before is not None and before.system_id in ("", said.system_id) else 0
        return Voice(
            said=said,
            speaks_for=next((name for name, its in answer.urls.items() if its == url), ""),
            urls=tuple(answer.urls.values()),
            asked_s=asked_s,
            turned_s=asked_s if turns else self.turned_s,
            turn_heard_s=heard_s if turns else self.turn_heard_s,
            timeline=max(known, said.timeline, _leads_on(said)),
        )

    def failed(self, error: str) -> Voice:
        """Add a failure."""
        return replace(self, failures=self.failures + 1, error=error)


def _leads_on(said: Snapshot) -> int:
    return next((member.timeline for member in said.members if member.name == said.leader), 0)


class Agreement(Struct, frozen=True, kw_only=True, gc=False):
    """What follows from all reports."""

    snapshot: Snapshot
    urls: frozenset[str] = frozenset()  # where the members' Patronis can be reached, by the believed reports
    doubtful: bool = False  # nobody is named, or some of those that answer name another one


def agree(previous: Snapshot | None, voices: Mapping[str, Voice], now_s: float) -> Agreement | None:
    """Return what follows from all reports; None: none has answered yet, and not all have failed."""
    answered = [voice for voice in voices.values() if voice.said is not None]
    reachable = any(voice.failures < LOST_AFTER for voice in (answered or voices.values()))
    if not answered:
        return None if reachable else Agreement(snapshot=_unreachable(previous or Snapshot()), doubtful=True)
    peers = _peers(answered)
    leader, trouble = _believed(peers, previous.leader if previous else None)
    believed = [voice for voice in peers if voice.leader == leader] or peers
    urls = frozenset(url for voice in believed for url in voice.urls)
    unheard = sorted(url for url in urls | voices.keys() if url not in voices or voices[url] == Voice())
    if unheard and not (previous and previous.leader_since_s):  # the first decision must not go to the quickest
        leader, trouble = None, f"{', '.join(unheard)} not heard yet"
    told = max(believed, key=lambda voice: voice.asked_s)
    snapshot = replace(
        told.said or Snapshot(),
        leader=leader,
        timeline=max(_known_timeline(previous, told), *(voice.timeline for voice in peers)),
        trouble=trouble,
        **_moments(previous, leader, believed, len(voices), now_s),
    )
    return Agreement(
        snapshot=snapshot if reachable else _unreachable(snapshot),
        urls=urls,
        doubtful=leader is None or any(voice.leader != leader and not voice.failures for voice in answered),
    )


def _peers(answered: list[Voice]) -> list[Voice]:
    """Return the reports that count and are not behind."""
    newest_s = max(voice.asked_s for voice in answered)
    counted = [voice for voice in answered if voice.said and voice.asked_s >= newest_s - voice.said.config.ttl_s]
    newest = max(voice.timeline for voice in counted)
    return [voice for voice in counted if voice.leads_on in (0, newest)] or counted


def _believed(peers: list[Voice], before: str | None) -> tuple[str | None, str]:
    """Return who leads according to these reports, or why nobody does."""
    turned_s = max(voice.turned_s for voice in peers)
    names = {voice.leader for voice in peers if voice.turned_s == turned_s}
    if len(names) == 1:
        return _unless_overruled(names.pop(), peers), ""
    name, votes = Counter(voice.leader for voice in peers).most_common(1)[0]
    if 2 * votes > len(peers):
        return name, ""
    if before in names:
        return before, ""
    return None, f"Patronis disagree who leads: {', '.join(sorted(name or 'nobody' for name in names))}"


def _unless_overruled(name: str | None, peers: list[Voice]) -> str | None:
    sayers = [voice for voice in peers if voice.leader == name]
    heard_s = max(voice.turn_heard_s for voice in sayers)
    against = (voice for voice in peers if voice.leader != name and voice.asked_s > heard_s and not voice.failures)
    for other, votes in Counter(voice.leader for voice in against).items():
        at_first_hand = any(voice.speaks_for in (name, other) for voice in sayers if not voice.failures)
        if 2 * votes > len(peers) and not at_first_hand:
            return other
    return name


def _known_timeline(previous: Snapshot | None, told: Voice) -> int:
    same_system = previous and told.said and previous.system_id in ("", told.said.system_id)
    return previous.timeline if previous and same_system else 0


def _moments(
    previous: Snapshot | None, leader: str | None, believed: list[Voice], voices: int, now_s: float
) -> dict[str, float]:
    """Return `heard_s`, when more than half of all last confirmed the leader, and `leader_since_s`."""
    asked_s = sorted((voice.asked_s for voice in believed if voice.leader == leader), reverse=True)
    enough = voices // 2
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
