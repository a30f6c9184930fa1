"""Lines: what peers say appears in many of them, so all of it is escaped here: a line is a line.

The lines of a traceback begin with a tab, as in PostgreSQL's log.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from logging.handlers import SysLogHandler
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from types import TracebackType

LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
SYSLOG_LINE = "%(levelname)s %(name)s: %(message)s"  # syslog has the time
SECONDS_END = len("2026-01-01T00:00:00")
LONGEST = 4000  # characters of a message; names from startup packets have up to 10,000

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


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
        """Return the time of a line as RFC 3339 has it, with milliseconds and the UTC offset."""
        second = int(record.created)
        if second != self._second:
            now = datetime.fromtimestamp(second, UTC).astimezone().isoformat()
            self._second, self._time, self._zone = second, now[:SECONDS_END], now[SECONDS_END:]
        return f"{self._time}.{int(record.msecs):03d}{self._zone}"

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


class JsonFormatter(Formatter):
    """A line is a JSON object: time, level, logger, message, and exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": escaped(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class SyslogFormatter(Formatter):
    """A line as syslog daemons read them from their socket (RFC 3164, without time and host, which they add)."""

    def __init__(self, facility: str, lines: Formatter, ident: str) -> None:
        super().__init__(SYSLOG_LINE)
        self._facility = SysLogHandler.facility_names[facility]
        self._lines = lines
        self._ident = ident

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        text = self._lines.format(record) if isinstance(self._lines, JsonFormatter) else super().format(record)
        priority = self._facility << 3 | _PRIORITIES.get(record.levelname, SysLogHandler.LOG_WARNING)
        return f"<{priority}>{self._ident}: {text}"


_PRIORITIES = {
    "DEBUG": SysLogHandler.LOG_DEBUG,
    "INFO": SysLogHandler.LOG_INFO,
    "WARNING": SysLogHandler.LOG_WARNING,
    "ERROR": SysLogHandler.LOG_ERR,
    "CRITICAL": SysLogHandler.LOG_CRIT,
}
