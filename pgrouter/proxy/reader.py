"""A separate process that classifies texts which would block all clients: those of thousands of tokens.

PostgreSQL's parser releases the GIL, but converting its tree to Python objects does not, so a thread is not enough.
The process is a fork of the router, made when it is first needed, and again when it lacks a catalog: it has all that it
needs to classify a text, so only texts and their classes are sent. It gets one text at a time. A text that takes too
long, or ends the process, gets the class of a text that has not been parsed.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pickle
import select
import signal
import socket
import struct
import warnings
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple

from pgrouter.net.bytes_stream import BytesStream
from pgrouter.routing.cache import LONG
from pgrouter.routing.statement import Reason, Statement

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

    from pgrouter.net.poller import Poller
    from pgrouter.net.stream import Stream
    from pgrouter.routing.cache import StatementCache

    Judge = Callable[[bytes], Statement]

log = logging.getLogger("pgrouter.client")

PATIENCE_S = 2.0  # for one text; the longest that are parsed at all take half a second of a core
JUDGES = 8  # catalogs that a process has at most
NICE = 5  # it may wait; the clients that it would slow down should not

_REQUEST = struct.Struct("!II")  # index of the judge, length of the text
_LENGTH = struct.Struct("!I")
_REASONS = {reason: reason for name, reason in vars(Reason).items() if not name.startswith("_")}


class Reader:
    """Has texts classified one by one; each client's `turn` is called when the cache knows the class."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self._waiting: OrderedDict[tuple[StatementCache, bytes], list[Stream]] = OrderedDict()
        self._process: _Process | None = None
        self._busy = False
        self._timer: TimerHandle | None = None

    def read(self, cache: StatementCache, text: bytes, client: Stream) -> None:
        """Have `text` classified for `cache`, and then give the client a turn."""
        self._waiting.setdefault((cache, text), []).append(client)
        if not self._busy:
            self._next()

    def close(self) -> None:
        """End the process; no client gets a turn any more."""
        self._waiting.clear()
        self._end()

    def answered(self, statement: Statement | None) -> None:
        """Called with the class of the current text; None: it could not be classified."""
        if self._timer is not None:
            self._timer.cancel()
        self._busy = False
        if not self._waiting:
            return
        (cache, text), clients = self._waiting.popitem(last=False)
        cache.learn(text, LONG if statement is None else statement)
        if self._waiting:
            self._next()
        for client in clients:
            self.poller.put_off(client)

    def failed(self) -> None:
        """Called when the process has ended or is too slow."""
        log.warning("a text of %d bytes could not be judged", len(next(iter(self._waiting), (None, b""))[1]))
        self._end()
        self.answered(None)

    def _next(self) -> None:
        self._busy = True
        cache, text = next(iter(self._waiting))
        judge = cache.classify
        if self._process is None or judge not in self._process.judges:
            known = self._process.judges if self._process is not None else []
            self._end()
            try:
                self._process = _Process(self, [*known[1 - JUDGES :], judge])
            except OSError as error:
                log.warning("no process to read a long text: %s", error)
                self.poller.loop.call_soon(self.answered, None)
                return
        self._timer = self.poller.loop.call_later(PATIENCE_S, self.failed)
        self._process.send_bytes(_REQUEST.pack(self._process.judges.index(judge), len(text)) + text)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._process is not None:
            self._process.kill()
            self._process = None


class _Process(BytesStream):
    """The process, as seen by the router."""

    def __init__(self, reader: Reader, judges: list[Judge]) -> None:
        super().__init__(reader.poller)
        self._reader = reader
        self.judges = judges
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads: the child takes none of their locks
            self.pid = os.fork()
        if self.pid == 0:
            _serve(theirs.fileno(), judges)
        theirs.close()
        self.attach(ours, select.EPOLLIN)

    def on_bytes(self, data: bytes) -> int:
        """Process an answer once it is complete."""
        if len(data) < _LENGTH.size:
            return 0
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        if len(data) < end:
            return 0
        fields = pickle.loads(data[_LENGTH.size : end])  # noqa: S301  (our own process)
        self._reader.answered(None if fields is None else _statement(fields))
        return end

    def on_eof(self, why: str) -> int:  # noqa: ARG002
        """Called when the process has ended, which it never does by itself."""
        self._reader.failed()
        return 0

    def kill(self) -> None:
        """Kill the process, and have it reaped."""
        self.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.poller.aside(partial(os.waitpid, self.pid, 0), _buried)


def _buried(_status: tuple[int, int]) -> None:
    """Called when a process has been reaped."""


def _statement(fields: tuple[Any, ...]) -> Statement:
    target, reason, *more, _verdict = fields
    return Statement(target, _REASONS.get(reason, reason), *more)  # reasons are compared by identity


# -- in the child process


def _serve(fd: int, judges: list[Judge]) -> None:
    """Answer until the router closes the socket; never returns."""
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.closerange(3, fd)
        os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
        os.nice(NICE)
        gc.disable()  # trees have no cycles
        with open(fd, "rb", closefd=False) as texts:
            while head := texts.read(_REQUEST.size):
                number, size = _REQUEST.unpack(head)
                _write(fd, _judged(judges[number], texts.read(size)))
    finally:
        os._exit(0)


def _judged(judge: Judge, text: bytes) -> bytes:
    statement = judge(text)
    answer = pickle.dumps((*astuple(statement)[:-1], None))
    return _LENGTH.pack(len(answer)) + answer


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
