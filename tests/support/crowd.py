"""Thousands of clients in one thread: each is a generator that sends, and yields what it waits for.

    def program(talker):
        talker.send(query("select 1"))
        said = yield "Z"      # all messages up to ReadyForQuery
        yield 0.5             # half a second

A connection that the router closes raises `HungUp` in the generator. Nothing here blocks, so one process replaces a
thousand threads.
"""

from __future__ import annotations

import heapq
import select
import socket
import struct
import time
from itertools import count
from typing import TYPE_CHECKING

from support.rawclient import CANCEL_REQUEST, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    Program = Generator[str | float, list[Message], None]

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class HungUp(Exception):
    """The router has closed the connection."""


class Talker:
    """The connection of one program at a time: `connect`, `send`, `close` or `reset`, and `connect` again."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.sock: socket.socket | None = None
        self.key = b""
        self.said: list[Message] = []
        self.want: str | None = None  # the messages that the program waits for
        self.program: Program | None = None
        self._in = bytearray()
        self._out = bytearray()
        self._fd = -1
        self._ended = False
        self.turn = 0  # timers set in an earlier turn are out of date

    # -- what programs call

    def connect(self, receive_buffer: int = 0) -> None:
        """Start to connect; data sent meanwhile is buffered."""
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.setblocking(False)
        self.sock.connect_ex(("127.0.0.1", self.crowd.port))
        self._fd = self.sock.fileno()
        self._in.clear()
        self._out.clear()
        self._ended = False
        self.said = []
        self.crowd.watch(self, self._fd)

    def send(self, data: bytes) -> None:
        """Send, or buffer what the socket does not accept."""
        if self._out:
            self._out += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # reading will notice the end
            sent = len(data)
        if sent < len(data) and self._fd >= 0:
            self._out += data[sent:]
            self.crowd.epoll.modify(self._fd, READ | WRITE)

    def cancel(self) -> None:
        """Send a CancelRequest for our key on a connection of its own, which is closed at once."""
        with socket.create_connection(("127.0.0.1", self.crowd.port), timeout=20) as other:
            other.sendall(struct.pack("!II", 8 + len(self.key), CANCEL_REQUEST) + self.key)

    def close(self) -> None:
        """Close with FIN, or with RST if there are unread bytes."""
        if self.sock is not None:
            self.deafen()
            self.sock.close()
            self.sock = None

    def deafen(self) -> None:
        """Neither read nor send from now on, so that the router's sending blocks."""
        if self._fd >= 0:
            self.crowd.unwatch(self._fd)
            self._fd = -1

    def reset(self) -> None:
        """Tear the connection down with RST."""
        if self.sock is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()

    # -- what the crowd calls

    def on_event(self, mask: int) -> None:
        """Send what is buffered, read what has arrived, and resume the program if it waits for that."""
        if mask & WRITE:
            self._flush()
        if mask & ~WRITE and self._fd >= 0:
            try:
                data = self.sock.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._in += data
            self._ended = not data
            if self._ended:
                self.deafen()
            self.offer()

    def _flush(self) -> None:
        try:
            sent = self.sock.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._out)
        del self._out[:sent]
        if not self._out:
            self.crowd.epoll.modify(self._fd, READ)

    def offer(self) -> None:
        """Take messages from what has arrived, as long as the program waits for them."""
        at, end = 0, len(self._in)
        while self.want is not None and end - at >= 5:
            stop = at + 1 + int.from_bytes(self._in[at + 1 : at + 5], "big")
            if stop > end:
                break
            got = Message(chr(self._in[at]), bytes(self._in[at + 5 : stop]))
            at = stop
            if got.code == "K":
                self.key = got.body
            self.said.append(got)
            if got.code in self.want:
                del self._in[:at]
                said, self.said = self.said, []
                self.go_on(said)
                return
        del self._in[:at]
        if self._ended and self.want is not None:
            self.go_on(HungUp())

    def go_on(self, value: list[Message] | HungUp | None) -> None:
        """Run the program until it waits again."""
        self.want = None
        self.turn += 1
        try:
            wish = self.program.throw(value) if isinstance(value, HungUp) else self.program.send(value)
        except StopIteration:
            self.close()
            self.crowd.left -= 1
            return
        if isinstance(wish, str):
            self.want = wish
            self.offer()
        else:
            self.crowd.later(wish, self)


class Crowd:
    """All programs at once; `run` ends when the last of them has ended."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.epoll = select.epoll()
        self.left = 0
        self._talkers: dict[int, Talker] = {}
        self._timers: list[tuple[float, int, Talker, int]] = []
        self._numbers = count()

    def watch(self, talker: Talker, fd: int) -> None:
        """Start to receive a socket's events."""
        self._talkers[fd] = talker
        self.epoll.register(fd, READ | WRITE)

    def unwatch(self, fd: int) -> None:
        """Stop to receive a socket's events."""
        del self._talkers[fd]
        self.epoll.unregister(fd)

    def later(self, wait_s: float, talker: Talker) -> None:
        """Resume a program after a time."""
        heapq.heappush(self._timers, (time.monotonic() + wait_s, next(self._numbers), talker, talker.turn))

    def run(self, programs: Iterable[Callable[[Talker], Program]], timeout_s: float) -> None:
        """Run programs, each with a connection of its own; TimeoutError with what they wait for."""
        talkers = [Talker(self) for _ in programs]
        for talker, program in zip(talkers, programs, strict=True):
            talker.program = program(talker)
        self.left = len(talkers)
        deadline = time.monotonic() + timeout_s
        try:
            for talker in talkers:
                talker.go_on(None)
            while self.left:
                if time.monotonic() > deadline:
                    stuck = [f"{t.want!r} after {t.said[-3:]}" for t in talkers if t.sock is not None]
                    raise TimeoutError(f"{self.left} clients are not done, they wait for: {stuck[:10]}")
                self._turn()
        finally:
            for talker in talkers:
                talker.close()
            self.epoll.close()

    def _turn(self) -> None:
        now = time.monotonic()
        wait_s = min(1.0, max(0.0, self._timers[0][0] - now)) if self._timers else 1.0
        for fd, mask in self.epoll.poll(wait_s):
            talker = self._talkers.get(fd)
            if talker is not None:
                talker.on_event(mask)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, talker, turn = heapq.heappop(self._timers)
            if talker.turn == turn:
                talker.go_on(None)
