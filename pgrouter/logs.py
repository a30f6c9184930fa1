"""The log: lines on a descriptor, which nobody can forge, multiply or stop.

What peers say appears in many lines, so all of it is escaped in one place, the formatter: a line is a line, whatever a
database is called, and the lines of a traceback begin with a tab, as in PostgreSQL's log. Lines of one kind (one text,
whatever it is about) are limited by the second, and what is left out is counted. Writing never waits: what is not taken
at once, because nobody reads the pipe, is kept up to a limit and written by a thread, which ends when there is no more
of it. What is dropped is counted, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import stat
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from types import TracebackType

LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
LONGEST = 4000  # characters of a message; names from startup packets have up to 10,000
MOST_OF_A_KIND = 50  # lines per second
MOST_KINDS = 200  # per second; all others are one kind
EVERY = {"every": True}
"""`extra` of lines that are not limited: those that somebody counts, and that cost whoever causes them a login."""

KEPT_BYTES = 4 * 1024 * 1024  # that wait to be read
AT_ONCE = select.PIPE_BUF  # a pipe that is writable takes this much without waiting (poll(2), pipe(7))
LAST_WAIT_S = 2.0  # for a reader, at the end

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

log = logging.getLogger("pgrouter.log")


# -- lines


def escaped(text: str) -> str:
    """Return a text as it may stand in a line: in one line, without control characters, and not too long."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(text) - LONGEST} more characters)"
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    letter = match[0]
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that was not UTF-8
        number -= 0xDC00
    return _SHORT.get(letter) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


class Formatter(logging.Formatter):
    """logging's own, plus escapes and the time zone; date and time are formatted once a second, not for every line."""

    def __init__(self, line: str = LINE) -> None:
        super().__init__(line)
        self._second, self._time, self._zone = -1, "", ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  (logging's)
        """Return the time of a line, with milliseconds and the UTC offset."""
        second = int(record.created)
        if second != self._second:
            now = self.converter(second)
            self._second, self._time = second, time.strftime(self.default_time_format, now)
            self._zone = time.strftime("%z", now)
        return f"{self._time},{int(record.msecs):03d} {self._zone}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's)
        """Return a line, with what may be a peer's words escaped."""
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(  # noqa: N802  (logging's)
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """Return a traceback, whose lines cannot be taken for those of the log."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  (logging's)
        """Return a stack, in the same way."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"\t{escaped(line)}" for line in text.split("\n"))


# -- limits


class Limits:
    """How many lines of each kind there were in the current second. Pure: times are passed in."""

    def __init__(self, most: int = MOST_OF_A_KIND) -> None:
        self._most = most
        self._second = 0
        self._counts: dict[str, int] = {}

    def admits(self, kind: str) -> bool:
        """Whether there is room for one more line of a kind in this second; `turn` comes first."""
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            kind = "something else"
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        return count <= self._most

    def turn(self, now: float) -> list[tuple[str, int]]:
        """Begin another second if this one is over; return the kinds of which there were too many, and how many."""
        if int(now) == self._second:
            return []
        self._second = int(now)
        missed = [(kind, count - self._most) for kind, count in self._counts.items() if count > self._most]
        self._counts.clear()
        return missed


# -- writing


class Outlet:
    """A descriptor that is written to without waiting for whoever reads it. Safe to use in all threads."""

    def __init__(self, fd: int, most_bytes: int = KEPT_BYTES) -> None:
        self._fd = fd
        self._most_bytes = most_bytes
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._limited = not stat.S_ISREG(os.fstat(fd).st_mode)  # by what a reader takes
        self._state = threading.Condition()  # guards all that follows
        self._kept: deque[bytes] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self.dropped = 0  # lines, not reported yet
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._state = threading.Condition()
        self._kept.clear()
        self._bytes, self._thread = 0, None

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return self._thread is None

    def write(self, line: bytes) -> bool:
        """Write a line, now or later; whether that is possible."""
        with self._state:
            rest = line if self._thread is not None else self._write_now(line)
            if not rest:
                return True
            if len(rest) == len(line) and self._bytes + len(rest) > self._most_bytes:
                self.dropped += 1
                return False
            self._kept.append(rest)
            self._bytes += len(rest)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_rest, name="pgrouter-log", daemon=True)
                self._thread.start()
            return True

    def _write_now(self, line: bytes) -> bytes:
        """Write as much as is taken at once, and return the rest; a descriptor that fails loses the line."""
        try:
            while line and self._poll.poll(0):
                line = line[os.write(self._fd, line[:AT_ONCE] if self._limited else line) :]
        except BlockingIOError:
            pass
        except OSError:
            self.dropped += 1
            return b""
        return line

    def _write_rest(self) -> None:
        while True:
            with self._state:
                if not self._kept:
                    self._thread = None
                    self._state.notify_all()
                    return
                line = self._kept.popleft()
                self._bytes -= len(line)
            while line:
                try:
                    line = line[os.write(self._fd, line) :]  # as long as it takes
                except BlockingIOError:
                    self._poll.poll()
                except OSError:
                    self.dropped += 1
                    break

    def flush(self, timeout_s: float = LAST_WAIT_S) -> None:
        """Wait until everything was written, but not for ever."""
        with self._state:
            self._state.wait_for(lambda: self._thread is None, timeout_s)


class Handler(logging.Handler):
    """Writes lines to a descriptor: formatted, limited by kind, without waiting."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._outlet = Outlet(fd)
        self._limits = Limits()
        self.setFormatter(Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless there were too many like it in this second."""
        try:
            self._tell_missed(record.created)
            if getattr(record, "every", False) or self._limits.admits(str(record.msg)):
                self._write(record)
        except Exception as error:  # noqa: BLE001  (whoever logs must go on)
            self._write(_record("a line could not be written: %s: %r", type(error).__name__, str(record.msg)))

    def tick(self, _now: float = 0.0) -> None:
        """Report what was left out up to now; called a few times a second."""
        with self.lock or contextlib.nullcontext():
            self._tell_missed(time.time())

    def flush(self) -> None:
        """Wait a moment for what was not read yet: at the end."""
        self._outlet.flush()

    def _tell_missed(self, now: float) -> None:
        for kind, count in self._limits.turn(now):
            self._write(_record("... %d more lines in a second: %s", count, kind))
        dropped = self._outlet.dropped
        if dropped and self._outlet.idle and self._write(_record("%d lines are missing: nobody took them", dropped)):
            self._outlet.dropped -= dropped

    def _write(self, record: logging.LogRecord) -> bool:
        return self._outlet.write(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))


def _record(text: str, *args: object) -> logging.LogRecord:
    return log.makeRecord(log.name, logging.WARNING, "", 0, text, args, None)


def start(level: str, stream: TextIO = sys.stderr) -> Handler:
    """Write lines to a stream from now on: pgrouter's own from `level` up, libraries' from WARNING up."""
    # Two lines per connection: do not collect what they do not show (Logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001  (so the manual says; it is the line of code that has logged)
    handler = Handler(stream.fileno())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("pgrouter").setLevel(level.upper())
    return handler
