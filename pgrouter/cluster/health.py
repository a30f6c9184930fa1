"""What a server reports about itself, and how the monitor remembers it. Pure.

A `ServerReport` is one answer. A `Probe` is what is known about one member after any number of answers and failures:
the last report, how often it has failed since, and facts that only a sequence shows (on which timeline it has been seen
streaming, since when it reports to be primary).
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from pgrouter.cluster.refusal import TRANSITION
from pgrouter.topology import Role

LOST_AFTER = 2  # consecutive failures; one alone changes nothing. Each has already tried a fresh connection
SILENT_AFTER = 4  # consecutive queries without a sign of life: its connections count as dead, not just slow
UNSTREAMED_AFTER = 3  # consecutive answers without a WAL receiver: more than it takes to see its primary lost


class ServerReport(Struct, frozen=True, kw_only=True, gc=False):
    """One answer of a server; times are the router's monotonic seconds."""

    role: Role
    system_id: str
    timeline: int  # primary: of the WAL it writes; replica: of the WAL it receives, else from its control file
    lsn: int = 0  # primary: inserted; replica: replayed
    received_lsn: int = 0  # replica: received and flushed
    streaming: bool = False  # replica: its WAL receiver streams now
    defaults: str = ""  # digest of the defaults of new sessions there; empty: not reported
    unseen: str = ""  # what the router's role may not see, for people
    started: str = ""  # postmaster start time in microseconds: identifies a server under any name
    asked_s: float = 0.0
    answered_s: float = 0.0


class Probe(Struct, frozen=True, kw_only=True, gc=False):
    """What is known about one member."""

    report: ServerReport | None = None  # None: it has never answered
    failures: int = 0  # consecutive, since the last report
    failed_s: float = 0.0  # when the last of these was asked for
    silences: int = 0  # the last of these, without any sign of life, not even a refusal
    error: str = ""  # of the last failure, one line
    refused: bool = False  # the last failure was an answer: PostgreSQL runs there but refuses the router's role
    stands: bool = False  # its last report still holds nevertheless: see `failed`
    vouched_s: float = 0.0  # when open connections last proved that it has not restarted since its last report
    unstreamed: int = 0  # consecutive answers as a replica without streaming
    unstreamed_since_s: float = 0.0  # when the first of these was asked for
    streamed_timeline: int = 0  # the timeline it streamed on last; 0: never, or it has been primary since
    primary_since_s: float = 0.0  # since when it has reported to be primary, on this timeline, without a break

    @property
    def lost(self) -> bool:
        """Whether it has failed often enough to count as gone."""
        return self.failures >= LOST_AFTER

    @property
    def silent(self) -> bool:
        """Whether it has shown no sign of life for so long that waiting for it is pointless."""
        return self.silences >= SILENT_AFTER

    @property
    def valid_report(self) -> ServerReport | None:
        """Return its last report while that still counts.

        A primary becomes a replica by a restart only, so its report holds while it is known not to have restarted.
        A replica's report says how far it has replayed, which is soon out of date.
        """
        stands = self.stands and self.report is not None and self.report.role is Role.PRIMARY
        return self.report if stands or not self.lost else None

    @property
    def unheard(self) -> str:
        """Return why no report counts, for people."""
        if self.refused and TRANSITION.search(self.error):
            return f"lets nobody in at the moment: {self.error}"
        if self.refused:
            return f"refuses the login of cluster.monitor.user: {self.error}"
        return f"does not answer: {self.error}" if self.lost else "has not answered yet"

    @property
    def alive_s(self) -> float:
        """Return the last time at which it is known to have been alive, without a restart since its report."""
        asked_s = self.report.asked_s if self.report else 0.0
        return max(asked_s, self.vouched_s)

    @property
    def asked_s(self) -> float:
        """Return when the last query began, whether it was answered or failed."""
        return max(self.failed_s, self.report.asked_s if self.report else 0.0)

    @property
    def streams(self) -> bool:
        """Whether it streams; short interruptions are ignored."""
        return self.streamed_timeline > 0 and self.unstreamed < UNSTREAMED_AFTER

    @property
    def timeline(self) -> int:
        """Return the timeline it is on: a control file alone may still show the previous one."""
        return max(self.report.timeline if self.report else 0, self.streamed_timeline)

    def answered(self, report: ServerReport) -> Probe:
        """Add an answer."""
        last = self.report if self.report and self.report.system_id == report.system_id else None
        if report.role is Role.PRIMARY:
            goes_on = last is not None and (last.role, last.timeline) == (Role.PRIMARY, report.timeline)
            return Probe(report=report, primary_since_s=self.primary_since_s if goes_on else report.asked_s)
        if report.streaming:
            return Probe(report=report, streamed_timeline=report.timeline)
        if last is None:
            return Probe(report=report, unstreamed=1, unstreamed_since_s=report.asked_s)
        return Probe(
            report=report,
            unstreamed=self.unstreamed + 1,
            unstreamed_since_s=self.unstreamed_since_s if self.unstreamed else report.asked_s,
            streamed_timeline=self.streamed_timeline,
        )

    def failed(  # noqa: PLR0913  (facts about one failure)
        self,
        error: str,
        *,
        asked_s: float = 0.0,
        silent: bool = False,
        refused: bool = False,
        stands: bool = False,
        vouched_s: float = 0.0,
    ) -> Probe:
        """Add the failure of a query that began at `asked_s`.

        `silent`: there was no answer of any kind. `refused`: PostgreSQL itself refused the login.
        `stands`: it has not restarted since its last report. Either it refuses for another reason than starting up or
        shutting down, or the router's open connections prove it, at `vouched_s`.
        """
        return replace(
            self,
            failures=self.failures + 1,
            failed_s=asked_s,
            silences=self.silences + 1 if silent else 0,
            error=error,
            refused=refused,
            stands=stands,
            vouched_s=vouched_s,
        )
