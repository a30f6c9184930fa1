"""Where the log goes, and its way there: formatted, limited by kind, without waiting."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, TextIO

from pgrouter.errors import ConfigError
from pgrouter.logs.limits import Limits
from pgrouter.logs.lines import Formatter, JsonFormatter, SyslogFormatter
from pgrouter.logs.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.config.settings import Log

EVERY = {"every": True}
"""`extra` of lines that are not limited: those that somebody counts, and that cost whoever causes them a login."""

SYSLOG = "/dev/log"

log = logging.getLogger("pgrouter.log")


class Destination(NamedTuple):
    """A descriptor, and how its lines look."""

    fd: int
    formatter: logging.Formatter
    ours: bool = False  # it is closed when another one takes its place
    datagrams: bool = False  # a line is one


class Handler(logging.Handler):
    """Writes lines to a descriptor: formatted, limited by kind, without waiting."""

    def __init__(self, destination: Destination) -> None:
        super().__init__()
        self._outlet = _outlet(destination)
        self._limits = Limits()
        self.setFormatter(destination.formatter)
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._outlet.forget()

    def turn_to(self, destination: Destination) -> None:
        """Write to another destination from now on; what the old one has not taken yet is still written there."""
        with self.lock or contextlib.nullcontext():
            before, self._outlet = self._outlet, _outlet(destination)
            self._outlet.dropped = before.dropped
            self.setFormatter(destination.formatter)
        before.finish()

    @contextlib.contextmanager
    def reloading(self, settings: Log) -> Iterator[None]:
        """Write where these settings say after the block; a file is opened again.

        Raises:
            ConfigError: before the block: it cannot be written there.

        """
        try:
            destination = opened(settings)
        except OSError as error:
            raise ConfigError([f"log: cannot write there: {error.strerror}"]) from error
        try:
            yield
        except BaseException:
            if destination.ours:
                os.close(destination.fd)
            raise
        self.turn_to(destination)

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


def _outlet(destination: Destination) -> Outlet:
    return Outlet(destination.fd, ours=destination.ours, whole=destination.datagrams)


def _record(text: str, *args: object) -> logging.LogRecord:
    return log.makeRecord(log.name, logging.WARNING, "", 0, text, args, None)


# -- destinations


def opened(settings: Log, stream: TextIO = sys.stderr) -> Destination:
    """Return where these settings say that lines go; `stream` if they do not name a file or syslog.

    Raises:
        OSError: the file cannot be written, or no syslog daemon listens.

    """
    lines = JsonFormatter() if settings.format == "json" else Formatter()
    if settings.syslog is not None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(SYSLOG)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        lines = SyslogFormatter(settings.syslog, lines, f"pgrouter[{os.getpid()}]")
        return Destination(sock.detach(), lines, ours=True, datagrams=True)
    if settings.file is not None:
        fd = os.open(settings.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return Destination(fd, lines, ours=True)
    return Destination(stream.fileno(), lines)


def start(settings: Log, stream: TextIO = sys.stderr) -> Handler:
    """Write lines from now on: pgrouter's own from `log.level` up, libraries' from WARNING up.

    Raises:
        OSError: as `opened`.

    """
    # Two lines per connection: do not collect what they do not show (Logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001  (so the manual says; it is the line of code that has logged)
    handler = Handler(opened(settings, stream))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("pgrouter").setLevel(settings.level.upper())
    return handler
