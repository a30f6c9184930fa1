"""The log: lines as logging writes them, that nobody can forge; limits by kind; and a reader that does not read."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.config.settings import Log
from pgrouter.demo.processes import until
from pgrouter.errors import ConfigError
from pgrouter.logs.handler import EVERY, Destination, Handler, opened
from pgrouter.logs.limits import MOST_KINDS, MOST_OF_A_KIND, Limits
from pgrouter.logs.lines import LINE, LONGEST, Formatter, JsonFormatter, SyslogFormatter, escaped
from pgrouter.logs.outlet import Outlet
from pgrouter.proxy.client_info import ClientInfo

if TYPE_CHECKING:
    from collections.abc import Iterator


class Zoned(logging.Formatter):
    """What ours is held to."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  (logging's)
        assert datefmt is None
        second = datetime.fromtimestamp(int(record.created), UTC).astimezone()
        return second.replace(microsecond=int(record.msecs) * 1000).isoformat(timespec="milliseconds")


def record(text: str, *args: object, created: float = 1.0) -> logging.LogRecord:
    made = logging.LogRecord("pgrouter.client", logging.INFO, "", 0, text, args, None)
    made.created = created
    made.msecs = int(created % 1 * 1000)
    return made


# -- lines


def test_a_line_reads_as_logging_would_have_written_it() -> None:
    ours, own = Formatter(), Zoned(LINE)
    for created in (1.0, 1.25, 1.9999, 2.001, 86_399.5, 1.5):
        one = record("C-%d %s", 1, "login of Zo\u00eb", created=created)
        assert ours.format(one) == own.format(one)


