"""What the lines of the clients come to. Pure: moments in, figures out; all times are seconds of time.monotonic()."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CLIENTS = 8  # of a subject; those that are started in the place of others have the next eight numbers
JOIN_S = 1.0  # acknowledged writes of a client that are nearer to one another are one bar in the picture
ERRORS_EVERY_S = 0.5
BEFORE_S = 5.0  # that the picture shows of the time before an event
HELD_ON_S = 1.0  # acknowledged so shortly before an event and lost: the event's doing


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client heard of one thing that it did."""

    begin_s: float
    end_s: float
    client: int
    kind: str  # connect, write, read
    number: int  # of the write; of the client's last one
    error: str  # SQLSTATE, or a word; empty: it went well
    member: int  # port of the server that made the write
    lost: bool  # the connection broke
    stale: bool  # a read that did not show the client's last acknowledged write

    @property
    def acknowledged(self) -> bool:
        """Whether the server said that a row was written."""
        return self.kind == "write" and not self.error

    @property
    def key(self) -> tuple[int, int]:
        """Which row of its subject it wrote."""
        return self.client, self.number


@dataclass(frozen=True, slots=True)
class Window:
    """When something happened to the leader."""

    at_s: float
    done_s: float  # it had happened: a server that was killed was dead
    end_s: float  # up to here pauses and errors are counted
    over_s: float  # everything is healthy again; up to here lost rows are counted


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without something."""

    begin_s: float
    end_s: float
    ended: bool = True  # False: it lasted to the end of the window

    @property
    def length_s(self) -> float:
        """How long it was."""
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Figures:
    """What one event was for the clients of one subject."""

    pause_s: float  # longest time without a write that was acknowledged and still there in the end
    worst_client_s: float  # the same of the client that had the longest
    acknowledged_pause_s: float  # as pause_s, whatever became of those writes
    resumed: bool  # False: the pause lasted to the end of the window
    beyond_s: float  # pause less that of the servers themselves
    after_new_primary_s: float | None  # from the servers' own first write after their pause to the first one here
    errors: dict[str, int]  # "write 57P01" -> how often
    clients_with_errors: int
    connections_lost: int
    rows_lost: int  # acknowledged, and not there in the end
    rows_not_replicated: int  # of these: acknowledged before it had happened; asynchronous replication loses them
    stale_reads: int
    writes: int  # acknowledged in the window

    @property
    def error_count(self) -> int:
        """All errors."""
        return sum(self.errors.values())


def parse(lines: Iterable[str]) -> Iterator[Outcome]:
    """Read a journal; a line that was cut off when its writer was killed is left out."""
    for line in lines:
        if line.endswith("]\n"):
            yield Outcome(*json.loads(line))


def longest_gap(moments: Iterable[float], begin_s: float, end_s: float) -> Gap:
    """Give the longest time between two moments, from the last one before `begin_s` on; `end_s` ends the last one.

    What is long before `begin_s` is another story: the gap then begins there.
    """
    before, inside = begin_s, []
    for moment in sorted(moments):
        if moment <= begin_s:
            before = moment if moment > begin_s - BEFORE_S else begin_s
        elif moment <= end_s:
            inside.append(moment)
    edges = [before, *inside, end_s]
    gaps = [Gap(a, b) for a, b in pairwise(edges)]
    longest = max(gaps, key=lambda gap: gap.length_s)
    return Gap(longest.begin_s, longest.end_s, ended=longest is not gaps[-1])


def kept(outcomes: Iterable[Outcome], rows: set[tuple[int, int]]) -> list[Outcome]:
    """Give the acknowledged writes that are there in the end."""
    return [outcome for outcome in outcomes if outcome.acknowledged and outcome.key in rows]


def servers_gap(observed: Iterable[Outcome], rows: set[tuple[int, int]], window: Window) -> Gap:
    """Give the time in which the servers themselves took no write that was to last."""
    return longest_gap((outcome.end_s for outcome in kept(observed, rows)), window.at_s, window.end_s)


def evaluate(outcomes: Sequence[Outcome], rows: set[tuple[int, int]], servers: Gap, window: Window) -> Figures:
    """Give the figures of a subject for one event; `rows` are what is there in the end."""
    inside = [outcome for outcome in outcomes if window.at_s <= outcome.end_s <= window.end_s]
    lasting = [outcome.end_s for outcome in kept(outcomes, rows)]
    acknowledged = [outcome for outcome in outcomes if outcome.acknowledged]
    pause = longest_gap(lasting, window.at_s, window.end_s)
    told = longest_gap((outcome.end_s for outcome in acknowledged), window.at_s, window.end_s)
    failed = [outcome for outcome in inside if outcome.error]
    lost = [a.end_s for a in acknowledged if a.key not in rows]
    lost = [moment for moment in lost if window.at_s - HELD_ON_S <= moment <= window.over_s]
    return Figures(
        pause_s=round(pause.length_s, 3),
        worst_client_s=round(worst_client_s(outcomes, rows, window), 3),
        acknowledged_pause_s=round(told.length_s, 3),
        resumed=pause.ended,
        beyond_s=round(pause.length_s - servers.length_s, 3),
        after_new_primary_s=first_after(lasting, servers, window.end_s),
        errors=dict(Counter(f"{outcome.kind} {outcome.error}" for outcome in failed).most_common()),
        clients_with_errors=len({outcome.client for outcome in failed}),
        connections_lost=sum(outcome.lost for outcome in inside),
        rows_lost=len(lost),
        rows_not_replicated=sum(moment <= window.done_s for moment in lost),
        stale_reads=sum(outcome.stale for outcome in inside),
        writes=sum(outcome.acknowledged for outcome in inside),
    )


def worst_client_s(outcomes: Sequence[Outcome], rows: set[tuple[int, int]], window: Window) -> float:
    """Give the longest pause that one client had: others may work while it hangs."""
    there = {outcome.client for outcome in outcomes if outcome.begin_s <= window.at_s}
    last = max(there, default=0) // CLIENTS  # the others have ended
    moments: dict[int, list[float]] = {client: [] for client in there if client // CLIENTS == last}
    for outcome in kept(outcomes, rows):
        if outcome.client in moments:
            moments[outcome.client].append(outcome.end_s)
    return max((longest_gap(each, window.at_s, window.end_s).length_s for each in moments.values()), default=0.0)


def first_after(lasting: Iterable[float], servers: Gap, end_s: float) -> float | None:
    """Give the time from the servers' first write after their pause to the first one here; None if there was none.

    It may be some hundredths of a second below 0: nobody asks the servers all the time.
    """
    middle_s = (servers.begin_s + servers.end_s) / 2
    first_s = min((moment for moment in lasting if middle_s < moment <= end_s), default=None)
    return None if first_s is None or not servers.ended else round(first_s - servers.end_s, 3)


Spans = list[tuple[float, float]]


def spans(moments: Iterable[float], join_s: float = JOIN_S) -> Spans:
    """Join moments that are near one another: (first, last)."""
    found: Spans = []
    for moment in sorted(moments):
        if found and moment - found[-1][1] <= join_s:
            found[-1] = found[-1][0], moment
        else:
            found.append((moment, moment))
    return found


def drawn(outcomes: Sequence[Outcome], rows: set[tuple[int, int]], window: Window) -> dict[str, list[list[float]]]:
    """Give what the picture shows of a subject, in seconds after the event.

    `written` and `lost` are [client, first, last]: spans of writes that lasted and of writes that did not. `errors` are
    [second, how many].
    """
    near = [o for o in outcomes if window.at_s - BEFORE_S <= o.end_s <= window.end_s]
    acknowledged = [o for o in near if o.acknowledged]
    errors = Counter((o.end_s - window.at_s) // ERRORS_EVERY_S * ERRORS_EVERY_S for o in near if o.error)
    return {
        "written": by_client((o for o in acknowledged if o.key in rows), window.at_s),
        "lost": by_client((o for o in acknowledged if o.key not in rows), window.at_s),
        "errors": [[second, count] for second, count in sorted(errors.items())],
    }


def by_client(writes: Iterable[Outcome], at_s: float) -> list[list[float]]:
    """Give [client, first, last] for each span of writes, in seconds after a moment."""
    moments: dict[int, list[float]] = {}
    for write in writes:
        moments.setdefault(write.client % CLIENTS, []).append(write.end_s)
    return [
        [client, round(first - at_s, 2), round(last - at_s, 2)]
        for client in sorted(moments)
        for first, last in spans(moments[client])
    ]
