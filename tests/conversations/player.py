"""Plays a conversation on a raw socket and tells what came."""

from __future__ import annotations

import contextlib
import difflib
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from wire import PROTOCOL_3_0, Message, Startup, Terminate

if TYPE_CHECKING:
    from script import Script, Step

TIMEOUT_S = 30.0
CANCEL_REQUEST = 80877102


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect."""

    host: str
    port: int


class Mismatch(AssertionError):
    """The other side said something else than the script."""


class Player:
    """One connection, and what it heard, step by step."""

    def __init__(self, address: Address, *, bytewise: bool = False) -> None:
        self.address = address
        self.bytewise = bytewise
        self.sock = socket.create_connection((address.host, address.port), TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.key = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # -- talking

    def play(self, script: Script, *, routed: bool) -> list[list[Message]]:
        """Give the messages of each step; Mismatch where they are not of the script's types."""
        if "raw" not in script.options:
            self.login()
        heard = []
        for number, step in enumerate(script.steps, 1):
            tokens = step.routed if routed and step.routed is not None else step.answers
            try:
                self.act(step)
                heard.append(self.hear(tokens))
            except (Mismatch, OSError) as error:
                before = "\n".join(f"    {message}" for step_heard in heard for message in step_heard)
                raise Mismatch(f"{script.name}, step {number} {tokens}: {error}\n  before:\n{before}") from None
        if "EOF" not in script.steps[-1].answers:
            self.goodbye(script)
        return heard

    def login(self) -> None:
        """Connect as everybody does."""
        self.sock.sendall(Startup(PROTOCOL_3_0, application_name="conversation"))
        self.hear(["R", "S*", "K", "ZI"])

    def act(self, step: Step) -> None:
        """Do what the client does in a step: adjacent messages go out with one send, or byte by byte."""
        out = b""
        for action in step.actions:
            out += action.data
            if action.kind != "send":
                self.send(out)
                out = b""
                time.sleep(action.wait_s)
            if action.kind == "cancel":
                self.cancel()
        self.send(out)

    def send(self, data: bytes) -> None:
        """Send in one piece, or in single bytes with time in between for the other side to read each."""
        if not self.bytewise or len(data) > 10_000:
            with contextlib.suppress(ConnectionError):  # it may have hung up on us: its words are still to be read
                self.sock.sendall(data)
            return
        for at in range(len(data)):
            with contextlib.suppress(ConnectionError):
                self.sock.send(data[at : at + 1])
            if at % 4 == 3:
                time.sleep(0.00005)

    def cancel(self) -> None:
        """Ask for the cancellation of what runs, on a connection of its own, and wait until it was heard."""
        with socket.create_connection((self.address.host, self.address.port), TIMEOUT_S) as other:
            other.sendall(struct.pack("!II", 8 + len(self.key), CANCEL_REQUEST) + self.key)
            other.recv(1)

    def goodbye(self, script: Script) -> None:
        """Leave; nothing may have been left unsaid."""
        self.sock.sendall(Terminate())
        try:
            self.expect_end()
        except (Mismatch, OSError) as error:
            raise Mismatch(f"{script.name}, after Terminate: {error or type(error).__name__}") from None

    # -- hearing

    def hear(self, tokens: list[str]) -> list[Message]:
        """Receive the messages that the tokens stand for."""
        heard: list[Message] = []
        for token in tokens:
            try:
                if token == "S*":
                    self.hear_parameters(heard)
                elif token == "EOF":
                    self.expect_end()
                elif token.startswith("raw:"):
                    heard.append(Message("raw", self.take(len(token) - 4)))
                else:
                    heard.append(self.message())
                    check(token, heard[-1])
            except (Mismatch, OSError) as error:
                words = "".join(f"\n    {message}" for message in heard)
                raise Mismatch(f"waiting for {token}: {error or type(error).__name__}; heard:{words}") from None
        return heard

    def hear_parameters(self, heard: list[Message]) -> None:
        """Receive all ParameterStatus messages that come next; their order is free."""
        found = []
        while self.take(5, peek=True)[:1] == b"S":
            found.append(self.message())
        heard += sorted(found)

    def message(self) -> Message:
        """Receive one message."""
        kind, length = struct.unpack("!cI", self.take(5))
        body = self.take(length - 4)
        if kind == b"K":
            self.key = body
        return Message(kind.decode("latin-1"), body)

    def take(self, size: int, *, peek: bool = False) -> bytes:
        """Receive so many bytes."""
        while len(self.received) < size:
            data = self.sock.recv(65536)
            if not data:
                raise Mismatch(f"connection closed after {self.received!r}")
            self.received += data
        data = self.received[:size]
        if not peek:
            self.received = self.received[size:]
        return data

    def expect_end(self) -> None:
        """Receive the end of the connection, and nothing before it."""
        if rest := self.received + self.until_eof():
            raise Mismatch(f"more than expected: {rest!r}")

    def until_eof(self) -> bytes:
        """Receive all that is left."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := self.sock.recv(65536):
                data += more
        return data


def check(token: str, message: Message) -> None:
    """Hold a message against the token that stands for it."""
    kind, detail = token[:1], token[1:].lstrip(":")
    good = message.kind == kind
    if good and detail and kind == "Z":
        good = message.body == detail.encode()
    elif good and detail:
        good = message.fields.get("C") == detail
    if not good:
        raise Mismatch(f"got {message}")


def difference(script: Script, direct: list[list[Message]], routed: list[list[Message]]) -> str:
    """Give a diff of what PostgreSQL and the router said, "" when they agree."""
    ours, theirs = [], []
    for step, said, heard in zip(script.steps, direct, routed, strict=True):
        if step.routed is None:
            theirs += [normal(message, script) for message in said]
            ours += [normal(message, script) for message in heard]
    return "\n".join(difflib.unified_diff(theirs, ours, "PostgreSQL", "pgrouter", lineterm="", n=100))


def normal(message: Message, script: Script) -> str:
    """Write a message down without what may differ: keys, and the wording of the router's own errors."""
    if message.kind == "K":
        return "K"
    if message.kind == "E" and "own-words" in script.options:
        return f"E {message.fields['S']} {message.fields['C']}"
    return str(message)