@pytest.mark.parametrize(("text", "written"), [
    ("plain", "plain"),
    ("a\nb\r\tc", r"a\nb\r\tc"),
    ("\x1b[31m\0\x7f\x9b", r"\x1b[31m\x00\x7f\x9b"),
    ("\u2028\u202e\u2066", r"\u2028\u202e\u2066"),
    (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
    ("\ud800", r"\ud800"),
    ("caf\u00e9 \u00a0\u4e2d", "caf\u00e9 \u00a0\u4e2d"),
])  # fmt: skip
def test_what_is_escaped(text: str, written: str) -> None:
    assert escaped(text) == written


@given(st.text(st.characters(), max_size=200))
def test_any_name_makes_one_line_that_can_be_written(name: str) -> None:
    line = Formatter().format(record("C-%d %s: login failed: %s", 1, ClientInfo(name, name, "::1", 5, ""), name))
    assert len(line.splitlines()) == 1
    line.encode()


def test_a_long_name_is_cut() -> None:
    line = Formatter().format(record("%s", "x" * 100_000))
    assert len(line) < LONGEST + 200
    assert line.endswith("(96000 more characters)")


def test_the_lines_of_a_traceback_cannot_be_taken_for_others() -> None:
    made = record("bug")
    error = ValueError("x\n2026-01-01T00:00:00.000+00:00 INFO    pgrouter.client: forged")
    made.exc_info = (ValueError, error, None)
    first, *rest = Formatter().format(made).split("\n")
    assert first.endswith("pgrouter.client: bug")
    assert all(line.startswith("\t") for line in rest)
    assert any("forged" in line for line in rest)


@pytest.mark.parametrize(("user", "shown"), [
    ("joe", "joe"), ("joe.o_1-$", "joe.o_1-$"), ("a b", '"a b"'), ('x"y', '"x""y"'),
    ("joe@1.2.3.4:5: login", '"joe@1.2.3.4:5: login"'),
    ("n" * 70, '"' + "n" * 63 + '..."'), ("", '""'),
])  # fmt: skip
def test_a_name_is_told_from_what_is_around_it(user: str, shown: str) -> None:
    assert str(ClientInfo(user, "app", "10.0.0.1", 5432, "psql")) == f"app/{shown}@10.0.0.1:5432"


# -- limits


def test_the_limit_is_for_each_kind_and_second() -> None:
    limits = Limits(most=2)
    assert limits.turn(10.9) == []
    assert [limits.admits(kind) for kind in "aabab"] == [True, True, True, False, True]
    assert limits.turn(10.95) == []
    assert not limits.admits("a")
    assert limits.turn(11.0) == [("a", 2)]
    assert limits.admits("a")
    assert limits.turn(12.0) == []


def test_kinds_do_not_grow_without_limit() -> None:
    limits = Limits(most=1)
    assert sum(limits.admits(str(number)) for number in range(10_000)) == MOST_KINDS + 1
    assert limits.turn(1.0) == [("something else", 10_000 - MOST_KINDS - 1)]


# -- writing


class Pipe:
    """A pipe that is read when a test wants it."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        os.set_blocking(self.reads, False)

    def read(self) -> bytes:
        found = b""
        while True:
            try:
                found += os.read(self.reads, 1 << 20)
            except BlockingIOError:
                return found


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reads)
    for _ in range(100):  # a thread that waits for a reader has none any more
        if not any(thread.name == "pgrouter-log" for thread in threading.enumerate()):
            break
        time.sleep(0.01)
    os.close(made.writes)


def test_what_is_read_in_time_is_written_at_once(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writes)
    assert outlet.write(b"one\n")
    assert outlet.write(b"x" * 30_000 + b"\n")
    assert pipe.read() == b"one\n" + b"x" * 30_000 + b"\n"


def test_nobody_waits_for_a_reader_and_nothing_is_lost_that_fits(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writes, most_bytes=1 << 20)
    lines = [b"%d %s\n" % (number, b"x" * 100) for number in range(5000)]
    began = time.monotonic()
    taken = [outlet.write(line) for line in lines]
    assert time.monotonic() - began < 2
    assert all(taken)
    found = bytearray()
    until(lambda: found.extend(pipe.read()) or len(found) == sum(map(len, lines)), 10, "everything was written")
    assert bytes(found) == b"".join(lines)
    until(lambda: not any(t.name == "pgrouter-log" for t in threading.enumerate()), 5, "the thread has ended")
    assert outlet.write(b"directly again\n")
    assert pipe.read() == b"directly again\n"


def test_what_does_not_fit_is_counted_and_reported(pipe: Pipe) -> None:
    handler = Handler(Destination(pipe.writes, Formatter()))
    handler._outlet._most_bytes = 10_000
    for number in range(3000):
        one = record("%s", "x" * 100)
        one.every = True
        one.created = float(number)
        handler.handle(one)
    dropped = handler._outlet.dropped
    assert 2000 < dropped < 3000
    found = bytearray()
    until(lambda: found.extend(pipe.read()) or handler._outlet._thread is None, 10, "the rest was written")
    handler.tick()
    found += pipe.read()
    lines = found.decode().splitlines()
    assert lines[-1].endswith(f"WARNING pgrouter.log: {dropped} lines are missing: nobody took them")
    assert len(lines) == 3000 - dropped + 1


def test_the_end_waits_for_a_moment_only(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writes)
    while outlet.write(b"x" * 10_000) and outlet._thread is None:
        pass
    began = time.monotonic()
    outlet.flush(0.2)
    assert 0.1 < time.monotonic() - began < 5


def test_a_reader_that_has_gone_stops_nobody() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    outlet = Outlet(writes)
    assert outlet.write(b"to nobody\n")
    assert outlet.dropped == 1
    os.close(writes)


def test_a_socket_as_systemd_gives_one() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outlet = Outlet(ours.fileno())
        size = 0
        while outlet._thread is None:
            assert outlet.write(b"x" * 999 + b"\n")
            size += 1000
        theirs.settimeout(10)
        while size:
            size -= len(theirs.recv(min(size, 1 << 16)))


def test_too_many_of_a_kind_are_counted(pipe: Pipe) -> None:
    handler = Handler(Destination(pipe.writes, Formatter()))
    for number in range(500):
        handler.handle(record("cancel request with a wrong key for C-%d", number, created=7.5))
        other = record("C-%d login", number, created=7.5)
        other.__dict__.update(EVERY)
        handler.handle(other)
    handler.handle(record("and on", created=8.0))
    lines = pipe.read().decode().splitlines()
    assert sum("cancel request" in line for line in lines) == MOST_OF_A_KIND + 1
    assert sum("login" in line for line in lines) == 500
    assert lines[-2].endswith(
        f"pgrouter.log: ... {500 - MOST_OF_A_KIND} more lines in a second: cancel request with a wrong key for C-%d"
    )


def test_a_line_that_cannot_be_made_is_reported_and_nothing_is_raised(pipe: Pipe) -> None:
    Handler(Destination(pipe.writes, Formatter())).handle(record("%d", "no number"))
    assert "a line could not be written: TypeError: '%d'" in pipe.read().decode()


# -- where it goes


def test_a_line_of_json_has_the_same() -> None:
    one = record("C-%d %s", 1, "a\nb", created=1.25)
    assert msgspec.json.decode(JsonFormatter().format(one)) == {
        "time": Formatter().formatTime(one),
        "level": "info",
        "logger": "pgrouter.client",
        "message": r"C-1 a\nb",
    }
    try:
        int("x\n{")
    except ValueError as error:
        one.exc_info = (ValueError, error, error.__traceback__)
    line = JsonFormatter().format(one)
    assert "\n" not in line
    assert msgspec.json.decode(line)["exception"].startswith("\tTraceback")


def test_a_file_is_opened_again_and_what_is_not_read_yet_goes_where_it_was_meant_to(tmp_path: Path, pipe: Pipe) -> None:
    file, renamed = tmp_path / "log", tmp_path / "log.1"
    settings = Log(file=file)
    handler = Handler(Destination(pipe.writes, Formatter()))
    while handler._outlet._thread is None:
        handler.emit(record("%s", "x" * 1000))
    handler.turn_to(opened(settings))
    handler.emit(record("one"))
    file.rename(renamed)
    handler.emit(record("two"))
    handler.turn_to(opened(settings))
    handler.emit(record("three"))
    assert [line.split()[-1] for line in renamed.read_text().splitlines()] == ["one", "two"]
    assert [line.split()[-1] for line in file.read_text().splitlines()] == ["three"]
    assert file.stat().st_mode & 0o777 == 0o640
    assert pipe.read()
    until(lambda: pipe.read() == b"", 5, "the first one has everything")
    with pytest.raises(OSError, match="No such file"):
        opened(Log(file=tmp_path / "nowhere" / "log"))


def test_lines_of_syslog_are_datagrams_with_a_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    monkeypatch.setattr("pgrouter.logs.handler.SYSLOG", str(path))
    with pytest.raises(FileNotFoundError):
        opened(Log(syslog="local3"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        handler = Handler(opened(Log(syslog="local3")))
        handler.emit(record("%s", "\u4e2d" * 5000))
        handler.turn_to(opened(Log(syslog="daemon", format="json")))
        handler.emit(record("two"))
        first, second = daemon.recv(20_000), daemon.recv(20_000)
        handler.turn_to(Destination(1, Formatter()))
    assert first.startswith(b"<158>pgrouter[%d]: INFO pgrouter.client: \xe4\xb8\xad" % os.getpid())
    assert len(first) > 3 * LONGEST
    prefix, _, line = second.partition(b": ")
    assert prefix == b"<30>pgrouter[%d]" % os.getpid()
    assert msgspec.json.decode(line)["message"] == "two"
    assert SyslogFormatter("daemon", Formatter(), "p").format(record("a\nb")).endswith(r"a\nb")


def test_a_reload_that_fails_leaves_the_log_where_it_was(tmp_path: Path, pipe: Pipe) -> None:
    handler = Handler(Destination(pipe.writes, Formatter()))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KeyError), handler.reloading(Log(file=tmp_path / "log")):
        raise KeyError
    with (
        pytest.raises(ConfigError, match="log: cannot write there: No such file"),
        handler.reloading(Log(file=tmp_path / "nowhere" / "log")),
    ):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    handler.emit(record("here"))
    assert pipe.read().endswith(b"here\n")
    with handler.reloading(Log(file=tmp_path / "log")):
        handler.emit(record("still here"))
    handler.emit(record("there"))
    assert pipe.read().endswith(b"still here\n")
    assert (tmp_path / "log").read_text().endswith("there\n")
